//! Contexts and start methods: what a child gets by each, and the fork server's own life.
//!
//! The bodies stand in modules by topic, the tests here, so that their names are short.

#![allow(clippy::unwrap_used, reason = "helpers of a test are part of it")]

#[path = "../support/mod.rs"]
mod support;

mod contexts;
mod inheritance;
mod preload;
mod server;
mod wishes;

use support::{Method, each_method, program};

macro_rules! tests {
    ($how:path: $($topic:ident { $($test:ident)* })*) => {
        $($(
            #[test]
            fn $test() {
                $how($topic::$test);
            }
        )*)*
    };
}

/// In a process of its own, which may change itself.
fn alone(body: impl ipc_core::Function<(), Output = ()>) {
    let _leaks = ipc_testkit::leaks();
    program(body, ());
}

/// In a process of its own for each method.
fn each_alone(body: impl ipc_core::Function<(Method,), Output = ()>) {
    let _leaks = ipc_testkit::leaks();
    for m in Method::PROCESSES {
        println!("by {m:?}");
        program(body, (m,));
    }
}

tests! { alone:
    contexts {
        the_default_context_is_the_fork_server the_fork_server_falls_back_to_spawn_and_says_so
        using_one_context_changes_no_other
    }
    preload {
        a_preload_that_panics_is_an_error a_preload_that_leaves_threads_is_an_error
        a_preload_leaves_the_default_server_alone a_preload_on_another_context_has_no_effect
    }
    inheritance {
        after_fork_hooks_run_in_forked_children a_forked_child_has_the_parents_descriptors a_forked_child_is_a_copy
        an_execed_child_starts_afresh
    }
    server {
        one_fork_server_serves_a_program the_fork_server_has_one_thread the_fork_server_starts_with_the_first_use
        the_fork_server_carries_more_than_253_descriptors children_of_the_fork_server_are_the_callers
        a_stopped_fork_server_is_replaced the_fork_server_is_nobodys_child_in_the_list
    }
}

tests! { each_alone:
    inheritance { every_method_carries_the_working_directory every_method_carries_the_environment }
    wishes { every_method_fulfils_wishes_before_it_copies_the_parent }
}

tests! { each_method:
    inheritance { every_method_keeps_the_parents_argv }
}
