//! A call by name, as a message.

use serde::{Deserialize, Serialize};

use super::{find, name_of, types};
use crate::Function;
use crate::entry::Message;
use crate::error::{Error, Result};
use crate::message::packed::Packed;

/// A call of a registered function: what one process sends another that has the function under the same name.
///
/// It is a [`Message`] like any other, descriptors in the arguments included, and so is the answer, a `Result<Packed>`. How both go over
/// a connection stands in the [module's documentation](super).
///
/// ```
/// use ipc_core::registry::Call;
///
/// fn add(a: u32, b: u32) -> u32 {
///     a + b
/// }
/// ipc_core::register!(add, 1);
///
/// let call = Call::of(add, &(2, 3))?;
/// // … sent somewhere; and there:
/// let answer = call.answer();
/// // … and back:
/// assert_eq!(answer?.open::<u32>()?, 5);
/// # Ok::<(), ipc_core::Error>(())
/// ```
#[derive(Debug, Serialize, Deserialize)]
pub struct Call {
    /// The name under which the function is registered.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// The hash of the names of the argument and result types, as the caller has them.
    types: u64,
    pub(crate) args: Packed,
}

impl Call {
    /// A call of `f`, by the name that it has in this program; the newest where it has several.
    ///
    /// # Errors
    /// [`Error::NotRegistered`]: this program has no name for it; [`Error::Encode`], [`Error::Os`]: the arguments cannot be
    /// encoded; [`Error::Invalid`]: see [`find`].
    pub fn of<F, A>(f: F, args: &A) -> Result<Call>
    where
        F: Function<A>,
        A: Message,
        F::Output: Message,
    {
        let registered = name_of(f)?;
        Call::named::<A, F::Output>(registered.name(), registered.version(), args)
    }

    /// A call of a function that only the other program needs to have, which takes the arguments `A` and returns an `R`.
    ///
    /// # Errors
    /// [`Error::Encode`], [`Error::Os`]: the arguments cannot be encoded.
    pub fn named<A: Message, R: Message>(name: impl Into<String>, version: u32, args: &A) -> Result<Call> {
        let name = name.into();
        let args = crate::message::descriptors::encode(args)
            .map_err(|e| {
                Error::encode(format!("the arguments of `{name}`"), e).with_ran(crate::Ran::DidNotRun)
            })?
            .into();
        Ok(Call { name, version, types: types::<A, R>(), args })
    }

    /// Calls the function here, and gives its encoded value.
    ///
    /// Whatever goes wrong is an error that says whether the function ran ([`Error::ran`]); a panic of the function is one too.
    ///
    /// # Errors
    /// | error | what happened | the function |
    /// |---|---|---|
    /// | [`NotRegistered`](Error::NotRegistered) | the name, or this version of it, is not known here | did not run |
    /// | [`Invalid`](Error::Invalid) | two functions of this program claim one name and version | did not run |
    /// | [`Decode`](Error::Decode) | it takes or returns other types than the caller thinks, or the arguments are damaged | did not run |
    /// | [`CallPanicked`](Error::CallPanicked) | it panicked | ran |
    /// | [`Encode`](Error::Encode) | it returned something that cannot be encoded | ran |
    pub fn answer(self) -> Result<Packed> {
        find(&self.name, self.version)?.call(self.types, self.args)
    }
}
