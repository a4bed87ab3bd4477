//! Unit tests of `connection::auth`.

use super::*;

fn key(text: &str) -> Option<AuthKey> {
    Some(AuthKey::from_bytes(text))
}

fn listener(key: Option<AuthKey>) -> Handshake {
    Handshake::new(Role::Listener, key, [1; 32])
}

fn client(key: Option<AuthKey>) -> Handshake {
    Handshake::new(Role::Client, key, [2; 32])
}

/// Carries what one side has to say to the other, `step` bytes at a time; says what it was.
fn carry(from: &mut Handshake, to: &mut Handshake, step: usize) -> Vec<u8> {
    let all = from.output().to_vec();
    for part in all.chunks(step) {
        from.sent(part.len());
        let mut fed = 0;
        while fed < part.len() && to.wants() > 0 {
            fed += to.feed(&part[fed..]);
        }
    }
    all
}

type Outcomes = (Option<Result<(), Refusal>>, Option<Result<(), Refusal>>);

fn run(mut listener: Handshake, mut client: Handshake, step: usize) -> Outcomes {
    for _ in 0..4 {
        carry(&mut listener, &mut client, step);
        carry(&mut client, &mut listener, step);
    }
    (listener.outcome.take(), client.outcome.take())
}

#[test]
fn the_same_key_on_both_sides() {
    for text in
        ["between us", "", "a key that is longer than a block of the hash, which makes HMAC hash it first"]
    {
        for step in [1, 2, 7, 39, 256] {
            assert_eq!(
                run(listener(key(text)), client(key(text)), step),
                (Some(Ok(())), Some(Ok(()))),
                "{text:?}"
            );
        }
    }
    assert_eq!(run(listener(None), client(None), 3), (Some(Ok(())), Some(Ok(()))));
}

#[test]
fn other_keys_are_told_on_both_sides() {
    for (ours, theirs) in [("a", "b"), ("a", ""), ("", "a"), ("a", "a\0"), ("", "\0")] {
        let (listener, client) = run(listener(key(ours)), client(key(theirs)), 256);
        assert_eq!(listener, Some(Err(Refusal::WrongKey)));
        assert_eq!(client, Some(Err(Refusal::WrongKeyHere)));
    }
}

#[test]
fn a_side_with_a_key_refuses_one_without() {
    let (ours, theirs) = run(listener(key("a")), client(None), 256);
    assert_eq!((ours, theirs), (Some(Err(Refusal::NoKey)), Some(Err(Refusal::KeyNeeded))));
    // And the client that is promised that no key is needed.
    let (ours, theirs) = run(listener(None), client(key("a")), 256);
    assert_eq!((ours, theirs), (Some(Err(Refusal::KeyNeeded)), Some(Err(Refusal::NoKey))));
    // An empty key is a key.
    let (ours, _) = run(listener(key("")), client(None), 256);
    assert_eq!(ours, Some(Err(Refusal::NoKey)));
}

#[test]
fn a_reflected_mac_is_wrong() {
    let (mut ours, mut theirs) = (listener(key("a")), client(key("a")));
    carry(&mut ours, &mut theirs, 256);
    let answer = theirs.output().to_vec();
    theirs.sent(answer.len());
    // A false listener that has no key sends the client's MAC back.
    theirs.feed(&[33, WELCOME]);
    theirs.feed(&answer[GREETING..]);
    assert_eq!(theirs.outcome(), Some(&Err(Refusal::WrongKey)));
}

#[test]
fn a_replayed_answer_is_wrong() {
    let (mut first, mut honest) = (listener(key("a")), client(key("a")));
    carry(&mut first, &mut honest, 256);
    let answer = carry(&mut honest, &mut first, 256);
    assert_eq!(first.outcome(), Some(&Ok(())));
    let mut second = Handshake::new(Role::Listener, key("a"), [3; 32]);
    second.feed(&answer);
    assert_eq!(second.outcome(), Some(&Err(Refusal::WrongKey)));
}

#[test]
fn every_changed_bit_of_the_transcript_is_seen() {
    let hello = listener(key("a")).output().to_vec();
    let mut honest = client(key("a"));
    honest.feed(&hello);
    let answer = honest.output().to_vec();
    for bit in 0..hello.len() * 8 {
        let mut changed = hello.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let (mut ours, mut theirs) = (listener(key("a")), client(key("a")));
        theirs.feed(&changed);
        // The client refuses what it can, and waits where the length was enlarged; else its MAC is over other bytes.
        if theirs.outcome().is_none() && theirs.wants() == 1 {
            carry(&mut theirs, &mut ours, 256);
            assert_eq!(ours.outcome(), Some(&Err(Refusal::WrongKey)), "bit {bit}");
        }
    }
    for bit in 0..answer.len() * 8 {
        let mut changed = answer.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let mut ours = listener(key("a"));
        ours.feed(&changed);
        assert_ne!(ours.outcome(), Some(&Ok(())), "bit {bit}");
    }
}

#[test]
fn garbage_ends_it() {
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0],
        &[1, 9],
        &[3, 2, 1, 1],
        &[1, 4],
        &[2, 4, 1],
        &[1, 2],
        &[255],
        &[71, 3],
    ] {
        let mut ours = listener(key("a"));
        ours.sent(GREETING);
        ours.feed(garbage);
        assert!(
            matches!(ours.outcome(), Some(Err(Refusal::Malformed(_)))),
            "{garbage:?}: {:?}",
            ours.outcome()
        );
        assert_eq!(ours.output()[1], REFUSED);
        assert_eq!(ours.wants(), 0);
    }
}

#[test]
fn nothing_is_read_beyond_the_handshake() {
    let (mut ours, mut theirs) = (listener(key("a")), client(key("a")));
    carry(&mut ours, &mut theirs, 256);
    carry(&mut theirs, &mut ours, 256);
    let welcome = [ours.output(), b"the first message"].concat();
    assert_eq!(theirs.feed(&welcome), welcome.len() - 17);
    assert_eq!(theirs.outcome(), Some(&Ok(())));
    assert_eq!(theirs.feed(b"more"), 0);
}

#[test]
fn a_packet_is_one_message() {
    let hello = listener(None).output().to_vec();
    for packet in [&[&hello[..], &[0]].concat()[..], &hello[..20], &[]] {
        let mut theirs = client(None);
        theirs.feed_packet(packet);
        if packet.is_empty() {
            assert_eq!(theirs.outcome(), None);
        } else {
            assert!(matches!(theirs.outcome(), Some(Err(Refusal::Malformed(_)))), "{packet:?}");
        }
    }
    // Also where the rest would be a message of its own.
    let mut ours = listener(None);
    ours.sent(GREETING);
    let mut theirs = client(None);
    theirs.feed(&hello);
    let two = [theirs.output(), theirs.output()].concat();
    ours.feed_packet(&two);
    assert!(matches!(ours.outcome(), Some(Err(Refusal::Malformed(_)))));
}

#[test]
fn another_version_says_which() {
    let mut hello = listener(None).output().to_vec();
    hello[6] = 9;
    let mut theirs = client(None);
    theirs.feed(&hello);
    assert_eq!(theirs.outcome(), Some(&Err(Refusal::Version(9))));
    let mut ours = listener(None);
    ours.sent(GREETING);
    let refused = theirs.output().to_vec();
    ours.feed(&refused);
    assert_eq!(ours.outcome(), Some(&Err(Refusal::Version(VERSION))));
}

#[test]
fn reasons_are_told() {
    for (refusal, told) in [
        (Refusal::Credentials, Refusal::Credentials),
        (Refusal::Late, Refusal::Late),
        (Refusal::Crowded, Refusal::Crowded),
        (Refusal::Malformed("x"), Refusal::Unknown(0)),
    ] {
        let (mut ours, mut theirs) = (listener(None), client(None));
        carry(&mut ours, &mut theirs, 256);
        ours.refuse(refusal.clone());
        carry(&mut ours, &mut theirs, 256);
        assert_eq!(theirs.outcome(), Some(&Err(told)));
        assert!(!refusal.to_string().is_empty());
    }
}
