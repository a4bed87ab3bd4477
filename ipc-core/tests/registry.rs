//! Functions by name between two programs that were built apart, and in children of one program.
// Helpers of a test are part of it.
#![allow(clippy::unwrap_used)]

mod programs;
mod support;

use std::io::Write;

use ipc_core::registry::{self, Call};
use ipc_core::{Address, Connection, Context, Descriptor, Error, Listener, Packed, Ran, connect};
use ipc_testkit::leaks;
use programs::fixture::{Build, run};

#[test]
fn two_programs_that_were_built_apart() {
    let _leaks = leaks();
    let (serves, calls) =
        (Build::of("registered", "serves").build(), Build::of("registered", "calls").build());
    let lines = run(&calls, &[serves.to_str().unwrap()]);
    let begins = [
        "here 0",
        "work Ok(\"one twoone two\")",
        "error DidNotRun the function `work`, version 1, is not registered in this program; version 2 is",
        "error DidNotRun could not deserialise the arguments of `own`, version 1: the caller means other types than (serves::Own,) -> u32",
        "error Ran the function `fails`, version 1, panicked at ",
        "error DidNotRun the function `exit` is not registered in this program",
    ];
    assert_eq!(lines.len(), begins.len(), "{lines:?}");
    for (line, begin) in lines.iter().zip(begins) {
        assert!(line.starts_with(begin), "{line:?}, and not {begin:?}");
    }
    assert!(lines[4].ends_with("as told"), "{}", lines[4]);
}

fn double(number: u64) -> u64 {
    number * 2
}

fn refuses(_: ()) -> Result<(), String> {
    Err("no".into())
}

/// Writes into what came with the call, and gives it back.
fn stamp(file: Descriptor, text: String) -> Descriptor {
    let mut file: std::fs::File = file.into();
    file.write_all(text.as_bytes()).unwrap();
    file.into()
}

fn fails(why: String) {
    panic!("{why}");
}

ipc_core::register!(double, 1);
ipc_core::register!(refuses, 1);
ipc_core::register!(stamp, 1);
ipc_core::register!(fails, 1);

/// What a child does that is sent calls.
fn answer(call: Call) -> ipc_core::Result<Packed> {
    call.answer()
}

#[test]
fn children_of_every_method_have_the_functions_of_the_program() {
    support::each_method(|method: support::Method| {
        let context = method.context();
        let child = context.spawn(answer, (Call::of(double, &(21,)).unwrap(),)).unwrap();
        assert_eq!(child.join().unwrap().unwrap().open::<u64>().unwrap(), 42);
        let listed = context.spawn(|| registry::all().unwrap().len(), ()).unwrap();
        assert_eq!(listed.join().unwrap(), 4);
    });
}

type Server = Connection<Call, ipc_core::Result<Packed>>;

fn call(server: &Server, call: Call) -> ipc_core::Result<Packed> {
    server.send(call)?;
    server.recv()?
}

/// A client that is told an address and nothing else; what it was answered, in order.
fn client(address: Address, descriptors: bool) -> Vec<Result<u64, (Ran, String)>> {
    let server: Server = connect(&address).unwrap();
    let words = |error: Error| (error.ran(), error.to_string());
    let mut answers = Vec::new();
    for (version, number) in [(1, 21), (2, 21), (1, 4)] {
        let answer = call(&server, Call::named::<(u64,), u64>("double", version, &(number,)).unwrap());
        answers.push(answer.and_then(Packed::open).map_err(words));
    }
    let answer = call(&server, Call::named::<(String,), ()>("fails", 1, &("as told".into(),)).unwrap());
    answers.push(answer.map(|_| 0).map_err(words));
    let (mut reader, writer) = std::io::pipe().unwrap();
    let stamp = Call::of(stamp, &(Descriptor::from(writer), "stamped".into())).unwrap();
    if descriptors {
        let mut back: std::io::PipeWriter =
            call(&server, stamp).unwrap().open::<Descriptor>().unwrap().into();
        back.write_all(b" twice").unwrap();
        drop(back);
        let mut text = String::new();
        std::io::Read::read_to_string(&mut reader, &mut text).unwrap();
        assert_eq!(text, "stamped twice");
    } else {
        let error = server.send(stamp).unwrap_err();
        assert!(error.to_string().contains("TCP"), "{error}");
    }
    answers
}

#[test]
fn calls_and_answers_over_a_connection_of_a_listener() {
    let _leaks = leaks();
    for address in [Address::private().unwrap(), ("127.0.0.1", 0).into()] {
        let listener = Listener::bind(&address).unwrap();
        let arguments = (listener.address().clone(), address.is_unix());
        let child = Context::exec().spawn(client, arguments).unwrap();
        let served = listener.accept::<ipc_core::Result<Packed>, Call>().unwrap();
        let mut calls = 0;
        for call in served.iter() {
            served.send(call.unwrap().answer()).unwrap();
            calls += 1;
        }
        assert_eq!(calls, if address.is_unix() { 5 } else { 4 });
        let answers = child.join().unwrap();
        let [Ok(42), Err((Ran::DidNotRun, unknown)), Ok(8), Err((Ran::Ran, panicked))] = &answers[..] else {
            panic!("{answers:?}")
        };
        assert!(unknown.contains("version 2, is not registered in this program; version 1 is"), "{unknown}");
        assert!(panicked.ends_with("as told"), "{panicked}");
    }
}

#[test]
fn a_result_of_the_functions_own_is_no_error_of_the_call() {
    let answer = Call::of(refuses, &((),)).unwrap().answer().unwrap();
    assert_eq!(answer.open::<Result<(), String>>().unwrap(), Err("no".into()));
    let error = Call::named::<((),), ()>("refuses", 1, &((),)).unwrap().answer().unwrap_err();
    assert_eq!(error.ran(), Ran::DidNotRun);
}
