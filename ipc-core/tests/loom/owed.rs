//! Sending ends that threads share: what is owed to the receiver of messages that were given up.

use std::sync::Arc as Std;

use ipc_core::modelled::Owed;
use ipc_core::primitive::sync::Mutex;
use ipc_core::primitive::{mutant, thread};
use loom::model;

/// A sending end: what it owes, and a socket with room for so many words.
struct End {
    owed: Owed,
    socket: Mutex<Socket>,
}

struct Socket {
    room: usize,
    words: Vec<u64>,
}

impl End {
    fn new(room: usize) -> Std<End> {
        Std::new(End { owed: Owed::new(), socket: Mutex::new(Socket { room, words: Vec::new() }) })
    }

    fn tell(&self) -> Result<(), ()> {
        self.owed.tell_all(|id| {
            let mut socket = self.socket.lock();
            socket.room = socket.room.checked_sub(1).ok_or(())?;
            socket.words.push(id);
            Ok(())
        })
    }

    /// A message is given up in the middle; its receiver is told now, or before the next message.
    fn give_up(&self, id: u64) {
        self.owed.add(id);
        let _ = self.tell();
    }

    /// A whole message; what is owed goes before it.
    fn send(&self) {
        if self.owed.any() {
            let _ = self.tell();
        }
    }
}

/// Two threads give up and a third sends, on a socket with little room.
fn sharing(room: usize) {
    let end = End::new(room);
    let others = [1, 2].map(|id| {
        let end = end.clone();
        thread::spawn(move || end.give_up(id))
    });
    end.send();
    others.into_iter().for_each(|other| other.join().unwrap());
    // The reader makes room, and somebody sends.
    end.socket.lock().room = 10;
    end.send();
    let mut words = std::mem::take(&mut end.socket.lock().words);
    words.sort_unstable();
    assert_eq!(words, [1, 2], "told");
}

#[test]
fn each_word_that_is_owed_is_told_once() {
    for room in 0..3 {
        model(move || sharing(room));
    }
}

#[test]
#[should_panic(expected = "told")]
fn mutant_what_was_not_told_is_forgotten() {
    mutant::with("what was not told is forgotten", || model(|| sharing(0)));
}

#[test]
#[should_panic]
fn mutant_two_tell_the_same() {
    mutant::with("two tell the same", || model(|| sharing(2)));
}
