//! Unit tests of `relay`.

use std::io::{PipeReader, PipeWriter};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

use super::*;
use crate::process::alone::{alone, in_fork};

/// A guard against hanging.
const LONG: Duration = Duration::from_secs(60);

fn sink() -> (Sink, Receiver<Line>) {
    let (sender, receiver) = channel();
    (Sink::Call(Arc::new(move |line| drop(sender.send(line)))), receiver)
}

fn pipe() -> (Private, PipeWriter) {
    let (reader, writer): (PipeReader, PipeWriter) = io::pipe().unwrap();
    (OwnedFd::from(reader).into(), writer)
}

fn registered() -> (Relayed, PipeWriter, Receiver<Line>) {
    let ((reader, writer), (sink, lines)) = (pipe(), sink());
    (register(reader, Stream::Stdout, sink, "p3", 4711).unwrap(), writer, lines)
}

/// Waits for the end of a stream, which comes when the last copy of its writing end is gone: another test that starts a process
/// has one until that process executes its program.
fn await_end(relayed: &Relayed) {
    let mut drains = lock(&relayed.progress.drains);
    while !drains.ended {
        let (again, waited) = relayed.progress.changed.wait_timeout(drains, LONG).unwrap();
        assert!(!waited.timed_out());
        drains = again;
    }
}

fn text(lines: &Receiver<Line>) -> String {
    lines.recv_timeout(LONG).unwrap().text
}

#[test]
fn lines_come_with_their_origin() {
    let (relayed, mut writer, lines) = registered();
    writer.write_all(b"one\ntw").unwrap();
    let line = Line { name: "p3".into(), pid: 4711, stream: Stream::Stdout, text: "one".into() };
    assert_eq!(lines.recv_timeout(LONG).unwrap(), line);
    relayed.rename("q");
    writer.write_all(b"o\nbad \xff\nlast").unwrap();
    drop(writer);
    let line = lines.recv_timeout(LONG).unwrap();
    assert_eq!((line.text.as_str(), line.name.as_str()), ("two", "q"));
    assert_eq!(text(&lines), "bad \u{fffd}");
    // The last line has no end.
    assert_eq!(text(&lines), "last");
    // The function is dropped at the end, and what it holds with it.
    assert_eq!(lines.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
    assert!(relayed.drain(LONG));
    assert!(lock(&relayed.progress.drains).ended);
}

#[test]
fn a_drain_delivers_what_was_written() {
    let (relayed, mut writer, lines) = registered();
    for round in 0..200 {
        writer.write_all(format!("whole {round}\nhalf").as_bytes()).unwrap();
        assert!(relayed.drain(LONG));
        // Delivered means delivered: no waiting here.
        assert_eq!(lines.try_recv().unwrap().text, format!("whole {round}"));
        assert_eq!(lines.try_recv().unwrap().text, "half");
    }
    assert!(relayed.drain(LONG));
    assert!(lines.try_recv().is_err());
    // A copy of the writing end, as another process may have one: the end is not yet.
    let copy = writer.try_clone().unwrap();
    drop(writer);
    assert!(relayed.drain(LONG));
    drop(copy);
    await_end(&relayed);
    // The pipe is closed by then, and further drains have nothing to wait for.
    assert!(relayed.drain(LONG));
}

#[test]
fn a_dead_childs_words_come_though_a_grandchild_holds_the_pipe() {
    let ((reader, writer), (sink, lines)) = (pipe(), sink());
    let (hold, release) = io::pipe().unwrap();
    // The grandchild lives until `release` is dropped.
    let script = "read go & echo said before death; printf half";
    let mut child = Command::new("sh").args(["-c", script]).stdin(hold).stdout(writer).spawn().unwrap();
    let relayed = register(reader, Stream::Stderr, sink, "p", child.id()).unwrap();
    child.wait().unwrap();
    assert!(relayed.drain(LONG));
    assert_eq!(lines.try_recv().unwrap().text, "said before death");
    assert_eq!(lines.try_recv().unwrap().text, "half");
    drop(release);
}

#[test]
fn a_grandchild_that_writes_for_ever_delays_nobody() {
    let ((reader, writer), (sink, lines)) = (pipe(), sink());
    let mut child = Command::new("sh").args(["-c", "yes >&1 & echo $!"]).stdout(writer).spawn().unwrap();
    let relayed = register(reader, Stream::Stdout, sink, "p", child.id()).unwrap();
    child.wait().unwrap();
    for _ in 0..20 {
        assert!(relayed.drain(LONG));
    }
    let pid = lines.iter().find_map(|line| line.text.parse::<i32>().ok()).unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    while lines.recv_timeout(LONG).is_ok() {}
    assert!(relayed.drain(LONG));
}

#[test]
fn a_panic_costs_one_line() {
    let (reader, mut writer) = pipe();
    let (sender, lines) = channel();
    let f = move |line: Line| {
        assert_ne!(line.text, "bad", "the relay's function panics, as it should");
        drop(sender.send(line));
    };
    register(reader, Stream::Stdout, Sink::Call(Arc::new(f)), "p", 1).unwrap();
    writer.write_all(b"good\nbad\nbetter\n").unwrap();
    assert_eq!((text(&lines), text(&lines)), ("good".into(), "better".into()));
    // Others are not concerned.
    let (_relayed, mut writer, lines) = registered();
    writer.write_all(b"there\n").unwrap();
    assert_eq!(text(&lines), "there");
}

#[test]
fn a_drain_inside_the_function_gives_up() {
    let (reader, mut writer) = pipe();
    let (sender, answers) = channel();
    let slot: Arc<Mutex<Option<Relayed>>> = Arc::default();
    let f = {
        let slot = Arc::clone(&slot);
        move |_| sender.send(lock(&slot).as_ref().unwrap().drain(LONG)).unwrap()
    };
    *lock(&slot) = Some(register(reader, Stream::Stdout, Sink::Call(Arc::new(f)), "p", 1).unwrap());
    writer.write_all(b"x\n").unwrap();
    assert!(!answers.recv_timeout(LONG).unwrap());
    lock(&slot).take();
}

#[test]
fn a_function_that_does_not_return_delays_a_drain_up_to_its_timeout() {
    alone("process::relay::tests::a_function_that_does_not_return_delays_a_drain_up_to_its_timeout", || {
        let (reader, mut writer) = pipe();
        let (release, released) = channel::<()>();
        let released = Mutex::new(released);
        let f = move |_| lock(&released).recv().unwrap();
        let relayed = register(reader, Stream::Stdout, Sink::Call(Arc::new(f)), "p", 1).unwrap();
        writer.write_all(b"x\n").unwrap();
        assert!(!relayed.drain(Duration::from_millis(20)));
        release.send(()).unwrap();
        assert!(relayed.drain(LONG));
    });
}

#[test]
fn a_long_line_is_cut() {
    let (_relayed, mut writer, lines) = registered();
    let writing = std::thread::spawn(move || writer.write_all(&vec![b'x'; 200_000]));
    let lengths: Vec<_> = lines.iter().map(|line| line.text.len()).collect();
    assert_eq!(lengths, [65_536, 65_536, 65_536, 3392]);
    writing.join().unwrap().unwrap();
}

#[test]
fn many_streams_at_once() {
    let all: Vec<_> = (0..100).map(|_| registered()).collect();
    std::thread::scope(|scope| {
        for (number, (relayed, mut writer, lines)) in all.into_iter().enumerate() {
            scope.spawn(move || {
                for line in 0..50 {
                    writeln!(writer, "{number}.{line}").unwrap();
                }
                assert!(relayed.drain(LONG));
                for line in 0..50 {
                    assert_eq!(lines.try_recv().unwrap().text, format!("{number}.{line}"));
                }
            });
        }
    });
}

#[test]
fn printed_lines_are_whole() {
    let output = alone("process::relay::tests::printed_lines_are_whole", || {
        println!();
        let relayed: Vec<_> = ["a", "b", "c", "d"]
            .into_iter()
            .map(|name| {
                let (reader, writer) = pipe();
                let script = "i=0; while [ $i -lt 500 ]; do echo $i; i=$((i+1)); done";
                let mut child = Command::new("sh").args(["-c", script]).stdout(writer).spawn().unwrap();
                let relayed = register(reader, Stream::Stdout, Sink::Print, name, 7).unwrap();
                std::thread::spawn(move || child.wait()).join().unwrap().unwrap();
                relayed
            })
            .collect();
        let (reader, mut writer) = pipe();
        let errors = register(reader, Stream::Stderr, Sink::Print, "e", 8).unwrap();
        writer.write_all(b"to the other\n").unwrap();
        assert!(errors.drain(LONG) && relayed.iter().all(|relayed| relayed.drain(LONG)));
    });
    let Some(output) = output else { return };
    let text = String::from_utf8(output.stdout).unwrap();
    for name in ["a", "b", "c", "d"] {
        let prefix = format!("[{name} 7] ");
        let numbers = text.lines().filter_map(|line| line.strip_prefix(&prefix)?.parse::<u32>().ok());
        assert!(numbers.eq(0..500), "{name}");
    }
    assert!(String::from_utf8(output.stderr).unwrap().contains("[e 8] to the other\n"));
}

#[test]
fn the_thread_blocks_all_signals_and_bears_a_name() {
    let (_relayed, mut writer, lines) = registered();
    writer.write_all(b"x\n").unwrap();
    text(&lines);
    let mut statuses = std::fs::read_dir("/proc/self/task").unwrap().map(|task| {
        // A thread may end meanwhile.
        std::fs::read_to_string(task.unwrap().path().join("status")).unwrap_or_default()
    });
    let status = statuses.find(|status| status.starts_with("Name:\tipc-relay\n")).unwrap();
    let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:\t")).unwrap();
    // All but KILL and STOP, which cannot be blocked, and the two that are the C library's: a
    // setuid in any thread would wait for ever for one that blocks them.
    assert_eq!(blocked, "fffffffe7ffbfeff");
}

#[test]
fn a_forked_child_has_a_relay_of_its_own() {
    alone("process::relay::tests::a_forked_child_has_a_relay_of_its_own", || {
        let (relayed, mut writer, lines) = registered();
        writer.write_all(b"before\n").unwrap();
        assert_eq!(text(&lines), "before");
        let code = in_fork(|| {
            // The parent's is out of reach.
            assert!(!relayed.drain(LONG));
            let (own, mut writer, lines) = registered();
            writer.write_all(b"inside\n").unwrap();
            assert!(own.drain(LONG));
            assert_eq!(lines.try_recv().unwrap().text, "inside");
            0
        });
        assert_eq!(code, 0);
        writer.write_all(b"after\n").unwrap();
        assert_eq!(text(&lines), "after");
    });
}

#[test]
fn nothing_is_left_of_ended_streams() {
    alone("process::relay::tests::nothing_is_left_of_ended_streams", || {
        let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let (relayed, writer, _lines) = registered();
        drop(writer);
        assert!(relayed.drain(LONG));
        let before = open();
        for _ in 0..300 {
            let (relayed, mut writer, _lines) = registered();
            writer.write_all(b"x\n").unwrap();
            drop(writer);
            assert!(relayed.drain(LONG));
        }
        assert_eq!(open(), before);
        assert!(lock(RELAY.get().unwrap()).arrivals.is_empty());
    });
}

#[test]
fn a_name_with_control_characters_leaves_the_line_whole() {
    assert_eq!(Plain("a\nb\u{1b}[1m \"\u{e4}\\").to_string(), "a\\nb\\u{1b}[1m \"\u{e4}\\");
}
