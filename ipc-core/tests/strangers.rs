//! Programs that are built apart from each other and from this one, meet at an address, and send each other handles inside values.

#![allow(clippy::unwrap_used, reason = "helpers of a test are part of it")]

mod programs;

use std::process::Command;

use ipc_testkit::leaks;
use programs::Program;
use programs::fixture::Build;

#[test]
fn two_programs_meet_by_address_and_key() {
    let _leaks = leaks();
    let program = Build::of("stranger", "stranger").build();
    let start = |part: &str, address: &str, key: &str| {
        let mut command = Command::new(&program);
        command.args([part, address, key]);
        Program::run(command)
    };
    let path = std::env::temp_dir().join(format!("ipc-core-strangers-{}", std::process::id()));
    for address in [path.to_str().unwrap(), &format!("@ipc-core-strangers-{}", std::process::id())] {
        let mut server = start("serve", address, "a key");
        assert_eq!(server.hears(""), address);
        // One without the key is nobody.
        let mut wrong = start("ask", address, "another key");
        assert!(!wrong.wait().success());
        let mut client = start("ask", address, "a key");
        client.succeeds();
        server.succeeds();
        assert_eq!(client.all(), ["one ONE", "two TWO", "the end"]);
        assert!(!path.exists());
    }
}
