"""How far two servers' answers are apart, and what counts as an answer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optuna_tuner.tuning.answers import answer_of, drift
from optuna_tuner.values import Answer

WORD = st.text("abc", min_size=1, max_size=2)
LOGPROB = st.floats(-50, 0)


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    pairs = draw(st.lists(st.tuples(WORD, LOGPROB), max_size=6))
    tokens = tuple(f"{word} " for word, _ in pairs)
    with_tokens = draw(st.booleans())
    return Answer(
        text="".join(tokens),
        tokens=tokens if with_tokens else (),
        logprobs=tuple(logprob for _, logprob in pairs) if with_tokens else (),
    )


@settings(max_examples=80, deadline=None)
@given(answers())
def test_an_answer_agrees_with_itself_wholly_and_without_drift(answer: Answer) -> None:
    found = drift([answer], [answer])
    assert found.agreement == 1.0
    assert found.logprob_drift == (0.0 if answer.tokens else None)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(answers(), answers()), min_size=1, max_size=4))
def test_it_is_a_share_and_the_same_from_both_sides(pairs: list[tuple[Answer, Answer]]) -> None:
    ours, theirs = zip(*pairs, strict=True)
    found, back = drift(ours, theirs), drift(theirs, ours)
    assert all(0 <= share <= 1 for share in found.by_prompt)
    assert found.by_prompt == back.by_prompt
    assert found.logprob_drift == pytest.approx(back.logprob_drift)
    assert found.logprob_drift is None or found.logprob_drift >= 0


def told(*tokens: str, logprob: float = -1.0) -> Answer:
    return Answer(text="".join(tokens), tokens=tokens, logprobs=(logprob,) * len(tokens))


def test_only_what_comes_before_the_first_difference_agrees() -> None:
    assert drift([told("a", "b", "c", "d")], [told("a", "x", "c", "d")]).by_prompt == (0.25,)


def test_a_shorter_answer_agrees_only_in_part() -> None:
    assert drift([told("a", "b", "c", "d")], [told("a", "b")]).by_prompt == (0.5,)


def test_words_are_compared_where_one_side_gives_no_tokens() -> None:
    found = drift([told("to", "kens", " differ")], [Answer(text="tokens differ")])
    assert (found.by_prompt, found.logprob_drift) == ((1.0,), None)


def test_log_probabilities_are_compared_only_where_both_have_read_the_same() -> None:
    ours, theirs = told("a", "b", "c"), told("a", "b", "x", logprob=-1.5)
    assert drift([ours, told("a")], [theirs, told("b", logprob=-9)]).logprob_drift == pytest.approx(0.5)


def document(message: dict[str, object], logprobs: object = None) -> dict[str, object]:
    return {"choices": [{"index": 0, "message": {"role": "assistant", **message}, "logprobs": logprobs}]}


def test_what_a_model_thinks_aloud_is_a_part_of_its_answer() -> None:
    assert answer_of(document({"content": None, "reasoning_content": "hm"})).text == "hm"  # type: ignore[arg-type]
    assert answer_of(document({"content": "yes", "reasoning": "hm "})).text == "hm yes"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "logprobs",
    [
        None,
        {},
        {"content": None},
        {"content": [{"token": "a", "logprob": float("-inf")}]},
        {"content": [{"token": "a"}]},
        [1],
    ],
)
def test_log_probabilities_that_are_no_numbers_are_none(logprobs: object) -> None:
    assert answer_of(document({"content": "a"}, logprobs)) == Answer(text="a")  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{}, {"choices": []}, {"choices": [{}]}, {"choices": [{"message": "x"}]}, [], 1])
def test_what_is_no_chat_completion_is_no_answer(wrong: object) -> None:
    with pytest.raises((ValueError, LookupError, TypeError, AttributeError)):
        answer_of(wrong)  # type: ignore[arg-type]
