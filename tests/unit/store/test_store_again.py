"""What is measured again beside the budget: the default between trials, and what is asked for when all is claimed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from stores import BROKEN, DONE, PARAMS

from optuna_tuner.store.claiming import Again
from optuna_tuner.store.records import AttemptKind, AttemptRecord, Drops, Extra, Outcome, StudyRecord, WorkerRecord
from optuna_tuner.store.store import Store
from optuna_tuner.values import Params

HALF = Extra(kind=AttemptKind.CONFIRM, params=PARAMS, pair=3)


def claim(
    store: Store, worker: WorkerRecord, *, every: int = 0, search: bool = True, again: Again | None = None
) -> AttemptRecord | None:
    return store.attempts.claim(
        worker.study_id, worker.id, baseline=True, baseline_every=every, search=search, again=again
    )


def play(store: Store, worker: WorkerRecord, outcome: Outcome = DONE, **wanted: int) -> AttemptRecord:
    attempt = claim(store, worker, **wanted)  # type: ignore[arg-type]
    assert attempt is not None
    store.attempts.end(attempt.id, worker.id, outcome, retry=False)
    return attempt


def reserved(store: Store, study: StudyRecord) -> int:
    return store.studies.by_id(study.id).reserved


class Asked:
    """Wants this measured again, once."""

    def __init__(self, extra: Extra | None) -> None:
        self.extra, self.seen = extra, 0

    def __call__(
        self, attempts: Sequence[AttemptRecord], workers: Sequence[WorkerRecord], drops: Drops | None, worker_id: str
    ) -> Extra | None:
        self.drops = drops
        assert worker_id in {worker.id for worker in workers}
        self.seen = len(attempts)
        return None if any(each.kind is AttemptKind.CONFIRM for each in attempts) else self.extra


def test_the_default_comes_again_after_so_many_trials_and_costs_none(
    store: Store, study: StudyRecord, worker: WorkerRecord
) -> None:
    store.studies.set_budget(study.id, 6)
    kinds = [play(store, worker, every=2).kind.value for _ in range(8)]
    assert kinds == ["baseline", "search", "search", "control", "search", "search", "control", "search"]
    assert reserved(store, study) == 6
    assert claim(store, worker, every=2) is None  # nor after the last trial


def test_a_default_that_is_tried_again_is_counted_once(store: Store, study: StudyRecord, worker: WorkerRecord) -> None:
    store.studies.set_budget(study.id, 4)
    for _ in range(3):
        play(store, worker, every=2)
    control = claim(store, worker, every=2)
    assert control is not None
    assert (control.kind, control.params) == (AttemptKind.CONTROL, Params())
    store.attempts.end(control.id, worker.id, BROKEN, retry=True)
    assert [play(store, worker, every=2).kind.value for _ in range(2)] == ["control", "search"]


def test_nothing_is_measured_again_while_there_is_budget(
    store: Store, study: StudyRecord, worker: WorkerRecord
) -> None:
    store.studies.set_budget(study.id, 2)
    asked = Asked(HALF)
    assert claim(store, worker, search=False, again=asked) is None
    play(store, worker)
    play(store, worker)
    assert asked.seen == 0
    extra = claim(store, worker, search=False, again=asked)
    assert asked.seen == 2
    assert extra is not None
    assert (extra.kind, extra.params, extra.pair) == (HALF.kind, HALF.params, HALF.pair)
    assert reserved(store, study) == 2


def test_a_claim_whose_reply_was_lost_finds_its_half_again(
    store: Store, study: StudyRecord, worker: WorkerRecord
) -> None:
    store.studies.set_budget(study.id, 1)
    play(store, worker)
    asked = Asked(HALF)
    first = claim(store, worker, again=asked)
    assert first is not None
    assert claim(store, worker, again=asked) == first


def test_a_half_that_is_tried_again_stays_in_its_pair(store: Store, study: StudyRecord, worker: WorkerRecord) -> None:
    store.studies.set_budget(study.id, 1)
    play(store, worker)
    first = claim(store, worker, again=Asked(HALF))
    assert first is not None
    store.attempts.end(first.id, worker.id, BROKEN, retry=True)
    again = claim(store, worker)
    assert again is not None
    assert (again.pair, again.kind, again.params) == (first.pair, first.kind, first.params)
    assert again.retry_of == first.id


def test_half_of_a_pair_waits_for_the_slot_that_has_measured_the_other_while_somebody_works_there(
    store: Store, study: StudyRecord, worker: WorkerRecord
) -> None:
    store.studies.set_budget(study.id, 1)
    play(store, worker)
    default = claim(store, worker, again=lambda *_: replace(HALF, params=Params()))
    assert default is not None
    store.attempts.end(default.id, worker.id, DONE, retry=False)
    winner = claim(store, worker, again=lambda *_: HALF)
    assert winner is not None
    store.attempts.end(winner.id, worker.id, BROKEN, retry=True)
    slot = replace(worker.slot, name="another")
    other = store.workers.register(study_id=study.id, slot=slot, host="h", boot_id="b", pid=8, pid_start=1.0)
    assert claim(store, other) is None
    store.workers.retire(worker.id)
    again = claim(store, other)
    assert again is not None
    assert again.retry_of == winner.id


def test_a_search_that_is_exhausted_goes_on_with_what_is_to_be_measured_again(
    store: Store, study: StudyRecord, worker: WorkerRecord
) -> None:
    store.studies.set_budget(study.id, 9)
    play(store, worker)
    store.studies.exhaust(study.id, "all was measured", go_on=True)
    assert claim(store, worker, again=Asked(HALF)) is not None
    now = store.studies.by_id(study.id)
    assert (now.budget, now.ended_because) == (1, "all was measured")


def test_searched_trials_are_counted_without_what_was_measured_again(
    store: Store, study: StudyRecord, worker: WorkerRecord
) -> None:
    store.studies.set_budget(study.id, 4)
    for number in range(4):
        attempt = claim(store, worker, every=2)
        assert attempt is not None
        store.attempts.asked(attempt.id, number)
        store.attempts.end(attempt.id, worker.id, DONE, retry=False)
    assert store.attempts.searched(study.id) == 3
    assert len(store.attempts.numbers(study.id)) == 4


def test_which_flags_may_be_left_out_is_kept_once_and_told_to_whoever_claims(
    store: Store, study: StudyRecord, worker: WorkerRecord
) -> None:
    drops = Drops(winner=PARAMS, groups=(("a", "b"), ("c",)), default={"a": 1, "b": True})
    assert store.studies.set_drops(study, drops).drops == drops
    assert store.studies.set_drops(study, replace(drops, groups=())).drops == drops, "it was seen without any"
    store.studies.set_budget(study.id, 0)
    asked = Asked(None)
    claim(store, worker, again=asked)
    assert asked.drops == drops
