//! Two programs that were built apart share a queue and an event: this one makes them, gives them to who comes, and takes what they put.
//!
//! ```text
//! MEET_KEY=secret cargo run -p ipc-sync --example share_server -- /tmp/share 3 1000
//! MEET_KEY=secret cargo run -p ipc-sync --example share_client -- /tmp/share         (in another terminal)
//! MEET_KEY=secret cargo run -p ipc-sync --example share_client -- /tmp/share         (in a third)
//! MEET_KEY=secret cargo run -p ipc-sync --example share_client -- /tmp/share die     (and again: one that dies)
//! ```
//!
//! It begins when so many clients are there, tells them to stop when it has so many jobs, and ends when all are gone, however they went.

use std::collections::BTreeMap;
use std::env;

use ipc_core::{AuthKey, Connection, Listener};
use ipc_sync::{Error, Event, Queue, QueueSender};
use serde::{Deserialize, Serialize};

/// The client has its own, of the same name and shape.
#[derive(Serialize, Deserialize)]
struct Job {
    client: u32,
    number: u64,
    text: String,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = env::args().skip(1);
    let address = words.next().ok_or("the first argument is an address")?;
    let clients: u32 = words.next().ok_or("the second argument is the number of clients")?.parse()?;
    let enough: u64 = words.next().ok_or("the third argument is the number of jobs")?.parse()?;
    let key = AuthKey::from_bytes(env::var("MEET_KEY").map_err(|_| "MEET_KEY is the key, and not there")?);

    let (sender, jobs) = Queue::<Job>::bounded(100)?.split();
    let stop = Event::new()?;
    let listener = Listener::builder().authkey(key).bind(address.as_str())?;
    println!("at {}", listener.address());
    for _ in 0..clients {
        let client: Connection<(QueueSender<Job>, Event), ()> = listener.accept()?;
        if let Err(error) = client.send((sender.clone(), stop.clone())) {
            println!("a client has gone before it was served: {error}");
        }
    }
    // From now on the senders are the clients', and gone with the last of them.
    drop(sender);

    let (mut all, mut last) = (0, BTreeMap::new());
    loop {
        match jobs.get() {
            Ok(Job { client, number, text }) => {
                // Each client's jobs come in the order of its puts, and none is missing, whoever else dies meanwhile.
                let before = last.insert(client, number).unwrap_or(0);
                if (number, text) != (before + 1, format!("job {number} of {client}")) {
                    return Err(format!("job {number} of {client} is not the one after {before}").into());
                }
                all += 1;
            }
            Err(Error::Disconnected) => break,
            Err(error) => return Err(error.into()),
        }
        if all == enough {
            stop.set();
        }
    }
    for (client, jobs) in last {
        println!("process {client} has put {jobs}");
    }
    println!("{all} in all");
    Ok(())
}
