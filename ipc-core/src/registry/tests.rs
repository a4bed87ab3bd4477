//! Unit tests of `registry`.

use std::io::Write;

use super::table::Table;
use super::*;
use crate::Descriptor;

fn add(a: u32, b: u32) -> u32 {
    a + b
}

fn add_wide(a: u64, b: u64) -> u64 {
    a + b
}

fn divide(a: u32, b: u32) -> u32 {
    a / b
}

fn write_to(descriptor: Descriptor, text: String) -> Descriptor {
    let mut file: std::io::PipeWriter = descriptor.into();
    file.write_all(text.as_bytes()).unwrap();
    file.into()
}

mod inner {
    pub(super) fn nothing() {}
}

fn unencodable() -> Picky {
    Picky
}

/// Arrives, and cannot be sent.
#[derive(serde::Deserialize)]
struct Picky;

impl serde::Serialize for Picky {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("not today"))
    }
}

crate::register!(add, 1);
crate::register!("add", add_wide, 2);
crate::register!("plus", add, 1);
crate::register!(divide, 1);
crate::register!(write_to, 7);
crate::register!(inner::nothing, 0);
crate::register!(unencodable, 1);

fn value<T: Message>(call: Result<Call>) -> Result<T> {
    call?.answer()?.open()
}

#[test]
fn a_name_and_a_version_find_a_function() {
    assert_eq!(value::<u32>(Call::named::<_, u32>("add", 1, &(2_u32, 3_u32))).unwrap(), 5);
    assert_eq!(value::<u64>(Call::named::<_, u64>("add", 2, &(2_u64, 1_u64 << 40))).unwrap(), (1 << 40) + 2);
    value::<()>(Call::of(inner::nothing, &())).unwrap();
    assert_eq!(find("inner::nothing", 0).unwrap().signature(), "() -> ()");
    assert!(find("add", 1).unwrap().place().contains("registry/tests.rs:"));
}

#[test]
fn a_function_in_a_statement_is_registered_too() {
    fn local() -> &'static str {
        "here"
    }
    fn answer(_: ()) -> String {
        local().to_owned()
    }
    crate::register!("local", answer, 1);
    assert_eq!(value::<String>(Call::of(answer, &((),))).unwrap(), "here");
}

#[test]
fn the_names_of_a_function() {
    // It has two, of one version: the first.
    assert_eq!(name_of(add).unwrap().name(), "add");
    assert_eq!((name_of(add_wide).unwrap().name(), name_of(add_wide).unwrap().version()), ("add", 2));
    let error = name_of(|| 1_u8).unwrap_err();
    assert!(matches!(error, Error::NotRegistered { version: None, .. }), "{error}");
    assert!(error.to_string().contains("closure"), "{error}");
}

#[test]
fn what_is_not_registered_is_not_called() {
    let error = value::<u32>(Call::named::<_, u32>("add", 3, &(1_u32, 1_u32))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the function `add`, version 3, is not registered in this program; versions 1, 2 are"
    );
    assert_eq!(error.ran(), Ran::DidNotRun);
    for name in ["", "ADD", "ipc_core::registry::tests::add", "add\0", "system"] {
        let error = value::<u32>(Call::named::<_, u32>(name, 1, &(1_u32, 1_u32))).unwrap_err();
        assert!(matches!(error, Error::NotRegistered { .. }), "{error}");
    }
}

#[test]
fn other_types_are_refused_before_anything_is_decoded() {
    let wrong = [
        Call::named::<(u32, i32), u32>("add", 1, &(1, 1)),
        Call::named::<(u32,), u32>("add", 1, &(1,)),
        Call::named::<(u32, u32), u64>("add", 1, &(1, 1)),
    ];
    for call in wrong {
        let error = call.unwrap().answer().unwrap_err();
        assert!(error.to_string().contains("(u32, u32) -> u32"), "{error}");
        assert_eq!(error.ran(), Ran::DidNotRun);
    }
}

#[test]
fn damaged_arguments_are_an_error_and_nothing_ran() {
    let mut call = Call::of(add, &(1, 2)).unwrap();
    call.args = Packed::new(&[0x80_u8; 3]).unwrap();
    let error = call.answer().unwrap_err();
    assert!(matches!(error, Error::Decode { .. }), "{error}");
    assert!(error.to_string().contains("the arguments of `add`, version 1"), "{error}");
    assert_eq!(error.ran(), Ran::DidNotRun);
}

#[test]
fn a_panic_is_an_error_that_says_that_it_ran() {
    let error = Call::of(divide, &(1, 0)).unwrap().answer().unwrap_err();
    assert_eq!(error.ran(), Ran::Ran);
    let panic = error.panic().unwrap();
    assert!(panic.message.contains("divide by zero"), "{panic}");
    assert!(panic.location.as_ref().unwrap().file.ends_with("registry/tests.rs"));
    // The next call is none the worse for it.
    assert_eq!(value::<u32>(Call::of(divide, &(6, 2))).unwrap(), 3);
}

#[test]
fn a_result_that_cannot_be_sent_says_that_it_ran() {
    let error = Call::of(unencodable, &()).unwrap().answer().unwrap_err();
    assert!(error.to_string().contains("the result of `unencodable`, version 1: "), "{error}");
    assert!(error.to_string().contains("not today"), "{error}");
    assert_eq!(error.ran(), Ran::Ran);
}

#[test]
fn a_call_and_its_answer_are_messages_with_descriptors() {
    let (mut read, write) = std::io::pipe().unwrap();
    let call = Call::of(write_to, &(write.into(), "to and fro".into())).unwrap();
    // As a connection carries them: the call, then the answer.
    let sent = crate::message::descriptors::encode(&(1_u8, call)).unwrap();
    assert_eq!(sent.descriptors.len(), 1);
    let (_, call): (u8, Call) = crate::message::descriptors::decode(&sent.body, sent.descriptors).unwrap();
    let sent = crate::message::descriptors::encode(&call.answer()).unwrap();
    assert_eq!(sent.descriptors.len(), 1);
    let answer: Result<Packed> = crate::message::descriptors::decode(&sent.body, sent.descriptors).unwrap();
    drop(answer.unwrap().open::<Descriptor>().unwrap());
    assert_eq!(std::io::read_to_string(&mut read).unwrap(), "to and fro");
}

#[test]
fn an_error_travels_as_an_answer() {
    let answer = Call::named::<(), ()>("add", 9, &()).unwrap().answer();
    let sent = crate::message::descriptors::encode(&answer).unwrap();
    let back: Result<Packed> = crate::message::descriptors::decode(&sent.body, sent.descriptors).unwrap();
    assert_eq!(back.unwrap_err().to_string(), answer.unwrap_err().to_string());
}

#[test]
fn two_functions_of_one_name_and_version_are_named_by_place() {
    static TWICE: [Registered; 4] = [
        Registered::new("b", 1, "src/b.rs", 9, divide),
        Registered::new("a", 1, "src/a.rs", 3, add),
        Registered::new("a", 2, "src/a.rs", 4, add),
        Registered::new("b", 1, "src/a.rs", 7, add),
    ];
    let two = Table::new(&TWICE).err().unwrap();
    assert_eq!(two.what(), "the registered function `b`, version 1");
    assert_eq!(two.to_string(), "it stands for two functions, registered at src/a.rs:7 and at src/b.rs:9");
    let table = Table::new(&TWICE[..3]).ok().unwrap();
    assert_eq!(table.all().len(), 3);
    assert_eq!(table.versions("a"), [1, 2]);
    let function = (TWICE[1].function)();
    assert_eq!(table.of(function).map(Registered::version), Some(2));
}

#[test]
fn all_are_listed_in_order() {
    let names: Vec<_> = all().unwrap().iter().map(|f| (f.name(), f.version())).collect();
    assert!(names.is_sorted());
    assert!(names.contains(&("write_to", 7)));
}
