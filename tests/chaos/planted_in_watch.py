"""Bugs in who watches whom: leases, hearts, reapers."""

from __future__ import annotations

from planted_bug import bug

STEPS = "tests/chaos/test_order_of_steps.py::"
REAPER = "tests/unit/tuning/test_reaper.py::"
HEART = "tests/unit/tuning/test_heart.py::"

LEASES = (
    bug(
        "a living worker of a pid that came again",
        "a dead worker is missed although its pid lives again",
        ("tuning/host.py", "processes.lives(Process(pid, int(pid_start)))", "processes.look(pid) is not None"),
        f"{REAPER}test_a_pid_that_came_again_is_no_sign_of_life",
    ),
    bug(
        "a restart of the machine that nobody sees",
        "what a machine held when it was restarted is taken back at once",
        ("tuning/host.py", "_boot(worker.boot_id) != _boot(here.boot_id)", "False"),
        f"{REAPER}test_a_worker_of_a_machine_that_was_restarted_is_dead_at_once",
    ),
    bug(
        "what cannot be seen is dead",
        "no living worker is retired",
        (
            "tuning/host.py",
            "        return not process_lives(worker.pid, worker.pid_start)\n    return False",
            "        return not process_lives(worker.pid, worker.pid_start)\n    return True",
        ),
        f"{REAPER}test_a_process_that_cannot_be_seen_from_here_is_not_taken_for_dead",
    ),
    bug(
        "a lease that runs on while nobody looks",
        "only successful looks prove silence",
        ("tuning/leases.py", "min(at - seen.at, 2 * self.look_every_s)", "at - seen.at"),
        f"{REAPER}test_a_worker_is_not_dead_because_nobody_could_look_for_a_while",
    ),
    bug(
        "a lease that a new beat does not renew",
        "who beats again lives",
        ("tuning/leases.py", "seen.beat == worker.beat and seen.silent_s", "seen.silent_s"),
        f"{REAPER}test_one_that_beat_again_lives_although_it_was_silent_for_a_lease",
    ),
    bug(
        "a heart without a self-fence",
        "who cannot be heard ends before others take it for dead",
        ("tuning/heart.py", "if silent_s <= self._silent_s or", "if silent_s >= 0 or"),
        f"{HEART}test_a_worker_unheard_of_for_two_thirds_of_a_lease_ends_its_trial_and_itself",
    ),
    bug(
        "a heart that comes to life again",
        "a fence is for ever",
        ("tuning/heart.py", "fenced=orders.fenced or self.orders.fenced", "fenced=orders.fenced"),
        f"{HEART}test_a_beat_that_comes_through_late_does_not_make_the_worker_live_again",
    ),
    bug(
        "a heart that does not hear its fence",
        "a worker that was declared dead ends its trial",
        (
            "tuning/heart.py",
            "        if orders.fenced:\n            self._end(Cause.WORKER_LOST)\n        elif",
            "        if",
        ),
        f"{HEART}test_others_declare_it_dead_and_the_next_beat_tells",
    ),
    bug(
        "no hurry",
        "an interrupted worker waits for no database",
        ("store/retry.py", "not (hurry is not None and hurry.is_set()) and ", ""),
        "tests/unit/store/test_store_retry.py::test_in_a_hurry_the_next_error_is_the_last",
    ),
    bug(
        "a worker that is not told to drain",
        "an upgrade of the tables does not break older workers",
        ("store/workers.py", "drain=not schema.is_current(connection)", "drain=False"),
        "tests/unit/store/test_store_workers.py::test_a_worker_hears_that_the_tables_were_upgraded",
    ),
)

REAPERS = (
    bug(
        "a reaper that does not fence",
        "who takes from a worker has fenced it first",
        ("tuning/reaper.py", "            self._store.workers.retire(worker.id)\n", ""),
        f"{STEPS}test_a_reaper_fences_a_worker_before_it_ends_its_server_and_that_before_its_attempt",
    ),
    bug(
        "a reaper that ends attempts before servers",
        "a configuration is tried again only when its first server is gone",
        (
            "tuning/reaper.py",
            "        servers, left = self._end_servers()\n",
            (
                "        self._end_attempts({worker.id for worker in alive} - {worker.id for worker in dead})\n"
                "        servers, left = self._end_servers()\n"
            ),
        ),
        f"{STEPS}test_a_reaper_fences_a_worker_before_it_ends_its_server_and_that_before_its_attempt",
    ),
    bug(
        "a reaper that ends the servers of the living",
        "two studies on one machine leave each other's servers alone",
        ("tuning/reaper.py", "if worker.retired and ours and", "if ours and"),
        f"{REAPER}test_a_server_of_another_study_is_left_alone_while_its_worker_lives",
    ),
    bug(
        "a reaper that retries without end",
        "limits.tries holds",
        ("tuning/reaper.py", "retry = not unwanted and attempt.tries < self._limits.tries", "retry = not unwanted"),
        f"{STEPS}test_a_lost_attempt_is_tried_so_often_and_no_more",
    ),
    bug(
        "a reaper that tries again what was cancelled",
        "what a user cancelled stays cancelled",
        ("tuning/reaper.py", "unwanted = attempt.cancel or ", "unwanted = "),
        f"{REAPER}test_a_cancelled_trial_of_a_dead_worker_is_not_tried_again",
    ),
    bug(
        "a breaker that is off",
        "a study whose machine is broken ends with the cause",
        ("tuning/breaker.py", "if reason is not None:", "if False:"),
        "tests/unit/tuning/test_breaker.py::test_a_study_is_given_up_with_the_reason_and_goes_on_when_it_is_wanted_again",
    ),
)
