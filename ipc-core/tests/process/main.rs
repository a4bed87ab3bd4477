//! Processes: names, families, values, ends, keys, streams. Each test runs by exec, fork server and fork, unless it stands under
//! `once`.

#![allow(clippy::unwrap_used, reason = "helpers of a test are part of it")]

#[path = "../support/mod.rs"]
mod support;

mod endings;
mod families;
mod joining;
mod keys;
mod leaving;
mod naming;
mod streams;

fn once(body: impl FnOnce()) {
    let _leaks = ipc_testkit::leaks();
    body();
}

/// The bodies stand in modules by topic, the tests here, so that their names are short.
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

tests! { support::each_method:
    naming {
        a_name_may_be_set_at_any_time two_children_may_share_a_name errors_name_the_child_and_its_pid
        debug_shows_name_pid_parent_state_and_daemon debug_shows_how_a_child_ended
    }
    families {
        join_of_a_living_parent_times_out active_children_reaps_the_finished available_parallelism_follows_affinity
        a_daemon_may_have_children a_spawn_reaps_finished_siblings a_child_starts_with_no_children
        a_failed_spawn_gives_the_arguments_back
    }
    joining {
        join_gives_the_value join_timeout_tells_a_timeout_from_a_value a_value_is_given_once
        what_went_wrong_is_told_as_often_as_asked wait_may_be_repeated is_alive_reaps
    }
    endings {
        exit_zero_in_a_function_is_an_error_at_join a_panic_is_an_error_with_message_location_and_backtrace
        a_panic_exits_101 death_by_signal_is_killed_with_the_signal signals_after_the_exit_are_ok
        a_terminated_child_runs_no_exit_hooks
    }
    keys { grandchildren_have_the_same_authkey a_new_authkey_goes_to_later_children the_builders_authkey_wins }
    streams {
        stdin_is_null_unless_asked_otherwise output_without_a_newline_arrives
        chosen_descriptors_arrive_at_their_numbers relayed_lines_bear_name_and_pid
        lines_are_there_when_the_join_is a_new_name_is_that_of_later_lines
    }
    leaving { c_atexit_handlers_run_only_on_request }
}

tests! { once:
    naming { the_first_process_is_called_main_process default_names_tell_the_path_of_births }
    joining { a_forked_copy_of_a_handle_is_not_the_parents }
    keys { each_program_has_a_random_authkey_of_32_bytes }
    leaving { a_child_never_returns_into_main }
}
