"""Bugs in what is written to the database, and when."""

from __future__ import annotations

from planted_bug import Edit, bug

ATTEMPTS = "tests/unit/store/test_store_attempts.py::"
FENCES = "tests/chaos/test_fences.py::"

STORE = (
    bug(
        "claim without a fence",
        "a retired worker claims nothing",
        ("store/claiming.py", "    if is_fenced(connection, worker_id):\n        return None\n", ""),
        f"{ATTEMPTS}test_a_retired_worker_claims_nothing",
        f"{FENCES}test_a_fenced_worker_neither_claims_nor_intends_nor_creates[sqlite]",
    ),
    bug(
        "intent without a fence",
        "a retired worker starts nothing",
        (
            "store/ledger.py",
            "    if is_fenced(connection, record.worker_id):\n        return False\n    if connection.scalar",
            "    if connection.scalar",
        ),
        f"{FENCES}test_a_fenced_worker_neither_claims_nor_intends_nor_creates[sqlite]",
    ),
    bug(
        "created without a fence",
        "what a retired worker starts must be stopped at once",
        (
            "store/ledger.py",
            "    if is_fenced(connection, record.worker_id):\n        return False\n    change =",
            "    change =",
        ),
        f"{FENCES}test_a_fenced_worker_neither_claims_nor_intends_nor_creates[sqlite]",
    ),
    bug(
        "a fence that others can overtake",
        "what a reaper finds in the ledger is complete",
        ("store/workers.py", ".with_for_update(key_share=True)\n    )\n    if retired", "\n    )\n    if retired"),
        f"{FENCES}test_what_a_worker_intends_before_its_fence_its_reaper_sees[postgresql]",
        f"{FENCES}test_what_a_worker_claims_before_its_fence_its_reaper_ends[postgresql]",
    ),
    bug(
        "a beat of the dead counts",
        "a worker that was declared dead hears it at its next beat",
        ("store/workers.py", "(WORKER.c.id == worker_id) & WORKER.c.retired.is_(False)", "WORKER.c.id == worker_id"),
        f"{FENCES}test_a_fenced_worker_neither_claims_nor_intends_nor_creates[sqlite]",
    ),
    bug(
        "the end of another's attempt",
        "nobody ends the attempt of another worker",
        ("store/ending.py", "    if attempt.worker_id != worker_id:\n        return False\n", ""),
        f"{ATTEMPTS}test_nobody_ends_the_attempt_of_another_worker",
    ),
    bug(
        "an end without compare-and-set",
        "an attempt ends once",
        (
            "store/ending.py",
            "move(connection, attempt.id, state, change)",
            "move(connection, attempt.id, attempt.state, change)",
        ),
        f"{ATTEMPTS}test_only_the_first_end_counts",
        f"{FENCES}test_an_end_that_another_overtook_is_refused[sqlite]",
    ),
    bug(
        "a repeated end that does not know itself",
        "a commit whose reply was lost is a success",
        ("store/ending.py", "ATTEMPT.c.id == attempt_id)) == ending.call", "ATTEMPT.c.id == attempt_id)) is None"),
        f"{FENCES}test_who_ends_an_attempt_knows_it_also_when_the_reply_was_lost[sqlite]",
    ),
    bug(
        "an end that reads too early what was asked",
        "every trial that Optuna was asked for is told",
        ("store/ending.py", '"told": ATTEMPT.c.number.is_(None)', '"told": attempt.number is None'),
        f"{FENCES}test_what_optuna_was_asked_for_is_told_though_it_ends_at_that_moment[postgresql]",
    ),
    bug(
        "a retry that reads too early what was chosen",
        "a retry has the parameters of its first try",
        ("store/ending.py", "        attempt = attempt_of(connection, attempt_id)  # again", "        # again"),
        f"{FENCES}test_the_parameters_that_were_chosen_at_the_moment_of_the_end_are_those_of_the_retry[postgresql]",
    ),
    bug(
        "the cancel of a waiting one is ignored",
        "what is cancelled in the queue never runs",
        (
            "store/ending.py",
            "    if _close(connection, attempt, AttemptState.QUEUED, cancelled, call):\n        return\n",
            "    del cancelled, call\n",
        ),
        f"{ATTEMPTS}test_a_cancelled_attempt_that_waits_ends_at_once",
    ),
    bug(
        "a budget that is read and then written",
        "the budget is exact",
        ("store/studies.py", "reserved=STUDY.c.reserved + 1", "reserved=study.reserved + 1"),
        f"{FENCES}test_two_claims_at_once_never_take_the_last_trial_twice[postgresql]",
        also=(
            Edit(
                file="store/studies.py",
                old="    return connection.execute(update(STUDY).where(left).values(",
                new="    study = study_of(connection, study_id)\n    if study.reserved >= study.budget:\n"
                "        return False\n    left = STUDY.c.id == study_id\n"
                "    return connection.execute(update(STUDY).where(left).values(",
            ),
            Edit(
                file="store/claiming.py",
                old="study_of(connection, study_id, lock=True)",
                new="study_of(connection, study_id)",
            ),
        ),
    ),
    bug(
        "a budget without a bound",
        "the budget is never overdrawn",
        ("store/studies.py", " & (STUDY.c.reserved < STUDY.c.budget)", ""),
        f"{ATTEMPTS}test_the_budget_is_never_overdrawn",
        also=(Edit(file="store/claiming.py", old="if study.reserved >= study.budget:", new="if not course.search:"),),
    ),
    bug(
        "a trial that is given back twice",
        "a repeat gives its trial of the budget back once",
        (
            "store/ending.py",
            "        return connection.scalar(select(ATTEMPT.c.ended_by)",
            (
                "        if repeats:\n            give_back(connection, attempt.study_id)\n"
                "        return connection.scalar(select(ATTEMPT.c.ended_by)"
            ),
        ),
        f"{FENCES}test_a_repeat_gives_its_trial_back_once_also_when_the_line_was_cut[sqlite-after]",
    ),
    bug(
        "a trial that is given back before the end counts",
        "a trial is given back in the transaction that ends it",
        (
            "store/ending.py",
            "    if not _close(connection, attempt, AttemptState.RUNNING",
            (
                "    if repeats:\n        give_back(connection, attempt.study_id)\n        repeats = False\n"
                "    if not _close(connection, attempt, AttemptState.RUNNING"
            ),
        ),
        f"{FENCES}test_an_end_that_does_not_count_gives_no_trial_back[sqlite]",
    ),
    bug(
        "a study that is exhausted under those who claim",
        "a study is declared exhausted when nobody runs",
        ("store/studies.py", "    study_of(connection, study_id, lock=True)  # nobody claims meanwhile\n", ""),
        f"{FENCES}test_a_study_is_not_declared_exhausted_while_somebody_claims[postgresql]",
    ),
    bug(
        "a claim that forgets what it gave",
        "a claim whose reply was lost is found again",
        ("store/claiming.py", "    if mine:\n        return mine[0]\n", ""),
        f"{ATTEMPTS}test_a_claim_whose_reply_was_lost_is_found_again",
    ),
    bug(
        "an attempt that changes its trial",
        "attempts and Optuna's trials correspond one to one",
        ("store/attempts.py", '{"number": number}, ATTEMPT.c.number.is_(None))', '{"number": number})'),
        f"{ATTEMPTS}test_number_and_parameters_are_kept_once",
    ),
    bug(
        "database trouble is no weather",
        "a cut connection costs nothing",
        ("store/retry.py", "and is_weather(error)", "and False"),
        f"{FENCES}test_a_commit_that_never_came_is_repeated[sqlite]",
    ),
)
