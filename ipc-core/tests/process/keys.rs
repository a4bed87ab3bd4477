//! The key by which a family knows itself.

use ipc_core::{AuthKey, Descriptor, current};

use crate::support::{Gate, Method, first_process, program, wait_at};

fn key() -> Vec<u8> {
    current().authkey().unwrap().as_bytes().to_vec()
}

fn child_key(m: Method) -> Vec<u8> {
    m.context().spawn(key, ()).unwrap().join().unwrap()
}

pub(crate) fn grandchildren_have_the_same_authkey(m: Method) {
    for of_grandchild in Method::PROCESSES {
        let child = m.context().spawn(|m: Method| (key(), child_key(m)), (of_grandchild,)).unwrap();
        assert_eq!(child.join().unwrap(), (key(), key()));
    }
}

pub(crate) fn a_new_authkey_goes_to_later_children(m: Method) {
    program(
        |m: Method| {
            let (context, gate, old) = (m.context(), Gate::new(), key());
            let late = |gate: Descriptor| {
                wait_at(gate);
                key()
            };
            let earlier = context.spawn(late, (gate.entrance(),)).unwrap();
            current().set_authkey(AuthKey::from_bytes("new"));
            assert_eq!(key(), b"new");
            let server = context.server_pid();
            assert_eq!(context.spawn(key, ()).unwrap().join().unwrap(), b"new");
            assert_eq!(context.server_pid(), server);
            gate.open();
            assert_eq!(earlier.join().unwrap(), old);
        },
        (m,),
    );
}

pub(crate) fn the_builders_authkey_wins(m: Method) {
    let builder = m.context().builder().authkey(AuthKey::from_bytes("its own"));
    let child = builder.spawn(|m: Method| (key(), child_key(m)), (m,)).unwrap();
    assert_eq!(child.join().unwrap(), (b"its own".to_vec(), b"its own".to_vec()));
    assert_ne!(key(), b"its own");
}

pub(crate) fn each_program_has_a_random_authkey_of_32_bytes() {
    let program = || {
        first_process("each_program_has_a_random_authkey_of_32_bytes", || {
            let key = current().authkey().unwrap();
            assert_eq!(key.as_bytes().len(), 32);
            assert_eq!(format!("{key:?}"), "AuthKey(..)");
            println!("\nkey {:?}", key.as_bytes());
        })
    };
    let Some(first) = program() else { return };
    let second = program().unwrap();
    let keys = [first, second].map(|output| {
        let said = String::from_utf8(output.stdout).unwrap();
        said.lines().find_map(|line| line.strip_prefix("key ")).unwrap().to_owned()
    });
    assert_ne!(keys[0], keys[1]);
}
