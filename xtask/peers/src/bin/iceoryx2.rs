//! `iceoryx2`: publish and subscribe of slices of bytes, blocking where a subscriber's buffer is full. A publisher loans, copies and sends, a subscriber looks all the
//! time, gives way after 2,000 looks, and copies out. Of `many-to-many` two processes publish and one subscribes: it has no items that go to one of several.

use std::hint::spin_loop;
use std::io;
use std::process::ExitCode;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Acquire, Release};

use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::port::update_connections::UpdateConnections;
use iceoryx2::prelude::*;
use peers::protocol::{Call, Placement, contend, pin, serve, timed};
use peers::traffic::{Bytes, Traffic};
use peers::{apart, in_shared_memory};

type Sends = Publisher<ipc::Service, [u8], ()>;
type Receives = Subscriber<ipc::Service, [u8], ()>;
type Topic = iceoryx2::service::port_factory::publish_subscribe::PortFactory<ipc::Service, [u8], ()>;

fn failed(error: impl std::fmt::Debug) -> io::Error {
    io::Error::other(format!("{error:?}"))
}

fn until<T>(mut look: impl FnMut() -> io::Result<Option<T>>) -> io::Result<T> {
    let mut looks = 0;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        looks += 1;
        if looks > 2_000 { std::thread::yield_now() } else { spin_loop() }
    }
}

fn topic(node: &Node<ipc::Service>, name: &str, size: usize) -> io::Result<Topic> {
    let name = name.try_into().map_err(failed)?;
    node.service_builder(&name)
        .publish_subscribe::<[u8]>()
        .enable_safe_overflow(false)
        .history_size(0)
        .subscriber_max_buffer_size(((1 << 20) / size.max(64)).clamp(8, 1024))
        .max_publishers(2)
        .max_subscribers(1)
        .open_or_create()
        .map_err(failed)
}

fn sends(topic: &Topic, size: usize) -> io::Result<Sends> {
    topic
        .publisher_builder()
        .initial_max_slice_len(size.max(8))
        .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
        .create()
        .map_err(failed)
}

fn send(there: &Sends, message: &[u8]) -> io::Result<()> {
    let sample = there.loan_slice_uninit(message.len()).map_err(failed)?;
    sample.write_from_slice(message).send().map_err(failed).map(drop)
}

fn receive<'a>(back: &Receives, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
    let sample = until(|| back.receive().map_err(failed))?;
    let buffer = &mut buffer[..sample.payload().len()];
    buffer.copy_from_slice(sample.payload());
    Ok(buffer)
}

/// One side: its ports are made in its own process, when it sends or receives for the first time.
struct End {
    names: [String; 2],
    size: usize,
    ports: Option<(Sends, Receives, Node<ipc::Service>)>,
    buffer: Vec<u8>,
}

impl End {
    fn open(&mut self) -> io::Result<()> {
        if self.ports.is_some() {
            return Ok(());
        }
        let node = NodeBuilder::new().create::<ipc::Service>().map_err(failed)?;
        let [there, back] =
            [topic(&node, &self.names[0], self.size)?, topic(&node, &self.names[1], self.size)?];
        let (sends, receives) =
            (sends(&there, self.size)?, back.subscriber_builder().create().map_err(failed)?);
        // What is sent before the other side is there goes nowhere.
        until(|| Ok((there.dynamic_config().number_of_subscribers() == 1).then_some(())))?;
        until(|| Ok((back.dynamic_config().number_of_publishers() == 1).then_some(())))?;
        sends.update_connections().map_err(failed)?;
        self.ports = Some((sends, receives, node));
        Ok(())
    }
}

impl Bytes for End {
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.open()?;
        match &self.ports {
            Some((there, ..)) => send(there, message),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn receive(&mut self, _: usize) -> io::Result<&[u8]> {
        self.open()?;
        match &self.ports {
            Some((_, back, _)) => receive(back, &mut self.buffer),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

/// Two that publish when they are told, and this process, which gets all of it.
fn crowd(call: &Call, traffic: Traffic) -> io::Result<()> {
    let batch = traffic.batch.ok_or_else(|| call.unknown())?;
    let name = format!("bench/{}/crowd", std::process::id());
    let (putting, getting) = match call.placement {
        Placement::Two { parent, child } => (Some(parent), Some(child)),
        Placement::One(cpu) => (Some(cpu), Some(cpu)),
        Placement::Free => (None, None),
    };
    // How often they were told.
    let told = in_shared_memory(AtomicUsize::new(0))?;
    for _ in 0..2 {
        let publish = |_: &mut ()| {
            putting.map_or(Ok(()), pin)?;
            let node = NodeBuilder::new().create::<ipc::Service>().map_err(failed)?;
            let there = topic(&node, &name, traffic.size)?;
            let sends = sends(&there, traffic.size)?;
            until(|| Ok((there.dynamic_config().number_of_subscribers() == 1).then_some(())))?;
            sends.update_connections().map_err(failed)?;
            let message = vec![7; traffic.size];
            for turn in 1.. {
                until(|| Ok((told.load(Acquire) >= turn).then_some(())))?;
                (0..batch / 2).try_for_each(|_| send(&sends, &message))?;
            }
            Ok(())
        };
        apart(Placement::Free, (), (), publish)?;
    }
    getting.map_or(Ok(()), pin)?;
    let node = NodeBuilder::new().create::<ipc::Service>().map_err(failed)?;
    let back = topic(&node, &name, traffic.size)?;
    let receives = back.subscriber_builder().create().map_err(failed)?;
    until(|| Ok((back.dynamic_config().number_of_publishers() == 2).then_some(())))?;
    let mut buffer = vec![0; traffic.size];
    serve(|| {
        let once = || {
            told.fetch_add(1, Release);
            (0..batch).try_for_each(|_| receive(&receives, &mut buffer).map(drop))
        };
        timed(once).map(|(time, ())| time)
    })
}

fn main() -> ExitCode {
    set_log_level(LogLevel::Error);
    contend(std::env::args().skip(1), |call| {
        let traffic = Traffic::of(&call)?;
        if call.task == "many-to-many" {
            return crowd(&call, traffic);
        }
        let name = |way: &str| format!("bench/{}/{way}", std::process::id());
        let end = |there: &str, back: &str| End {
            names: [name(there), name(back)],
            size: traffic.size,
            ports: None,
            buffer: vec![0; traffic.size.max(8)],
        };
        let mut end =
            apart(call.placement, end("there", "back"), end("back", "there"), |end| traffic.follow(end))?;
        traffic.lead(&mut end)
    })
}
