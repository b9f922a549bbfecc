"""What the flags are worth and what more trials could bring, in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from optuna_tuner.results.why import Why, why_document
from optuna_tuner.search.worth import FlagWorth, Loss, Worths

LOSS = Loss(share=0.2, error=0.02, holds=0.9)
NEEDED = FlagWorth(flag="max_num_seqs", value=256, default=128, loss=LOSS, needed=True)
SPARE = FlagWorth(flag="block_size", value=32, default=None, loss=None, needed=False)
WHY = Why(
    number=8,
    worths=Worths(flags=(NEEDED, SPARE), loss=Loss(share=0.003, error=0.01, holds=1.0), default={}),
    trials=26,
    outlook=0.0083,
)


def test_the_few_that_are_enough_are_named_and_that_it_is_not_measured() -> None:
    assert WHY.text == (
        "Predicted, not measured: 1 of 2 flags keep the gain (max_num_seqs); the others bring 0.3 % "
        "(standard deviation 1.0 %)."
    )
    assert WHY.ahead == "26 more trials could bring about 0.8 %."


@pytest.mark.parametrize(
    ("worths", "text"),
    [
        (None, ""),
        (Worths(flags=(NEEDED,), loss=LOSS, default={}), "Predicted, not measured: none of its flags can be left out."),
        (
            Worths(flags=(SPARE,), loss=replace(LOSS, share=-0.01), default={}),
            "Predicted, not measured: 0 of 1 flags keep the gain (none); the others bring nothing.",
        ),
    ],
)
def test_where_none_can_be_left_out_or_all_or_nothing_is_known_that_is_said(worths: Worths | None, text: str) -> None:
    assert replace(WHY, worths=worths).text == text


def test_a_document_says_all_of_it() -> None:
    made = why_document(WHY)
    assert (made["trial"], made["measured"], made["needed"]) == (8, False, ["max_num_seqs"])
    assert (made["more_trials"], made["they_could_bring"]) == (26, 0.0083)
    assert made["loss_without_the_others"] == {"share": 0.003, "error": 0.01, "holds": 1.0}
    nothing = why_document(replace(WHY, worths=None, outlook=None))
    assert (nothing["flags"], nothing["they_could_bring"]) == ([], None)
