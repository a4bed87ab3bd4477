//! `log_to_stderr`.

use std::io::Read;

use ipc_core::{Context, Stdio, logging};
use ipc_testkit::leaks;

use crate::support::Method;

fn tells(method: Method, relays: bool) {
    logging::log_to_stderr(log::LevelFilter::Debug).unwrap();
    // Once more is no error, and sets the level.
    logging::log_to_stderr(log::LevelFilter::Info).unwrap();
    if relays {
        logging::relay().unwrap();
    }
    log::info!("mine");
    log::debug!("hidden");
    let inner = || {
        log::warn!("{} and {}", 1, 2);
        log::debug!("hidden");
        log::max_level() == log::LevelFilter::Info
    };
    assert!(method.context().builder().name("inner").spawn(inner, ()).unwrap().join().unwrap());
}

#[test]
fn the_format_and_the_level_are_inherited() {
    let _leaks = leaks();
    for method in Method::ALL {
        for relays in [false, true] {
            let builder = Context::exec().builder().name("teller").stderr(Stdio::piped());
            let child = builder.spawn(tells, (method, relays)).unwrap();
            let mut said = String::new();
            child.take_stderr().unwrap().read_to_string(&mut said).unwrap();
            child.join().unwrap();
            assert_eq!(said, "[INFO/teller] mine\n[WARN/inner] 1 and 2\n", "{method:?}, relay: {relays}");
        }
    }
}
