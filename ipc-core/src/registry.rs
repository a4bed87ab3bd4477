//! Functions by name, for callers who are not of this program's family.
//!
//! A child is told its function by a place in the image, because parent and child run the same image and share a socket that
//! nobody else has. What comes by address (from clients of a server, from other machines, from a program built elsewhere) may
//! never be a place: there a function has a *name* and a *version*, given to it by [`register!`](crate::register), and whatever has none is
//! [not registered](Error::NotRegistered). So a stranger can call what was meant to be called, and nothing else.
//!
//! ```
//! use ipc_core::registry::{self, Call};
//!
//! fn count_words(text: String) -> usize {
//!     text.split_whitespace().count()
//! }
//! ipc_core::register!(count_words, 1);
//!
//! // By name, as somebody who only knows that says it; by the function, as one who has it.
//! let call = Call::named::<(String,), usize>("count_words", 1, &("one two".into(),))?;
//! assert_eq!(call.answer()?.open::<usize>()?, 2);
//! assert_eq!(registry::name_of(count_words)?.name(), "count_words");
//!
//! let error = Call::named::<(String,), usize>("count_words", 2, &("one".into(),))?.answer().unwrap_err();
//! assert_eq!(error.to_string(), "the function `count_words`, version 2, is not registered in this program; version 1 is");
//! # Ok::<(), ipc_core::Error>(())
//! ```
//!
//! # Over a connection
//!
//! A call is a message, and so is its answer: an `ipc_core::Result<Packed>`. A server of functions is a loop around these.
//!
//! ```
//! use ipc_core::registry::Call;
//! use ipc_core::{Address, Connection, Listener, Packed, Result, connect, spawn};
//!
//! fn multiply(a: u32, b: u32) -> u32 {
//!     a * b
//! }
//! ipc_core::register!(multiply, 1);
//!
//! fn serve(client: Connection<Result<Packed>, Call>) -> Result<()> {
//!     for call in client.iter() {
//!         client.send(call?.answer())?;
//!     }
//!     Ok(())
//! }
//!
//! fn ask(address: Address) -> Result<u32> {
//!     let server = connect::<Call, Result<Packed>>(address)?;
//!     server.send(Call::named::<(u32, u32), u32>("multiply", 1, &(2, 3))?)?;
//!     server.recv()??.open()
//! }
//!
//! let listener = Listener::private()?;
//! let client = spawn(ask, (listener.address().clone(),))?;
//! serve(listener.accept()?)?;
//! assert_eq!(client.join()??, 6);
//! # Ok::<(), ipc_core::Error>(())
//! ```
//!
//! # Types
//!
//! A call carries a hash of the *names* of its argument and result types, and is refused where the function has others: bytes of
//! one type are often bytes of another too. Names hold paths, so both programs take a type of their own from one library, and are
//! built by compilers that name `std`'s types alike. What a type looks like inside is the version's business: whoever changes that
//! raises it, and may keep the old function registered beside the new one.
//!
//! # How it comes about
//!
//! `register!` leaves a constant that is linked into a list before `main` ([`inventory`](https://docs.rs/inventory)); children that are
//! entered before `main` have the list as well. The first to ask sorts it into a table, which never changes again: several threads may
//! do that at once, and the table of one of them is kept. A library loaded later adds nothing. What a linker leaves out (a crate of which
//! nothing is used) is not registered.

use std::any::TypeId;

use crate::Function;
use crate::entry::Message;
use crate::entry::fnv::Fnv;
use crate::entry::identity::{self, Outcome};
use crate::entry::panics;
use crate::entry::wire::Failure;
use crate::error::{Error, Ran, Result};
use crate::message::packed::Packed;
use crate::sys::fork_local::ForkLocal;

mod call;
mod table;

pub use call::Call;
use table::{Duplicate, Table};

/// A function with a name.
///
/// Made by [`register!`](crate::register).
pub struct Registered {
    name: &'static str,
    version: u32,
    file: &'static str,
    line: u32,
    /// The function's type, which no other function has.
    function: fn() -> TypeId,
    /// The hash of the names of argument and result types, and these names.
    types: fn() -> u64,
    signature: fn() -> String,
    call: fn(&[u8], Vec<std::os::fd::OwnedFd>) -> Outcome,
}

inventory::collect!(Registered);

/// Registers a function under a name and a version, for those who call it by these ([`registry`](crate::registry)).
///
/// The name is the function as it is written in the macro, or the string that stands first. It stands where an item may stand, or a
/// statement.
///
/// ```
/// mod text {
///     pub fn shout(words: String) -> String {
///         words.to_uppercase()
///     }
/// }
/// ipc_core::register!(text::shout, 1);
/// ipc_core::register!("whisper", |words: String| words.to_lowercase(), 3);
///
/// assert_eq!(ipc_core::registry::find("text::shout", 1)?.signature(), "(alloc::string::String,) -> alloc::string::String");
/// assert!(ipc_core::registry::find("whisper", 3).is_ok());
/// # Ok::<(), ipc_core::Error>(())
/// ```
///
/// Two functions under one name and version are an error of everything that looks into the registry.
#[macro_export]
macro_rules! register {
    ($name:literal, $function:expr, $version:expr $(,)?) => {
        $crate::__private::inventory::submit! {
            $crate::registry::Registered::new($name, $version, file!(), line!(), $function)
        }
    };
    ($function:expr, $version:expr $(,)?) => {
        $crate::__private::inventory::submit! {
            $crate::registry::Registered::new(stringify!($function), $version, file!(), line!(), $function)
        }
    };
}

impl Registered {
    /// What `register!` leaves.
    #[doc(hidden)]
    pub const fn new<F, A>(
        name: &'static str,
        version: u32,
        file: &'static str,
        line: u32,
        _f: F,
    ) -> Registered
    where
        F: Function<A>,
        A: Message,
        F::Output: Message,
    {
        const {
            assert!(
                size_of::<F>() == 0,
                "only functions and closures that capture nothing can be registered"
            );
        }
        Registered {
            name,
            version,
            file,
            line,
            function: TypeId::of::<F>,
            types: types::<A, F::Output>,
            signature: signature::<A, F::Output>,
            call: identity::call::<F, A>,
        }
    }

    /// The name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The version.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The types of its arguments, as a tuple, and of its result: `(alloc::string::String,) -> usize`.
    pub fn signature(&self) -> String {
        (self.signature)()
    }

    /// Where it was registered: file and line.
    pub fn place(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }

    /// See [`Call::answer`].
    fn call(&self, types: u64, args: Packed) -> Result<Packed> {
        let refused = |why| Error::decode(format!("the arguments of {self}"), why).with_ran(Ran::DidNotRun);
        if types != (self.types)() {
            return Err(refused(format!("the caller means other types than {}", self.signature())));
        }
        panics::install();
        let (body, descriptors) = args.into_parts();
        match (self.call)(&body, descriptors) {
            Ok(value) => Ok(value.into()),
            Err(Failure::Arguments(why)) => Err(refused(why)),
            Err(Failure::Panicked(panic)) => {
                Err(Error::CallPanicked { function: self.to_string(), panic: Box::new(panic) })
            }
            Err(Failure::Result(why) | Failure::Reply { operation: why, .. }) => {
                Err(Error::Encode { what: format!("the result of {self}"), why, child: None, ran: Ran::Ran })
            }
            // Of a child's start and end, which this is not.
            Err(Failure::Setup { step: why, .. } | Failure::Start(why)) => Err(refused(why)),
            Err(Failure::Overflow) => Err(refused("the stack overflowed".into())),
        }
    }
}

impl std::fmt::Display for Registered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}`, version {}", self.name, self.version)
    }
}

impl std::fmt::Debug for Registered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}: {}, registered at {}", self.signature(), self.place())
    }
}

/// The hash of the names of the types that a call's two sides must agree on; not of the function's, which has another name in each
/// program.
fn types<A, R>() -> u64 {
    let mut hash = Fnv::new();
    for name in [std::any::type_name::<A>(), std::any::type_name::<R>()] {
        hash.write(name.as_bytes());
        hash.write(&[0]);
    }
    hash.finish()
}

fn signature<A, R>() -> String {
    format!("{} -> {}", std::any::type_name::<A>(), std::any::type_name::<R>())
}

/// This process's table. A [`ForkLocal`] takes no lock: a child forked while it is made is not caught by one.
static TABLE: ForkLocal<Result<Table, Duplicate>> = ForkLocal::new();

fn table() -> Result<&'static Table> {
    let table = TABLE.get_or_make(|| Table::new(inventory::iter::<Registered>));
    table.as_ref().map_err(|two| Error::Invalid { what: two.what(), why: two.to_string() })
}

/// The function with this name and version.
///
/// # Errors
/// [`Error::NotRegistered`], which names the versions that there are; [`Error::Invalid`] where two functions of this program were
/// registered under one name and version, whichever these are: the text names both places.
pub fn find(name: &str, version: u32) -> Result<&'static Registered> {
    let table = table()?;
    table.find(name, version).ok_or_else(|| Error::NotRegistered {
        name: name.into(),
        version: Some(version),
        versions: table.versions(name),
    })
}

/// What this function is registered as: its newest version where there are several, and the first name that has it.
///
/// # Errors
/// As [`find`].
pub fn name_of<F, A>(_f: F) -> Result<&'static Registered>
where
    F: Function<A>,
    A: Message,
    F::Output: Message,
{
    table()?.of(TypeId::of::<F>()).ok_or_else(|| Error::NotRegistered {
        name: std::any::type_name::<F>().into(),
        version: None,
        versions: Vec::new(),
    })
}

/// All registered functions, by name and version.
///
/// # Errors
/// [`Error::Invalid`], as of [`find`].
pub fn all() -> Result<&'static [&'static Registered]> {
    Ok(table()?.all())
}

/// The text of [`Error::NotRegistered`].
pub(crate) fn describe_missing(
    f: &mut std::fmt::Formatter<'_>,
    name: &str,
    version: Option<u32>,
    versions: &[u32],
) -> std::fmt::Result {
    let listed: Vec<String> = versions.iter().map(u32::to_string).collect();
    let listed = listed.join(", ");
    match (version, versions) {
        (Some(version), [_]) => {
            write!(
                f,
                "the function `{name}`, version {version}, is not registered in this program; version {listed} is"
            )
        }
        (Some(version), [_, ..]) => {
            write!(
                f,
                "the function `{name}`, version {version}, is not registered in this program; versions {listed} are"
            )
        }
        _ => write!(f, "the function `{name}` is not registered in this program"),
    }
}

#[cfg(test)]
mod tests;
