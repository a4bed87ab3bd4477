//! The other of two programs that were built apart: it is given a lock and a value by `meet_server`, which says how to run both.
//!
//! `meet_client ADDRESS` adds a thousand times, `meet_client ADDRESS die` dies at the tenth, with the value in its hands.

use std::env;

use ipc_core::{AuthKey, Connection, Connector};
use ipc_shm::{Lock, LockError, Value};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = env::args().skip(1);
    let address = words.next().ok_or("the first argument is an address")?;
    let dies = words.next().is_some();
    let key = AuthKey::from_bytes(env::var("MEET_KEY").map_err(|_| "MEET_KEY is the key, and not there")?);

    let server: Connection<u64, (Lock, Value<u64>)> =
        Connector::new().authkey(key).connect(address.as_str())?;
    let (terminal, total) = server.recv()?;
    for n in 1..=1000 {
        let mut total = match total.lock() {
            Ok(total) => total,
            Err(LockError::OwnerDied(died)) => {
                println!("process {} has died with the total", died.pid());
                died.recover()
            }
            Err(error) => return Err(ipc_shm::Error::from(error).into()),
        };
        *total += 1;
        if dies && n == 10 {
            std::process::abort();
        }
    }
    // A lock by itself is for what is not in shared memory: here the terminal of all these programs.
    let _mine = terminal.lock().map_err(ipc_shm::Error::from)?;
    println!("there are {} by now", total.get()?);
    server.send(1000)?;
    Ok(())
}
