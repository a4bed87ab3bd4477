//! Two programs that were built apart share a lock and a value: this one makes them, and gives them to who comes.
//!
//! ```text
//! MEET_KEY=secret cargo run -p ipc-shm --example meet_server -- /tmp/meet 3
//! MEET_KEY=secret cargo run -p ipc-shm --example meet_client -- /tmp/meet         (in another terminal)
//! MEET_KEY=secret cargo run -p ipc-shm --example meet_client -- /tmp/meet die     (and again: one that dies)
//! ```
//!
//! It serves so many clients, one after the other, and says what they have added.

use std::env;

use ipc_core::{AuthKey, Connection, Listener};
use ipc_shm::{Lock, LockError, Value};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = env::args().skip(1);
    let address = words.next().ok_or("the first argument is an address")?;
    let clients: u32 = words.next().ok_or("the second argument is the number of clients")?.parse()?;
    let key = AuthKey::from_bytes(env::var("MEET_KEY").map_err(|_| "MEET_KEY is the key, and not there")?);

    let (terminal, total) = (Lock::new()?, Value::new(0_u64)?);
    let listener = Listener::builder().authkey(key).bind(address.as_str())?;
    println!("at {}", listener.address());
    for _ in 0..clients {
        let client: Connection<(Lock, Value<u64>), u64> = listener.accept()?;
        client.send((terminal.clone(), total.clone()))?;
        match client.recv() {
            Ok(added) => println!("a client has added {added}"),
            Err(_) => println!("a client has gone without a word"),
        }
    }
    match total.lock() {
        Ok(total) => println!("{total} in all"),
        Err(LockError::OwnerDied(died)) => {
            println!("process {} has died with the total", died.pid());
            // One addition is done or not, so whatever stands there is right.
            println!("{} in all", *died.recover());
        }
        Err(error) => return Err(ipc_shm::Error::from(error).into()),
    }
    Ok(())
}
