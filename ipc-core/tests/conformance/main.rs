//! CPython's own tests of `multiprocessing`, under CPython's names.
//!
//! One body over several back ends, as there: exec, fork server, fork, and threads where threads can do it. What these tests
//! leave out stands in the other test binaries. `xtask/parity.md` says which row of Python's list each of them shows.

#![allow(clippy::unwrap_used, reason = "helpers of a test are part of it")]

#[path = "../support/mod.rs"]
mod support;

mod arguments;
mod close_fds;
mod connections;
mod endings;
mod exit;
mod family;
mod listeners;
mod server;
mod start_method;
mod streams;
mod waits;

/// The bodies, by CPython's classes.
mod bodies {
    pub(crate) mod test_process {
        pub(crate) use crate::arguments::{
            args_argument, current, daemon_argument, lose_target_ref, process,
        };
        pub(crate) use crate::close_fds::child_fd_inflation;
        pub(crate) use crate::endings::{
            close, interrupt, interrupt_no_handler, kill, sentinel, terminate, wait_for_threads,
        };
        pub(crate) use crate::family::{
            active_children, many_processes, parent_process, parent_process_attributes, recursion,
        };
        pub(crate) use crate::server::*;
        pub(crate) use crate::streams::{error_on_stdio_flush_1, error_on_stdio_flush_2};
    }
    pub(crate) mod test_subclassing_process {
        pub(crate) use crate::exit::sys_exit;
        pub(crate) use crate::streams::{stderr_flush, subclassing};
    }
    pub(crate) mod test_poll_eintr {
        pub(crate) use crate::endings::poll_eintr;
    }
    pub(crate) mod test_connection {
        pub(crate) use crate::connections::{
            connection, context, duplex_false, fd_transfer, large_fd_transfer, missing_fd_transfer,
            sendbytes, spawn_close,
        };
    }
    pub(crate) mod test_poll {
        pub(crate) use crate::connections::{boundaries, dont_merge, empty_string, strings};
    }
    pub(crate) mod test_listener_client {
        pub(crate) use crate::listeners::{issue14725, listener_client};
    }
    pub(crate) mod test_pickling_connections {
        pub(crate) use crate::listeners::{access, pickling};
    }
    pub(crate) mod test_wait {
        pub(crate) use crate::waits::{
            wait_fast as wait, wait_integer, wait_slow, wait_socket, wait_socket_slow,
        };
    }
    pub(crate) mod test_timeouts {
        pub(crate) use crate::listeners::timeout;
    }
    pub(crate) mod test_ignore_eintr {
        pub(crate) use crate::listeners::{ignore, ignore_listener};
    }
    pub(crate) mod test_at_exit {
        pub(crate) use crate::exit::atexit;
    }
    pub(crate) mod test_close_fds {
        pub(crate) use crate::close_fds::closefd;
    }
    pub(crate) mod test_start_method {
        pub(crate) use crate::start_method::{nested_startmethod, spawn_dont_set_context};
    }
}

macro_rules! back_end {
    ($back_end:ident = $method:ident: $($class:ident { $($test:ident)* })*) => {
        mod $back_end {
            $(mod $class {
                $(#[test]
                fn $test() {
                    crate::support::run(crate::support::Method::$method, crate::bodies::$class::$test);
                })*
            })*
        }
    };
}

back_end! { exec = Exec:
    test_process {
        current args_argument daemon_argument parent_process_attributes parent_process process interrupt
        interrupt_no_handler terminate kill active_children recursion sentinel close many_processes lose_target_ref
        child_fd_inflation wait_for_threads error_on_stdio_flush_1 error_on_stdio_flush_2
    }
    test_subclassing_process { subclassing stderr_flush sys_exit }
    test_poll_eintr { poll_eintr }
    test_connection {
        connection context duplex_false fd_transfer large_fd_transfer missing_fd_transfer sendbytes spawn_close
    }
    test_poll { boundaries dont_merge empty_string strings }
    test_listener_client { issue14725 listener_client }
    test_pickling_connections { access pickling }
    test_wait { wait wait_integer wait_slow wait_socket wait_socket_slow }
    test_timeouts { timeout }
    test_ignore_eintr { ignore ignore_listener }
    test_at_exit { atexit }
    test_close_fds { closefd }
    test_start_method { nested_startmethod spawn_dont_set_context }
}

back_end! { fork_server = ForkServer:
    test_process {
        current args_argument daemon_argument parent_process_attributes parent_process process interrupt
        interrupt_no_handler terminate kill active_children recursion sentinel close many_processes lose_target_ref
        child_fd_inflation wait_for_threads error_on_stdio_flush_1 error_on_stdio_flush_2 forkserver_sigint
        forkserver_sigkill forkserver_auth_is_enabled forkserver_without_auth_fails
    }
    test_subclassing_process { subclassing stderr_flush sys_exit }
    test_poll_eintr { poll_eintr }
    test_connection {
        connection context duplex_false fd_transfer large_fd_transfer missing_fd_transfer sendbytes spawn_close
    }
    test_poll { boundaries dont_merge empty_string strings }
    test_listener_client { issue14725 listener_client }
    test_pickling_connections { access pickling }
    test_wait { wait wait_integer wait_slow wait_socket wait_socket_slow }
    test_timeouts { timeout }
    test_ignore_eintr { ignore ignore_listener }
    test_at_exit { atexit }
    test_close_fds { closefd }
    test_start_method { nested_startmethod spawn_dont_set_context }
}

back_end! { fork = Fork:
    test_process {
        current args_argument daemon_argument parent_process_attributes parent_process process interrupt
        interrupt_no_handler terminate kill active_children recursion sentinel close many_processes lose_target_ref
        wait_for_threads error_on_stdio_flush_1 error_on_stdio_flush_2
    }
    test_subclassing_process { subclassing stderr_flush sys_exit }
    test_poll_eintr { poll_eintr }
    test_connection {
        connection context duplex_false fd_transfer large_fd_transfer missing_fd_transfer sendbytes spawn_close
    }
    test_poll { boundaries dont_merge empty_string strings }
    test_listener_client { issue14725 listener_client }
    test_pickling_connections { access pickling }
    test_wait { wait wait_integer wait_slow wait_socket wait_socket_slow }
    test_timeouts { timeout }
    test_ignore_eintr { ignore ignore_listener }
    test_at_exit { atexit }
    test_start_method { nested_startmethod }
}

back_end! { threads = Threads:
    test_process { args_argument process active_children recursion sentinel close lose_target_ref }
    test_connection { connection context duplex_false sendbytes spawn_close }
    test_poll { boundaries dont_merge empty_string strings }
    test_listener_client { issue14725 listener_client }
    test_pickling_connections { access }
}

// What needs no back end, or brings its own.

mod test_process {
    #[test]
    fn cpu_count() {
        assert!(ipc_core::available_parallelism().unwrap().get() >= 1);
    }
}

/// A class whose tests need no back end.
macro_rules! class {
    ($class:ident = $module:ident { $($test:ident)* }) => {
        mod $class {
            $(#[test]
            fn $test() {
                let _leaks = ipc_testkit::leaks();
                crate::$module::$test();
            })*
        }
    };
}

class! { test_listener = listeners { abstract_socket context empty_authkey multiple_bind } }
class! { test_listener_client = listeners { issue16955 } }
class! { test_wait = waits { neg_timeout wait_timeout } }
class! { other_test = listeners { answer_challenge_auth_failure deliver_challenge_auth_failure } }
class! { challenge_response_test = listeners { challengeresponse } }
class! { test_invalid_family = listeners { invalid_family } }

mod test_finalize {
    #[test]
    fn finalize() {
        crate::exit::finalize();
    }
}

mod test_start_method {
    use crate::start_method as bodies;

    #[test]
    fn context() {
        bodies::context();
    }

    #[test]
    fn set_get() {
        bodies::set_get();
    }

    #[test]
    fn get_all() {
        bodies::get_all();
    }

    #[test]
    fn preload_resources() {
        bodies::preload_resources();
    }
}

mod test_fork_in_threads {
    #[test]
    fn fork_among_threads() {
        crate::start_method::fork_among_threads();
    }
}
