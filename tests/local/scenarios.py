"""The conformance suite for a transport without sockets: each scenario kept, or why not."""

NO_SOCKET = "there is no socket"
NO_BYTES = "chunks come as objects: no bytes are framed, packed or cut"
NO_CONNECTION = "there is no connection to open, keep or lose"

SCENARIOS = {
    "test_success": "test_success",
    "test_an_open_stream_knows_its_status_and_headers": "test_an_open_stream_can_be_left_twice",
    "test_each_error_status": "test_its_own_refusals",
    "test_a_redirect_is_not_followed": "there is nowhere to be sent",
    "test_cut_before_the_headers": NO_SOCKET,
    "test_a_whole_answer_cut_short": NO_BYTES,
    "test_a_stream_cut_in_the_middle_gives_what_came_before": NO_BYTES,
    "test_a_clean_close_without_an_end_marker_is_the_end": NO_BYTES,
    "test_a_line_of_10_mb": NO_BYTES,
    "test_packed_answers_are_unpacked": NO_BYTES,
    "test_damaged_gzip_is_a_cut": NO_BYTES,
    "test_bytes_that_are_no_utf8_are_handed_on_as_bytes": NO_BYTES,
    "test_an_error_text_that_breaks_off_leaves_the_status": NO_BYTES,
    "test_leaving_a_stream_closes_its_socket": "test_leaving_a_stream_stops_the_computing",
    "test_leaving_a_stream_that_never_stops_is_quick": "test_leaving_a_stream_stops_the_computing",
    "test_a_forgotten_stream_closes_its_socket": "test_a_forgotten_stream_stops_the_computing",
    "test_connections_are_kept_and_used_again": "test_one_engine_for_every_transport_of_a_file",
    "test_a_stream_left_at_its_end_marker_keeps_its_connection": NO_CONNECTION,
    "test_a_refusal_keeps_its_connection": NO_CONNECTION,
    "test_a_connection_the_server_closed_meanwhile_is_not_used": NO_CONNECTION,
    "test_a_kept_connection_closed_in_the_moment_of_the_request_is_a_cut": NO_CONNECTION,
    "test_nobody_listens": "test_no_such_model",
    "test_connecting_has_its_own_limit": NO_CONNECTION,
    "test_cancel_while_connecting": NO_CONNECTION,
    "test_close_may_be_called_twice_and_the_transport_used_again": (
        "test_close_may_be_called_twice_and_the_transport_used_again"
    ),
    "test_a_large_request_body_arrives_whole": "test_its_own_refusals",
    "test_thirty_threads_at_once": "test_six_threads_at_once",
    "test_fifty_tasks_at_once": "test_twenty_tasks_at_once",
    "test_one_call_cancelled_among_many_leaves_the_others_alone": (
        "test_one_call_cancelled_among_many_leaves_the_others_alone"
    ),
    "test_three_asyncio_runs_in_a_row": "test_three_asyncio_runs_in_a_row",
    "test_a_loop_closed_without_ceremony_leaves_no_warning": (
        "test_a_loop_that_is_gone_stops_the_computing"
    ),
    "test_a_loop_per_thread": "test_a_loop_per_thread",
    "test_a_forked_child_opens_its_own_connections": "test_a_forked_child_loads_its_own",
    "test_a_stall_before_the_headers_times_out": "test_a_slow_start_times_out",
    "test_a_stall_in_a_whole_body_times_out": "test_a_slow_start_times_out",
    "test_a_stall_in_a_stream_is_idle_however_much_it_pings": "test_a_slow_token_is_idle",
    "test_pings_do_not_put_off_the_first_token": "test_a_slow_start_times_out",
    "test_total_ends_a_stream_that_never_stops": "test_total_ends_a_stream_that_never_stops",
    "test_a_slow_consumer_is_no_silent_provider": "test_a_slow_consumer_is_no_silent_provider",
    "test_a_slow_consumer_on_a_running_loop_is_no_silent_provider": (
        "test_a_slow_consumer_is_no_silent_provider"
    ),
    "test_operation_timeout_bounds_the_start": "test_operation_timeout_bounds_the_start",
    "test_a_call_out_of_time_sends_nothing": "test_a_call_out_of_time_begins_nothing",
    "test_cancel_while_waiting_for_the_headers": "test_cancel_while_the_prompt_is_read",
    "test_cancel_on_a_reused_connection": NO_CONNECTION,
    "test_cancel_in_the_middle_of_a_whole_body": "test_cancel_while_the_prompt_is_read",
    "test_cancel_in_the_middle_of_a_stream": "test_cancel_in_the_middle_of_a_stream",
    "test_a_call_cancelled_before_it_began_sends_nothing": (
        "test_a_call_out_of_time_begins_nothing"
    ),
    "test_cancel_after_the_answer_touches_nobody_else": (
        "test_cancel_after_the_answer_touches_nobody_else"
    ),
    "test_a_cancelled_task_closes_its_socket": "test_a_cancelled_task_stops_the_computing",
    "test_a_cancelled_task_closes_its_open_stream": "test_a_cancelled_task_stops_the_computing",
    "test_an_interrupt_passes_and_closes_the_socket": (
        "test_an_interrupt_passes_and_stops_the_computing"
    ),
}
"""Each scenario of the suite: the test here that keeps it, or why there is nothing to keep."""
