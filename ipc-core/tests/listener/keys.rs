//! Who has the key is let in, and nobody else.

use ipc_core::{Connector, Error, Listener, connect, current};
use ipc_testkit::leaks;

use crate::{Place, SHORT, families, key, meet, pair, talk};

/// Both sides of a meeting that fails: what accept says, what connect says.
fn fails(listener: &Listener, client: &Connector) -> (Error, Error) {
    std::thread::scope(|scope| {
        let theirs = scope.spawn(|| client.connect::<u8, u8>(listener.address()).unwrap_err());
        let ours = listener.accept::<u8, u8>().unwrap_err();
        (ours, theirs.join().unwrap())
    })
}

#[test]
fn the_family_has_a_key() {
    let _leaks = leaks();
    let listener =
        Listener::builder().authkey(current().authkey().unwrap()).bind(ipc_core::Address::private().unwrap());
    let (ours, theirs) = meet(&listener.unwrap(), &Connector::new());
    talk(&ours, &theirs);
}

#[test]
fn the_same_key_and_none_at_all() {
    let _leaks = leaks();
    let place = Place::new();
    for address in families(&place) {
        for text in [Some("a"), Some(""), None] {
            let (listener, client) = pair(text, text);
            let listener = listener.bind(&address).unwrap();
            let (ours, theirs) = meet(&listener, &client);
            talk(&ours, &theirs);
        }
    }
}

#[test]
fn a_wrong_key_is_an_error_on_both_sides() {
    let _leaks = leaks();
    let place = Place::new();
    for address in families(&place) {
        for (one, other) in [("a", "b"), ("", "b"), ("a", "")] {
            let (listener, client) = pair(Some(one), Some(other));
            let listener = listener.report_refused(true).bind(&address).unwrap();
            let (ours, theirs) = fails(&listener, &client);
            assert!(matches!(ours, Error::Unauthenticated { .. }), "{ours:?}");
            assert!(ours.to_string().contains("digest received was wrong"), "{ours}");
            assert!(matches!(theirs, Error::Unauthenticated { .. }), "{theirs:?}");
            assert!(theirs.to_string().contains("digest sent was rejected"), "{theirs}");
            assert_eq!(listener.refused(), 1);
            // The listener is as good as before.
            let (ours, theirs) = meet(&listener, &Connector::new().authkey(key(one)));
            talk(&ours, &theirs);
        }
    }
}

#[test]
fn one_side_without_a_key_is_refused_by_the_other() {
    let _leaks = leaks();
    let place = Place::new();
    for address in families(&place) {
        for (one, other) in [(Some("a"), None), (None, Some("a")), (Some(""), None), (None, Some(""))] {
            let (listener, client) = pair(one, other);
            let listener = listener.report_refused(true).bind(&address).unwrap();
            let (ours, theirs) = fails(&listener, &client);
            for error in [&ours, &theirs] {
                let text = error.to_string();
                assert!(matches!(error, Error::Unauthenticated { .. }), "{text}");
                assert!(
                    text.contains("no key on this side") || text.contains("this side demands it"),
                    "{text}"
                );
            }
        }
    }
}

/// Without `report_refused` the failure of one client is nothing to those who accept.
#[test]
fn accept_passes_over_those_who_fail() {
    let _leaks = leaks();
    let (listener, right) = pair(Some("a"), Some("a"));
    let listener = listener.bind(ipc_core::Address::private().unwrap()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..10 {
                Connector::new().authkey(key("b")).connect::<u8, u8>(listener.address()).unwrap_err();
            }
            right.connect::<u8, u8>(listener.address()).unwrap().send(7).unwrap();
        });
        assert_eq!(listener.accept::<u8, u8>().unwrap().recv().unwrap(), 7);
    });
    assert_eq!(listener.refused(), 10);
}

#[test]
fn a_child_has_its_parents_key_and_others_have_not() {
    let _leaks = leaks();
    fn visit(address: ipc_core::Address) -> Result<u32, Error> {
        connect::<u32, u32>(address)?.recv()
    }
    let listener = Listener::private().unwrap();
    let context = ipc_core::Context::exec();
    let child = context.spawn(visit, (listener.address().clone(),)).unwrap();
    listener.accept::<u32, u32>().unwrap().send(7).unwrap();
    assert_eq!(child.join().unwrap().unwrap(), 7);
    let child =
        context.builder().authkey(key("another")).spawn(visit, (listener.address().clone(),)).unwrap();
    assert!(listener.accept_timeout::<u32, u32>(SHORT).unwrap().is_none());
    // Where the machine was too busy to have it come in that time, it comes now.
    while listener.refused() == 0 {
        assert!(listener.accept_timeout::<u32, u32>(SHORT).unwrap().is_none());
    }
    let error = child.join().unwrap().unwrap_err();
    assert!(matches!(error, Error::Unauthenticated { .. }), "{error}");
}
