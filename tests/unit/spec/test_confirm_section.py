"""The section `confirm`, and the default that is measured again."""

from __future__ import annotations

import pytest
from paper_study import paper_spec

from optuna_tuner.spec.confirm import Confirm


def test_an_empty_section_has_its_defaults_and_no_section_asks_for_nothing() -> None:
    assert paper_spec().confirm == Confirm(top=3, pairs=5, confidence=0.95, min_gain=0.01, simplify=0)
    document = paper_spec().model_dump() | {"confirm": None}
    assert type(paper_spec()).model_validate(document).confirm is None


@pytest.mark.parametrize("asked", [{"confirm": {}, "baseline_every": 0}, {"confirm": None, "baseline_every": 5}])
def test_both_need_the_baseline(asked: dict[str, object]) -> None:
    document = paper_spec().model_dump() | {"baseline": False}
    with pytest.raises(ValueError, match="needs the baseline"):
        type(paper_spec()).model_validate(document | asked)


@pytest.mark.parametrize("wrong", [{"pairs": 1}, {"top": 0}, {"confidence": 1.0}, {"min_gain": -0.1}, {"repeats": 2}])
def test_what_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        paper_spec(confirm=wrong)


def test_they_may_change_when_a_study_is_resumed() -> None:
    assert paper_spec(confirm={"pairs": 9}, baseline_every=3).space_hash() == paper_spec().space_hash()
