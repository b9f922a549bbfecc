"""Bugs in a trial's servers and devices, and in what Optuna is told."""

from __future__ import annotations

from planted_bug import Edit, bug

HOST = "tests/chaos/test_host_steps.py::"
STEPS = "tests/chaos/test_order_of_steps.py::"
GPUS = "tests/unit/tuning/test_gpu_quarantine.py::"
KNOWN = "tests/unit/tuning/test_servers.py::"
HISTORY = "tests/integration/test_history.py::"

SERVERS = (
    bug(
        "a ledger row that is written after the start",
        "every server is in the ledger before it exists",
        (
            "tuning/deployment.py",
            "    if not ledger.intend(",
            "    if ledger is None or not dict(",
        ),
        f"{STEPS}test_a_server_is_in_the_ledger_before_it_is_started_and_until_it_is_stopped",
        also=(
            Edit(
                file="tuning/deployment.py",
                old="    handle = setting.parts.deployer.start(request, journal.folder)\n",
                new="    handle = setting.parts.deployer.start(request, journal.folder)\n"
                "    mine = {'attempt_id': journal.attempt.id, 'worker_id': setting.worker_id}\n"
                "    setting.store.ledger.intend(id=journal.attempt.id, **mine, request=request)\n",
            ),
        ),
    ),
    bug(
        "a start that does not heed its fence",
        "what was started after the fence is stopped at once",
        ("tuning/deployment.py", "if not setting.store.ledger.created(journal.attempt.id, handle):", "if False:"),
        f"{STEPS}test_a_worker_that_is_fenced_while_its_server_starts_stops_it_at_once",
    ),
    bug(
        "gone before it was stopped",
        "the ledger's word gone is a confirmed end",
        (
            "tuning/deployment.py",
            "    try:\n        for handle in deployer.find",
            "    setting.store.ledger.gone(attempt_id)\n    try:\n        for handle in deployer.find",
        ),
        f"{STEPS}test_a_server_is_in_the_ledger_before_it_is_started_and_until_it_is_stopped",
        f"{STEPS}test_a_server_that_does_not_end_stays_in_the_ledger",
    ),
    bug(
        "an end that is not confirmed",
        "the ledger keeps what could not be ended",
        (
            "tuning/deployment.py",
            'the reaper tries again", attempt_id)\n        return\n',
            'the reaper tries again", attempt_id)\n',
        ),
        f"{STEPS}test_a_server_that_does_not_end_stays_in_the_ledger",
    ),
    bug(
        "a GPU that nobody looks at after the server's end",
        "a GPU is free when NVML says so, not when the process is gone",
        ("tuning/deployment.py", "if deployer.host_bound and not gpus.come_back(used):", "if False:"),
        f"{STEPS}test_a_server_whose_gpu_does_not_come_back_stays_in_the_ledger",
    ),
    bug(
        "a start beside a stranger on the GPU",
        "a server is never started on a full GPU",
        ("tuning/deployment.py", "    if full:\n        diagnosis", "    if False:\n        diagnosis"),
        f"{STEPS}test_nothing_is_started_on_a_gpu_that_somebody_fills",
    ),
    bug(
        "a full GPU counts as back",
        "a GPU is given back by its memory, never by time",
        (
            "tuning/gpus.py",
            "        _quarantine(uuid, look)\n    return not full",
            "        _quarantine(uuid, look)\n    return True",
        ),
        f"{GPUS}test_a_gpu_that_does_not_come_back_is_quarantined_with_its_reason",
    ),
    bug(
        "a quarantine that nobody heeds",
        "a GPU in quarantine is nobody's",
        (
            "tuning/gpus.py",
            "    if words:\n        raise EnvironmentFaultError",
            "    if False:\n        raise EnvironmentFaultError",
        ),
        f"{GPUS}test_a_gpu_that_does_not_come_back_is_quarantined_with_its_reason",
    ),
    bug(
        "a slot whose lock is not taken",
        "a GPU has one worker",
        (
            "tuning/slots.py",
            '        stack.enter_context(FileLock(home.locks_folder() / f"{device}.lock", timeout=0))',
            "        pass",
        ),
        "tests/unit/tuning/test_slots.py::test_a_device_has_one_holder_who_is_named",
    ),
    bug(
        "a supervisor that does not hold its device",
        "a GPU is held for as long as a process of its server lives",
        ("deployers/supervisor.py", "hold_devices(order.device_locks)", "hold_devices([])"),
        f"{HOST}test_a_server_holds_its_device_from_its_start_to_its_end",
    ),
    bug(
        "a port that nobody looks at",
        "no server is started on a stranger's port",
        (
            "deployers/supervision/locks.py",
            "        if is_free(port):\n            return port",
            "        if True:\n            return port",
        ),
        f"{HOST}test_no_server_is_started_on_the_port_of_a_stranger",
    ),
    bug(
        "an end that leaves its port open",
        "a confirmed end is also that of the port",
        ("deployers/local_end.py", "    if port and not poll(", "    if False and not poll("),
        f"{STEPS}test_a_port_on_which_somebody_still_listens_is_no_confirmed_end",
    ),
    bug(
        "a stop that trusts the supervisor",
        "what a killed supervisor left behind is ended",
        ("deployers/local_end.py", "    _sweep(server, grace_s)\n    port", "    port"),
        f"{HOST}test_what_a_killed_supervisor_left_is_ended_before_the_end_is_confirmed",
    ),
)

REPEATS = (
    bug(
        "a repeat that is launched all the same",
        "the same effective server is measured once",
        ("tuning/trial.py", "    servers.raise_if_launched_before(journal)\n", ""),
        f"{KNOWN}test_for_a_known_server_nothing_is_launched",
    ),
    bug(
        "a read-back that stands for more than it tells",
        "a read-back never makes one server of two that differ in what it does not tell",
        (
            "tuning/servers.py",
            "_text({name: value for name, value in identity.items() if name not in settled})",
            "_text({name: value for name, value in identity.items() if name in settled} and {})",
        ),
        f"{KNOWN}test_a_read_back_never_makes_one_server_of_what_differs_in_a_flag_that_it_does_not_tell",
    ),
    bug(
        "two that yield to each other",
        "of two equal servers at the same moment one is measured",
        ("tuning/servers.py", "key == mine and number is not None and other < number", "key == mine"),
        f"{KNOWN}test_of_two_that_run_the_one_that_was_asked_for_first_goes_on",
    ),
)

OPTUNA = (
    bug(
        "an outcome that is told twice",
        "each outcome is told exactly once",
        (
            "tuning/history.py",
            "        if frozen.state.is_finished():\n            return",
            "        if False:\n            return",
        ),
        f"{HISTORY}test_a_trial_that_a_user_failed_in_the_dashboard_stays_failed",
        also=(
            Edit(
                file="tuning/history.py",
                old="with suppress(optuna.exceptions.UpdateFinishedTrialError):",
                new="with suppress(KeyError):",
            ),
        ),
    ),
    bug(
        "told before Optuna knows",
        "no outcome is lost between our tables and Optuna's",
        (
            "tuning/history.py",
            "            if attempt.number is not None and attempt.outcome is not None:\n",
            (
                "            self._store.attempts.told(attempt.id)\n"
                "            if attempt.number is not None and attempt.outcome is not None:\n"
            ),
        ),
        f"{STEPS}test_an_outcome_counts_as_told_only_when_optuna_knows_it",
    ),
    bug(
        "a stray that nobody takes",
        "no trial of Optuna's runs for ever",
        ("tuning/history.py", "attempt.params) if strays else", "attempt.params) if False else"),
        f"{HISTORY}test_a_trial_that_optuna_made_and_nobody_noted_is_taken_by_the_next_one",
    ),
    bug(
        "a study lock that lets everybody in",
        "one at a time asks and tells",
        ("store/locks.py", "    except Timeout:\n        return False", "    except Timeout:\n        return True"),
        "tests/unit/store/test_store_studies.py::test_another_thread_waits_for_the_study_lock",
    ),
)
