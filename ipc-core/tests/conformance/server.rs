//! The fork server's own life.

use std::fs;

use ipc_core::{AuthKey, Context, Signal, current};

use crate::support::{Gate, Method, await_end, kill, number_after, program, state_and_parent};

/// A context whose server runs, and that server.
fn with_server(m: Method) -> (Context, u32) {
    let context = m.context();
    assert_eq!(context.server_pid(), None);
    assert_eq!(context.spawn(|| 1, ()).unwrap().join().unwrap(), 1);
    let server = context.server_pid().unwrap();
    (context, server)
}

pub(crate) fn forkserver_sigint(m: Method) {
    let (context, server) = with_server(m);
    let gate = Gate::new();
    let running = context.spawn(number_after, (gate.entrance(), 2)).unwrap();
    kill(server, Signal::INT);
    assert_eq!(context.spawn(|| 3, ()).unwrap().join().unwrap(), 3);
    assert_eq!(context.server_pid(), Some(server));
    assert_eq!(context.spawn(|| 4, ()).unwrap().join().unwrap(), 4, "and not by a spare");
    assert_ne!(state_and_parent(server).unwrap().0, 'Z');
    assert!(running.is_alive());
    gate.open();
    assert_eq!(running.join().unwrap(), 2);
}

pub(crate) fn forkserver_sigkill(m: Method) {
    let (context, server) = with_server(m);
    let gate = Gate::new();
    let running = context.spawn(number_after, (gate.entrance(), 2)).unwrap();
    let leaving = context.spawn(
        |gate: ipc_core::Descriptor| {
            crate::support::wait_at(gate);
            std::process::exit(7)
        },
        (gate.entrance(),),
    );
    let leaving: ipc_core::Child<()> = leaving.unwrap();
    kill(server, Signal::KILL);
    await_end(server);
    // The first may be a spare that the server has left.
    for number in 3..6 {
        assert_eq!(context.spawn(|n: u32| n, (number,)).unwrap().join().unwrap(), number);
    }
    assert_ne!(context.server_pid(), Some(server));
    assert!(running.is_alive() && leaving.is_alive());
    gate.open();
    gate.open();
    assert_eq!(running.wait().unwrap().code(), Some(0));
    assert_eq!(running.join().unwrap(), 2);
    assert_eq!(leaving.join().unwrap_err().code(), Some(7));
}

/// A line of /proc/net/unix.
#[derive(Debug)]
struct Socket {
    listens: bool,
    named: bool,
}

/// The Unix sockets of a process.
fn sockets(pid: u32) -> Vec<Socket> {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let inodes: Vec<String> = links
        .filter_map(|link| {
            let target = fs::read_link(link.unwrap().path()).ok()?.into_os_string().into_string().ok()?;
            Some(target.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        })
        .collect();
    let table = fs::read_to_string("/proc/net/unix").unwrap();
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            // Num RefCount Protocol Flags Type St Inode Path
            let fields: Vec<_> = line.split_whitespace().collect();
            inodes.iter().any(|inode| fields[6] == inode).then(|| Socket {
                listens: u32::from_str_radix(fields[3], 16).unwrap() & 0x10000 != 0,
                named: fields.len() > 7,
            })
        })
        .collect()
}

/// There is no key to the server, because there is no door: it talks over a socket pair made before it started.
pub(crate) fn forkserver_auth_is_enabled(m: Method) {
    program(
        |m: Method| {
            let (context, server) = with_server(m);
            let key = current().authkey().unwrap();
            let mut seen = Vec::new();
            for key in [AuthKey::from_bytes("another"), key.clone()] {
                current().set_authkey(key);
                let child = context.spawn(|| current().authkey().unwrap().as_bytes().to_vec(), ()).unwrap();
                seen.push(child.join().unwrap());
            }
            assert_eq!(seen, [b"another".to_vec(), key.as_bytes().to_vec()]);
            assert_eq!(context.server_pid(), Some(server));
            let sockets = sockets(server);
            assert!(!sockets.is_empty());
            assert!(!sockets.iter().any(|socket| socket.named), "{sockets:?}");
        },
        (m,),
    );
}

/// Whoever has not inherited the descriptor finds nothing to connect to.
pub(crate) fn forkserver_without_auth_fails(m: Method) {
    program(
        |m: Method| {
            let (_context, server) = with_server(m);
            for pid in [server, std::process::id()] {
                let sockets = sockets(pid);
                assert!(!sockets.is_empty());
                assert!(!sockets.iter().any(|socket| socket.listens || socket.named), "{sockets:?}");
            }
        },
        (m,),
    );
}
