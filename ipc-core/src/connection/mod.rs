//! Typed messages between processes.
//!
//! A [`pipe()`] has an end to send by and one to receive by; a [`duplex()`] two [`Connection`]s that do both. The ends travel inside
//! values, so whoever has one can give it to a child, or to whoever is at the other end of a connection.
//!
//! # What carries what
//!
//! | connection | socket | a message | descriptors |
//! |---|---|---|---|
//! | [`pipe()`], [`duplex()`], listeners at paths and abstract names | `AF_UNIX`, `SOCK_SEQPACKET` | one packet up to 64 KiB; parts of up to 256 KiB beyond | travel inside values |
//! | listeners at TCP addresses | `SOCK_STREAM` | bytes, with their length before them | do not travel: such a value is refused, and nothing is sent |
//! | [`Context::threads`](crate::Context::threads)`().pipe()` | none: a queue in memory | the value itself, moved | are part of the value |
//!
//! The kernel keeps packets whole, so with them senders need no lock: threads and processes that share an end send their messages
//! side by side, a long one holds up no short one, and no message is torn.
//!
//! # Over TCP
//!
//! The lock that keeps messages whole is in the process. So threads may share such an end; of several processes that have one
//! end, *one may send and one receive*, or bytes of two messages mix.
//!
//! A message that was sent in part when the time was over (or whose future was dropped) cannot be taken back: the sending
//! direction ends there, and both sides are told. So a deadline over TCP should be one after which the connection is given up; on
//! Unix sockets it costs nothing. Small messages go at once (`TCP_NODELAY`), and nothing is encrypted.
//!
//! # Strangers
//!
//! A [`Listener`] has an address, and whoever has the address and the key can [`connect`]: a child, or a program that was built apart.
//! The two prove to each other that they have the same key before a byte of a message is looked at. What an attacker can do:
//!
//! | attempt | what comes of it |
//! |---|---|
//! | send an old proof again, or our own back to us | it is wrong: both sides' random numbers and roles are in it |
//! | claim that no key is needed | who has a key refuses a peer that has none, listener or client |
//! | learn a client's proof, as a false listener, and try keys at leisure | finds a word, and no random bytes: *a key should be random* ([`AuthKey::random`](crate::AuthKey::random), which is what a family has) |
//! | guess by the time that a comparison takes | it always takes the same |
//! | sit between the two and pass on what they say | succeeds, over a network: TCP that others can write to needs a tunnel. Unix sockets have nobody in between |
//! | be silent, trickle, flood | is closed in time, and holds up nobody else ([`ListenerBuilder::handshake_timeout`]) |
//!
//! # Ends inside values
//!
//! An end travels as its descriptor and the little that is known of it. The one that is received is another end on the same socket; the
//! one that was sent is silent from then on, unless sending failed: dropping it closes a descriptor and ends nothing. Two are refused, and
//! stay: an end in memory, which belongs to its process, and a receiver in the middle of a message, which knows what no
//! descriptor carries. To keep an end as well, send a clone of it ([`Sender::clone`], [`Receiver::try_clone`], [`Connection::try_clone`]).
//!
//! # What each death leaves
//!
//! | who dies, and when | the other side |
//! |---|---|
//! | sender, between messages | receives what was sent, then [`Error::Disconnected`](crate::Error::Disconnected) |
//! | sender, in the middle of a message | receives what was sent, then an error that says after how many bytes, then the end |
//! | one of several processes that send by one end, in the middle | receives what the others send; the part is forgotten with the end, or when 64 others are unfinished |
//! | receiver, whatever it was doing | the next send is `Disconnected`; what was under way is lost |
//! | a client, in the middle of its handshake | the listener counts it and goes on |
//! | a listener | clients in its backlog or their handshake get an error; its address can be bound at once |
//! | one of several processes that receive by one end, in the middle | the message is lost; its remaining parts are one error to another |
//!
//! # Which end ends what
//!
//! | dropped | effect |
//! |---|---|
//! | an end of a pipe, a whole `Connection` | its descriptor is closed; the direction ends when all of its copies are |
//! | a half of a split connection | its direction is shut down, for all copies |
//! | an end or a half that was sent away in a value | its descriptor is closed; the received one is what it was |
//!
//! # Threads and processes
//!
//! All operations take `&self`. Threads that receive by one end take turns, each gets whole messages, and each keeps its deadline
//! also while another has the turn. Processes that receive by one end ([`Receiver::try_clone`]) share what arrives: a message of one
//! packet goes to one of them. A longer one cannot be shared so; a part whose beginning went elsewhere is an error that says so.
//!
//! Looking ahead ([`Receiver::poll`]) leaves a message in the socket, where everybody sees it, with one exception: when another process
//! takes the message that was seen, in that very instant, the look receives the next one in its place and keeps it. It is the next
//! that this end receives, and `poll` tells of it; but the descriptor, and so [`wait`], shows what is in the socket alone. Who
//! shares a receiving end between processes and looks ahead asks `poll` before it waits for the descriptor.
//!
//! # What it costs
//!
//! Beside a raw socket pair, in one run (medians, two processes on a machine of two processors): bytes received into the
//! caller's buffer take 1.05 of it from 16 KiB on, and a MiB 0.96 of what a stream socket takes. A short message has 0.2 µs more than
//! `send` and `recv` alone: the half of it is `recvmsg`, without which no descriptors could come.
//!
//! However long a message is, it goes through the socket: a fresh sealed memory file took 1.6 times what the stream took for
//! a MiB, 2.5 times for 16 and 3.3 for 64, so there is none (start messages, arguments and results of children are another matter: no writer may wait
//! there). So a long message needs somebody who receives while it is sent; and one that is longer than the socket's
//! buffer, some hundred KiB where the system does not say otherwise, cannot be sent without waiting: [`Sender::try_send`] of it is
//! [`TimedOut`](crate::Error::TimedOut) however idle the other side is, unless that happens to receive in the same instant.

// The way of a client, and where:
//
//     address     text, path or host: which family
//       endpoint  a socket there; lock: whose path it is
//       pending   a handshake on a socket, a step at a time        reception: those of one listener side by side
//         auth    what is said, bytes in and bytes out
//     listener, client   a connection, over packets or over a stream

pub(crate) mod address;
#[doc(hidden)]
pub mod auth;
pub(crate) mod channel;
mod client;
mod clone;
pub(crate) mod credentials;
mod duplex;
mod endpoint;
mod futures;
mod listener;
mod lock;
pub(crate) mod memory;
pub(crate) mod packets;
mod pending;
pub(crate) mod pipe;
mod receiver;
mod reception;
mod send_error;
mod sender;
#[doc(hidden)]
pub mod stream;
mod travel;
pub(crate) mod turn;
mod wait;

#[doc(no_inline)]
pub use address::Address;
#[doc(no_inline)]
pub use client::{Connector, connect};
#[doc(no_inline)]
pub use credentials::Credentials;
#[doc(no_inline)]
pub use duplex::Connection;
#[doc(no_inline)]
pub use futures::{AcceptFuture, ReceiveFuture, SendBytesFuture, SendFuture};
#[doc(no_inline)]
pub use listener::{Listener, ListenerBuilder, Peer};
#[doc(no_inline)]
pub use pipe::{duplex, pipe};
#[doc(no_inline)]
pub use receiver::{IntoIter, Iter, Receiver};
#[doc(no_inline)]
pub use send_error::SendError;
#[doc(no_inline)]
pub use sender::Sender;
#[doc(no_inline)]
pub use wait::{wait, wait_deadline};
