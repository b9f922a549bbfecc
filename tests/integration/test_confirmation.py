"""Whole studies on the fake server to their verdict: a faster server wins, an equal one does not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from runs import QUICK, home, measuring, process, study, tuner, wait_for, workers

from optuna_tuner import Tuner
from optuna_tuner.errors import ConflictError
from optuna_tuner.results.simplified import NOTHING
from optuna_tuner.results.trials import TrialView
from optuna_tuner.results.views import StudyState, StudyView
from optuna_tuner.search.gain import Decision
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store.records import AttemptKind

__all__ = ["home", "tuner"]  # fixtures


def confirmed(name: str, requests: int = QUICK, **changes: object) -> StudySpec:
    """Two servers that are faster than the fake's own, with 5 ms from token to token."""
    wanted: dict[str, object] = {
        "space": {"itl_ms": {"type": "choice", "choices": [2.0, 4.0]}},
        "sampler": {"kind": "grid"},
        "confirm": {"top": 2, "pairs": 2, "min_gain": 0.1},
    }
    return study(name, requests=requests, **{**wanted, **changes})


def pairs(trials: Sequence[TrialView]) -> Counter[tuple[int | None, object]]:
    """What each half of each pair was, and how often it gave a result."""
    return Counter(
        (trial.pair, trial.params.get("itl_ms"))
        for trial in trials
        if trial.kind is AttemptKind.CONFIRM and trial.values
    )


def all_pairs(count: int, winner: float) -> Counter[tuple[int | None, object]]:
    return Counter((pair, side) for pair in range(1, count + 1) for side in (None, winner))


def decision(view: StudyView) -> Decision:
    assert view.confirmation is not None
    return view.confirmation.decisions[0]


def test_when_the_space_is_exhausted_the_fastest_server_wins_by_its_confirming_figures(tuner: Tuner) -> None:
    sampler = {"kind": "random", "seed": 1}
    wanted = {"top": 2, "pairs": 2, "min_gain": 0.1, "simplify": 2}  # and too little is known to leave something out
    view = tuner.run(confirmed("faster", baseline_every=1, sampler=sampler, budget={"trials": 20}, confirm=wanted))
    assert (view.state, view.spent, view.budget) == (StudyState.DONE, 3, 3)
    assert decision(view) is Decision.WIN
    assert view.best.trial is not None
    assert view.best.trial.params == {"itl_ms": 2.0}
    assert pairs(view.trials) == all_pairs(2, 2.0)
    kinds = Counter(trial.kind for trial in view.trials)
    assert kinds[AttemptKind.CONTROL] >= 1
    assert view.counts.again == kinds.total() - kinds[AttemptKind.BASELINE] - kinds[AttemptKind.SEARCH]
    gain = view.comparison.gains[0]
    assert gain.best != view.best.trial.values[0]
    assert gain.low is not None
    assert gain.low > 0.1
    assert "Verdict: win" in view.comparison.text
    assert view.comparison.text.endswith(NOTHING)
    assert "The default was measured" in view.machine_drift


def test_a_study_that_ended_unconfirmed_can_be_confirmed_later_and_by_more_pairs(tuner: Tuner) -> None:
    one = {"itl_ms": {"type": "choice", "choices": [4.0]}}
    before = tuner.run(confirmed("later", confirm=None, space=one))
    assert before.is_unconfirmed
    view = tuner.confirm("later", pairs=2)
    assert (view.state, view.budget, view.trials[:2]) == (StudyState.DONE, 2, before.trials)
    assert pairs(view.trials) == all_pairs(2, 4.0)
    resumed = confirmed("later", confirm={"pairs": 3, "min_gain": 0.9}, space=one)
    view = tuner.run(resumed)
    assert pairs(view.trials) == all_pairs(3, 4.0)
    assert decision(view) in {Decision.TIE, Decision.INCONCLUSIVE}  # it is faster, and not by what counts


def test_a_study_that_found_nothing_better_has_nothing_to_confirm(tuner: Tuner) -> None:
    tuner.run(confirmed("slower", space={"itl_ms": {"type": "choice", "choices": [20.0]}}))
    with pytest.raises(
        ConflictError, match="nothing to confirm: No gain: no feasible trial beats the engine's default"
    ):
        tuner.confirm("slower")


@pytest.mark.parametrize("count", [1, 2])
def test_killed_amid_its_pairs_a_study_completes_them_and_none_twice(tuner: Tuner, home: Path, count: int) -> None:
    file = home.parent / "killed.json"
    slow = confirmed("killed", requests=6, space={"itl_ms": {"type": "choice", "choices": [2.0]}})
    file.write_text(slow.model_dump_json())

    def second_half() -> object:
        known = Counter(trial.pair for trial in tuner.trials("killed"))
        return any(trial.pair and known[trial.pair] == 2 for trial in measuring(tuner, "killed"))

    with process("run", str(file), "--workers", str(count)) as run:
        wait_for(lambda: tuner.studies() and second_half())
        at_work = workers(run)
        run.kill()
        for worker in at_work:
            worker.kill()
    view = tuner.run(slow, workers=count)
    assert view.state is StudyState.DONE
    assert view.confirmation is not None
    assert len(view.confirmation.pairs) == 2
    ended = pairs(view.trials)
    assert max(ended.values()) == 1
    assert len(ended) <= 2 * 2 + count  # of a pair that lost its slot one half may be left
    assert decision(view) is Decision.WIN
