//! Hostile bytes to both sides of a handshake: it ends in an outcome or waits for the rest of one message; nobody without the
//! key gets through; nothing beyond the handshake is taken.
//!
//! Random bytes hardly ever are a greeting, so an input is a list of steps: raw bytes, or a message with fields of the
//! fuzzer's choice, or what an honest peer with another key would say, whole or changed in one place.
#![no_main]

use arbitrary::Arbitrary;
use ipc_core::AuthKey;
use ipc_core::fuzzing::auth::{Handshake, LONGEST, Role};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    client: bool,
    authenticates: bool,
    packets: bool,
    steps: Vec<Step<'a>>,
}

#[derive(Debug, Arbitrary)]
enum Step<'a> {
    Raw(&'a [u8]),
    Message { kind: u8, version: u8, mode: u8, rest: &'a [u8] },
    /// What the peer would say that has another key, after this change.
    Honest { place: u8, change: u8 },
    /// What this side said last, sent back.
    Reflect,
}

fn run(input: &Input<'_>) {
    let key = |text: &str| input.authenticates.then(|| AuthKey::from_bytes(text));
    let (ours, theirs) = if input.client { (Role::Client, Role::Listener) } else { (Role::Listener, Role::Client) };
    let mut side = Handshake::new(ours, key("the key"), [1; 32]);
    let mut peer = Handshake::new(theirs, key("another"), [2; 32]);
    for step in input.steps.iter().take(16) {
        let said = side.output().to_vec();
        side.sent(said.len());
        peer.feed(&said);
        let bytes = match step {
            Step::Raw(bytes) => bytes.to_vec(),
            Step::Message { kind, version, mode, rest } => {
                let rest = &rest[..rest.len().min(240)];
                let mut message = vec![7 + rest.len() as u8, *kind];
                message.extend(b"ipcA");
                message.extend([*version, *mode]);
                message.extend(rest);
                message
            }
            Step::Honest { place, change } => {
                let mut bytes = peer.output().to_vec();
                peer.sent(bytes.len());
                if let Some(byte) = bytes.get_mut(usize::from(*place)) {
                    *byte ^= change;
                }
                bytes
            }
            Step::Reflect => said,
        };
        if input.packets {
            side.feed_packet(&bytes[..bytes.len().min(LONGEST)]);
        } else {
            let wants = side.wants();
            let taken = side.feed(&bytes);
            assert!(taken <= bytes.len() && (wants > 0 || taken == 0));
        }
        assert!(side.wants() < LONGEST && side.output().len() <= LONGEST);
        assert!(!input.authenticates || side.outcome() != Some(&Ok(())), "let in without the key");
        if side.outcome().is_some() {
            assert_eq!(side.wants(), 0);
        }
    }
}

fuzz_target!(|input: Input<'_>| run(&input));
