//! The other of two programs that were built apart: it is given a queue and an event by `share_server`, which says how to run both.
//!
//! `share_client ADDRESS` puts a job each millisecond until it is told to stop, `share_client ADDRESS die` puts ten and dies.

use std::env;
use std::time::Duration;

use ipc_core::{AuthKey, Connection, Connector};
use ipc_sync::{Event, QueueSender};
use serde::{Deserialize, Serialize};

/// The server has its own, of the same name and shape.
#[derive(Serialize, Deserialize)]
struct Job {
    client: u32,
    number: u64,
    text: String,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = env::args().skip(1);
    let address = words.next().ok_or("the first argument is an address")?;
    let dies = words.next().is_some();
    let key = AuthKey::from_bytes(env::var("MEET_KEY").map_err(|_| "MEET_KEY is the key, and not there")?);

    let server: Connection<(), (QueueSender<Job>, Event)> =
        Connector::new().authkey(key).connect(address.as_str())?;
    let (jobs, stop) = server.recv()?;
    let client = std::process::id();
    let mut number = 0;
    while dies || !stop.wait_timeout(Duration::from_millis(1)) {
        number += 1;
        // It waits while the queue is full; once the server is gone it is an error.
        jobs.put(Job { client, number, text: format!("job {number} of {client}") })?;
        if dies && number == 10 {
            std::process::abort();
        }
    }
    println!("told to stop after {number}");
    Ok(())
}
