//! ipc-channel 0.23.1: a bytes channel each way, or a channel of values each way.

use std::io;
use std::process::ExitCode;

use ipc_channel::ipc::{IpcBytesReceiver, IpcBytesSender, IpcReceiver, IpcSender, bytes_channel, channel};
use peers::parcel::{Parcel, Values};
use peers::protocol::contend;
use peers::traffic::{Bytes, Traffic};

struct BytesEnd {
    sender: IpcBytesSender,
    receiver: IpcBytesReceiver,
    received: Vec<u8>,
}

impl Bytes for BytesEnd {
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.sender.send(message)
    }

    fn receive(&mut self, _: usize) -> io::Result<&[u8]> {
        // It knows no buffer of the receiver's: what it allocates is taken as it is.
        self.received = self.receiver.recv().map_err(io::Error::other)?;
        Ok(&self.received)
    }
}

struct ValuesEnd {
    sender: IpcSender<Parcel>,
    receiver: IpcReceiver<Parcel>,
}

impl Values for ValuesEnd {
    fn send(&mut self, parcel: Parcel) -> io::Result<()> {
        self.sender.send(parcel).map_err(io::Error::other)
    }

    fn receive(&mut self) -> io::Result<Parcel> {
        self.receiver.recv().map_err(io::Error::other)
    }
}

fn main() -> ExitCode {
    contend(std::env::args().skip(1), |call| {
        let traffic = Traffic::of(&call)?;
        if traffic.typed {
            let (there, follower) = channel()?;
            let (back, leader) = channel()?;
            let ours = ValuesEnd { sender: there, receiver: leader };
            let theirs = ValuesEnd { sender: back, receiver: follower };
            let mut end = peers::apart(call.placement, ours, theirs, |end| traffic.follow_values(end))?;
            traffic.lead_values(&mut end)
        } else {
            let (there, follower) = bytes_channel()?;
            let (back, leader) = bytes_channel()?;
            let ours = BytesEnd { sender: there, receiver: leader, received: Vec::new() };
            let theirs = BytesEnd { sender: back, receiver: follower, received: Vec::new() };
            let mut end = peers::apart(call.placement, ours, theirs, |end| traffic.follow(end))?;
            traffic.lead(&mut end)
        }
    })
}
