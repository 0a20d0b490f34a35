"""Which tests show which row of the contract, where a marker beside the test would be clumsy.

Row → tests below ``tests/``, separated by spaces: ``file::function``, one of its parameters in
brackets, or a file for all in it.
"""

from __future__ import annotations

_ENV = "config/test_env_config_edge_cases.py::"
_FILES = "config/test_files.py::"
_GATES = "policy/test_policy.py::test_the_project_holds"
_STREAM = "streaming/test_stream_contract.py::"
_MODELS = "base/test_get_models_base.py::"
_FETCHERS = "providers/test_model_fetchers.py::"
_CAPABILITIES = "base/test_capabilities_helpers.py::"
_MERGE = "base/test_model_registry_observed_merge.py::"
_STORE = "persistence/test_store.py::"
_BACKFILL = "persistence/test_backfill.py::"
_REPOS = "persistence/test_repos.py::"
_WAITING = "transports/test_conformance_waiting.py::"
_CHAT = "codecs/test_openai_chat_answer.py::"
_RESPONSES = "codecs/test_openai_responses_answer.py::"
_MESSAGES = "codecs/test_anthropic_messages_"
_GEMINI = "codecs/test_gemini_generate_answer.py::"

TESTS: dict[str, str] = {
    "11": f"{_GATES}[sdk_imports]",
    "13": f"{_GATES}[defaults_not_repeated] {_GATES}[numbers_not_repeated]",
    "14": f"{_ENV}test_the_map_is_derived_from_the_declarations",
    "15": f"{_ENV}test_gemini_accepts_its_own_variable_then_googles",
    "16": f"{_ENV}test_placeholders {_ENV}test_keys",
    "17": f"{_ENV}test_the_map_is_derived_from_the_declarations {_ENV}test_providers_without_a_key",
    "18": f"{_ENV}test_the_canonical_variable_comes_first"
    f" {_ENV}test_gemini_accepts_its_own_variable_then_googles",
    "19": f"{_ENV}test_the_canonical_variable_comes_first"
    f" {_ENV}test_space_around_a_key_is_no_part_of_it",
    "20": f"{_ENV}test_an_alias_is_promoted_and_a_real_key_never_replaced",
    "21": f"{_FILES}test_environment_then_dotenv_then_config"
    f" {_FILES}test_placeholders_fall_through {_FILES}test_a_key_in_the_environment_asks_no_file",
    "22": f"{_FILES}test_a_malformed_config_is_one_line_that_says_where"
    f" {_FILES}test_yaml_may_run_nothing",
    "23": f"{_FILES}test_dotenv_forms {_FILES}test_aliases_count_in_dotenv",
    "24": f"{_FILES}test_openai_config",
    "26": "providers/test_wire_fidelity.py::test_every_turn_reaches_the_wire_unchanged",
    "27": "codecs/test_openai_chat_request.py::test_every_knob_of_a_request"
    " codecs/test_openai_responses_request.py::test_the_parameters",
    "34": "providers/test_wire_fidelity.py",
    "40": "providers/test_provider_factory_smoke.py::"
    "test_importing_the_core_imports_no_sdk_and_no_langchain",
    "42": "providers/test_provider_factory_smoke.py::test_every_provider_is_made_the_same_way",
    "44": "providers/test_provider_factory_smoke.py::test_openai_is_what_the_contract_says",
    "45": "transports/test_sdk_transports.py transports/test_sdk_platforms.py"
    " transports/test_sdk_parity.py",
    "49": f"{_GATES}[provider_names_in_conditions]",
    "51": "providers/test_add_a_provider.py",
    "54": f"{_STREAM}test_start_is_retried_and_content_is_not",
    "57": f"{_STREAM}test_accepted_starter_shapes",
    "58": f"{_STREAM}test_accepted_starter_shapes",
    "59": f"{_STREAM}test_accepted_starter_shapes",
    "60": f"{_STREAM}test_ids_on_the_context_are_kept",
    "61": f"{_STREAM}test_mapping_without_stream_says_exactly_this",
    "62": f"{_STREAM}test_other_shapes_are_internal",
    "63": f"{_STREAM}test_other_shapes_are_internal",
    "64": f"{_STREAM}test_translator_failures_skip_only_their_chunk",
    "65": f"{_STREAM}test_empty_stream_is_one_success_terminal",
    "66": f"{_STREAM}test_errors_before_and_after_content",
    "67": f"{_STREAM}test_hang_to_the_first_token_is_a_timeout"
    f" {_STREAM}test_idle_after_content_is_transient {_STREAM}test_a_slow_consumer_is_not_idle"
    f" {_WAITING}test_a_stall_in_a_stream_is_idle_however_much_it_pings"
    f" {_CHAT}test_a_stream_without_its_end_is_transient",
    "69": f"{_STREAM}test_leaving_early_finalizes_once_and_closes_the_stream"
    f" {_STREAM}test_leaving_an_async_stream_early_finalizes_once"
    f" {_STREAM}test_keyboard_interrupt_passes_through",
    "71": f"{_STREAM}test_error_text_is_one_short_line_without_keys",
    "72": f"{_STREAM}test_tokens_and_counts",
    "85": f"{_STREAM}test_cancel_ends_a_blocked_read_at_once"
    f" {_STREAM}test_cancelled_before_the_start_sends_nothing",
    "86": f"{_STREAM}test_hang_to_the_first_token_is_a_timeout"
    f" {_STREAM}test_errors_before_and_after_content",
    "87": f"{_STREAM}test_errors_before_and_after_content",
    "89": "codecs/test_openai_chat_errors.py codecs/test_openai_responses_errors.py"
    f" {_MESSAGES}errors.py {_GEMINI}test_errors_by_their_status_words"
    " codecs/test_ollama_chat.py::test_errors",
    "90": f"{_STREAM}test_errors_before_and_after_content",
    "92": f"{_STREAM}test_cancel_ends_a_blocked_read_at_once"
    f" {_STREAM}test_cancel_ends_a_blocked_async_read_at_once"
    f" {_WAITING}test_cancel_in_the_middle_of_a_stream",
    "94": f"{_GATES}[no_timeout_numbers_in_adapters]",
    "95": f"{_WAITING}test_operation_timeout_bounds_the_start",
    "97": "base/test_logging.py::test_importing_installs_a_null_handler_and_nothing_else"
    " base/test_logging.py::test_names",
    "98": "base/test_logging.py::test_the_level_comes_from_the_environment"
    " base/test_logging.py::test_the_level_is_read_at_each_call",
    "99": "base/test_logging.py::test_a_log_context_holds_ids",
    "102": "base/test_logging.py::test_a_record_is_one_json_object"
    " base/test_logging.py::test_a_program_gets_json_lines_with_each_payload_once",
    "103": "base/test_metrics_emission.py::test_the_flag",
    "105": "base/test_metrics_emission.py::test_the_payload_has_the_fields_of_the_contract",
    "106": "base/test_metrics_emission.py::test_the_default_does_nothing",
    "107": "base/test_metrics_emission.py::test_the_default_does_nothing",
    "108": "base/test_metrics_emission.py::test_replacing_the_function_takes_effect_by_either_name"
    " base/test_metrics_emission.py::test_a_set_exporter_gets_each_payload_once",
    "109": "base/test_metrics_emission.py::test_a_broken_exporter_is_one_log_record",
    "110": "base/test_metrics_emission.py",
    "111": "base/test_tracing.py",
    "119": f"{_CHAT}test_usage_of_every_provider"
    f" {_GEMINI}test_usage_counts_tools_as_prompt_and_thoughts_as_completion",
    "121": f"{_MERGE}test_observations_stand_over_the_listing_in_both_directions",
    "122": f"{_MERGE}test_an_empty_database_gives_an_empty_snapshot",
    "123": f"{_MERGE}test_a_refresh_runs_the_fetcher_and_reads_the_database"
    f" {_MERGE}test_a_failed_refresh_is_reported_and_keeps_the_listing",
    "124": f"{_MERGE}test_a_refresh_runs_the_fetcher_and_reads_the_database"
    f" {_MERGE}test_a_fetcher_without_an_entry_point_says_so",
    "125": f"{_FETCHERS}test_every_provider_has_a_fetcher_that_imports_no_sdk",
    "126": f"{_FETCHERS}test_openai_online_lists_with_the_sdk_normalizes_saves_and_returns"
    f" {_FETCHERS}test_openai_online_without_the_sdk_uses_the_listing_endpoint",
    "127": f"{_FETCHERS}test_offline_without_a_key_answers_from_the_store"
    f" {_MODELS}test_a_fetcher_that_fails_answers_from_the_store"
    f" {_MODELS}test_an_empty_listing_never_replaces_a_stored_one",
    "128": f"{_FETCHERS}test_cli_print_says_how_many_models_were_loaded",
    "129": f"{_MODELS}test_what_is_saved_is_loaded_with_its_origin",
    "130": f"{_MODELS}test_context_length_comes_from_explicit_numbers"
    f" {_MODELS}test_the_first_field_that_states_a_number_counts",
    "131": f"{_MODELS}test_capabilities_come_from_the_providers_fields_and_say_so"
    f" {_MODELS}test_what_an_id_says_is_marked_and_never_beats_the_provider",
    "132": f"{_MODELS}test_updated_at {_MODELS}test_a_date_in_an_id",
    "133": f"{_MODELS}test_context_length_is_never_made_up",
    "135": "providers/test_refresh_all_models.py",
    "136": f"{_FETCHERS}test_every_provider_has_a_fetcher_that_imports_no_sdk",
    "137": "persistence/test_schema.py::test_a_fresh_database_has_every_table"
    f" {_STORE}test_evidence_counts_by_mode",
    "138": "persistence/test_schema.py::test_init_db_takes_a_path"
    " persistence/test_schema.py::test_init_db_says_where",
    "139": f"{_CAPABILITIES}test_other_errors_prove_nothing_even_where_they_name_a_feature"
    f" {_CAPABILITIES}test_a_refusal_that_names_the_feature_makes_it_false"
    f" {_CAPABILITIES}test_a_refusal_that_names_nothing_proves_nothing"
    f" {_CAPABILITIES}test_a_filtered_or_broken_answer_proves_nothing",
    "140": f"{_CAPABILITIES}test_json_output_is_true_after_a_structured_whole_answer",
    "141": f"{_CAPABILITIES}test_a_local_guard_is_no_refusal_of_the_provider"
    f" {_CAPABILITIES}test_a_refusal_that_names_the_feature_makes_it_false",
    "142": f"{_CAPABILITIES}test_streaming_is_true_with_the_first_token_however_the_stream_ends",
    "143": f"{_CAPABILITIES}test_a_start_timeout_proves_nothing",
    "144": f"{_STORE}test_a_server_that_is_not_there_costs_a_chat_nothing"
    " persistence/test_writer.py::test_a_put_opens_nothing_and_never_waits"
    " persistence/test_writer.py::test_firm_trouble_drops_counts_and_says_so_once",
    "145": f"{_STORE}test_an_observation_is_known_at_once_and_stored_soon",
    "146": f"{_CAPABILITIES}test_merge_overlays_in_both_directions_and_changes_nothing_given"
    f" {_MERGE}test_observations_stand_over_the_listing_in_both_directions",
    "148": f"{_STORE}test_a_deleted_database_is_made_again"
    f" {_STORE}test_what_was_observed_can_be_forgotten",
    "149": "base/test_capabilities_helpers.py base/test_model_registry_observed_merge.py",
    "150": f"{_REPOS}test_a_naive_time_is_stored_as_utc_and_comes_back_aware"
    f" {_REPOS}test_other_offsets_keep_the_instant",
    "151": f"{_REPOS}test_a_naive_time_is_stored_as_utc_and_comes_back_aware",
    "152": "persistence/test_times.py",
    "157": "persistence/test_engine.py::test_values_are_not_converted",
    "158": f"{_REPOS}test_prefs {_BACKFILL}test_a_dry_run_counts_and_changes_nothing",
    "159": f"{_REPOS}test_what_stands_in_the_database_never_comes_back_naive",
    "160": "persistence/test_engine.py::test_settings_come_from_defaults"
    " persistence/test_engine.py::test_other_settings_take_effect",
    "161": "persistence/test_engine.py::test_the_file_is_private"
    " persistence/test_location.py::test_default_is_the_users_data_directory"
    " persistence/test_schema.py::test_four_processes_may_make_it_at_once"
    f" {_STORE}test_many_threads_read_and_write_at_once",
    "162": f"{_BACKFILL}test_as_a_program {_BACKFILL}test_the_default_is_the_users_database",
    "163": f"{_BACKFILL}test_a_dry_run_counts_and_changes_nothing"
    f" {_BACKFILL}test_a_missing_database_is_an_error_and_is_not_made",
    "164": f"{_BACKFILL}test_at_a_terminal_it_asks"
    f" {_BACKFILL}test_apply_rewrites_and_says_what_was",
    "165": f"{_BACKFILL}test_without_a_terminal_it_declines",
    "167": f"{_BACKFILL}test_at_a_terminal_it_asks",
    "169": f"{_BACKFILL}test_errors_are_one_line",
    "170": f"{_BACKFILL}test_a_second_apply_finds_nothing_and_still_names_the_tables",
    "173": f"{_BACKFILL}test_tables_that_are_not_there_have_no_rows",
    "174": f"{_BACKFILL}test_the_schema_is_printed_without_a_database"
    f" {_BACKFILL}test_reports_fit_the_schema",
    "188": f"{_GATES}[file_size] policy/test_policy.py::test_a_gate_that_sees_nothing_is_red",
    "189": f"{_GATES}[no_shell]",
    "190": f"{_GATES}[public_docstrings] {_GATES}[public_raises]",
    "193": "config/test_env_config_edge_cases.py providers/test_provider_factory_smoke.py",
    "194": "providers/test_provider_factory_smoke.py",
    "197": f"{_GATES}[lock_files] {_GATES}[locks_agree]",
    "198": f"{_GATES}[pure_modules] {_GATES}[neighbours_private_parts]",
    "S3": f"{_WAITING}test_total_ends_a_stream_that_never_stops"
    f" {_WAITING}test_a_stall_in_a_whole_body_times_out",
    "S4": f"{_STREAM}test_idle_after_content_is_transient",
    "S5": "transports/test_http_foreign.py transports/test_sdk_transports.py",
    "S7": f"{_FILES}test_openai_config",
    "S8": "persistence/test_location.py::test_importing_reads_nothing_and_loads_no_driver",
    "S9": f"{_FILES}test_other_places {_FILES}test_what_is_not_there_says_nothing",
    "S11": f"{_ENV}test_the_canonical_variable_comes_first",
    "S12": f"{_ENV}test_placeholders {_ENV}test_a_random_key_is_a_key_whatever_words_stand_in_it",
    "S14": "base/test_ports.py providers/test_provider_factory_smoke.py::"
    "test_importing_the_core_imports_no_sdk_and_no_langchain",
    "S19": f"{_REPOS}test_list_filters_sorts_and_stops {_REPOS}test_entries_of_any_shape",
    "S21": f"{_STREAM}test_errors_before_and_after_content",
    "S22": f"{_STREAM}test_tokens_and_counts",
    "S23": f"{_STREAM}test_a_cancelled_task_passes_through_and_finalizes"
    f" {_STREAM}test_keyboard_interrupt_passes_through"
    f" {_WAITING}test_an_interrupt_passes_and_closes_the_socket",
    "S26": "providers/test_provider_factory_smoke.py::test_async_twins_take_the_same_arguments",
    "S27": f"{_WAITING}test_operation_timeout_bounds_the_start"
    f" {_WAITING}test_a_call_out_of_time_sends_nothing",
    "S28": f"{_CAPABILITIES}test_merge_overlays_in_both_directions_and_changes_nothing_given"
    f" {_CAPABILITIES}test_merge_laws",
    "S29": f"{_STORE}test_evidence_counts_by_mode {_CAPABILITIES}test_a_fact_by_mode"
    f" {_STORE}test_a_refusal_expires_and_a_success_does_not",
    "S33": "persistence/test_location.py::test_crux_db_beats_providers_db_path"
    " persistence/test_location.py::test_off",
    "S34": f"{_BACKFILL}test_usage_errors_exit_1",
    "S37": f"{_STREAM}test_errors_before_and_after_content",
    "S39": f"{_STREAM}test_empty_stream_is_one_success_terminal",
    "S40": f"{_CHAT}test_what_cannot_carry_content_is_passed_over"
    f" {_CHAT}test_damaged_chunks_are_malformed"
    " codecs/test_openai_responses_stream.py::test_one_destroyed_event_is_mended_by_the_later_ones"
    f" {_MESSAGES}stream.py::test_malformed_content_is_never_passed_over"
    " faults/test_fault_table.py::test_before_content_every_fault_falls_over_unseen"
    " faults/test_fault_table.py::test_after_content_a_fault_is_stream_interrupted",
    "S41": f"{_CHAT}test_usage_of_every_provider"
    f" {_MESSAGES}stream.py::test_counts_are_cumulative_and_what_is_left_out_stays",
    "S42": f"{_FETCHERS}test_a_failed_refresh_raises_and_the_stored_snapshot_stays"
    f" {_MERGE}test_a_failed_refresh_is_reported_and_keeps_the_listing"
    f" {_MERGE}test_a_refresh_that_brings_nothing_is_a_failure",
    "S43": f"{_FETCHERS}test_a_failed_program_says_why_as_json_and_exits_1",
    "S44": f"{_MODELS}test_capabilities_come_from_the_providers_fields_and_say_so",
    "S45": f"{_BACKFILL}test_without_a_terminal_it_declines",
    "S49": f"{_CHAT}test_finish_reasons {_MESSAGES}answer.py::test_finish_reasons"
    f" {_GEMINI}test_finish_reasons {_RESPONSES}test_incomplete_answers",
    "S51": f"{_RESPONSES}test_the_items_of_an_answer_in_their_order"
    f" {_MESSAGES}answer.py::test_an_answer_with_everything",
    "S52": f"{_RESPONSES}test_a_refusal_is_an_answer {_CHAT}test_refusals"
    f" {_MESSAGES}answer.py::test_a_refusals_words_are_the_refusal_and_never_content"
    f" {_GEMINI}test_a_blocked_prompt_is_a_content_filter_error",
    "S53": f"{_RESPONSES}test_a_call_without_call_id_has_the_same_id_each_time"
    f" {_CHAT}test_empty_ids_are_made_up_the_same_each_time"
    f" {_GEMINI}test_a_call_keeps_its_signature_and_gets_an_id_that_stays_the_same"
    " codecs/test_ollama_chat.py::test_ids_are_made_the_same_every_time",
    "S54": f"{_RESPONSES}test_what_the_provider_ran_itself_is_raw",
    "S55": f"{_GEMINI}test_usage_counts_tools_as_prompt_and_thoughts_as_completion",
    "S57": f"{_CHAT}test_usage_of_every_provider",
    "S59": "providers/test_provider_factory_smoke.py::test_every_provider_is_made_the_same_way",
    "S63": "codecs/test_openai_chat_errors.py::test_codes",
    "S64": f"{_CHAT}test_an_error_in_the_stream_is_raised_even_beside_choices"
    f" {_MESSAGES}answer.py::test_an_error_with_status_200_is_an_error",
    "S65": f"{_MESSAGES}fuzz.py codecs/test_openai_responses_fuzz.py"
    " codecs/test_openai_chat_fuzz.py codecs/test_gemini_generate_fuzz.py"
    " codecs/test_ollama_chat.py::test_fuzzed_lines_raise_nothing_but_provider_errors",
}
