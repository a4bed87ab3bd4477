//! What the system fails at with one client.

use rustix::event::epoll::CreateFlags;
use rustix::event::{EventfdFlags, eventfd};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, socket_with};

use super::*;

/// An error of the system with one client was one of `accept`.
#[test]
fn what_fails_with_one_client_is_the_end_of_that_one() {
    let unix = |flags| {
        socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC | flags, None).unwrap()
    };
    let name = format!("ipc-core-reception-{}", std::process::id());
    let address = SocketAddrUnix::new_abstract_name(name.as_bytes()).unwrap();
    let socket = unix(SocketFlags::NONBLOCK);
    rustix::net::bind(&socket, &address).unwrap();
    rustix::net::listen(&socket, 8).unwrap();
    let client = unix(SocketFlags::empty());
    rustix::net::connect(&client, &address).unwrap();

    let mut reception = Reception::new(Arc::new(socket));
    let bell = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
    let rules = Rules { key: None, stream: false, time: Duration::from_secs(20), admits: &|_| true };
    // What is no epoll stands for one that takes no more.
    let timer = wait::unset_timer().unwrap();
    let no_epoll = Front { epoll: bell.as_fd(), bell: bell.as_fd(), timer: timer.as_fd() };
    let arrival = reception.next(&rules, Some(no_epoll), Until::Now).unwrap().unwrap();
    assert_eq!(arrival.outcome.unwrap_err(), Refusal::Failed(Errno::INVAL.raw_os_error()));
    assert!(reception.guests.is_empty());

    // It can accept, but not have TCP send at once.
    rustix::net::connect(unix(SocketFlags::empty()), &address).unwrap();
    let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
    let front = Front { epoll: epoll.as_fd(), bell: bell.as_fd(), timer: timer.as_fd() };
    let arrival = reception.next(&Rules { stream: true, ..rules }, Some(front), Until::Now).unwrap().unwrap();
    assert_eq!(arrival.outcome.unwrap_err(), Refusal::Failed(Errno::OPNOTSUPP.raw_os_error()));
}
