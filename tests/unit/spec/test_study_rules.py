from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optuna_tuner.spec.rules import RuleError, broken, evaluate, holds, names
from optuna_tuner.spec.study import Rule
from optuna_tuner.values import Scalar

VALUES: dict[str, Scalar] = {"tokens": 32, "seqs": 64, "share": 0.5, "kind": "fp8", "eager": True, "graphs": False}


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("tokens < seqs", True),
        ("tokens >= seqs", False),
        ("1 < tokens < seqs <= 64", True),
        ("tokens * 2 == seqs", True),
        ("tokens % 5 == 2 and tokens // 5 == 6", True),
        ("seqs / tokens - 1.0 == 1", True),
        ("-tokens + 32 == 0", True),
        ('kind == "fp8" and not graphs', True),
        ('kind in ["fp8", "int8"]', True),
        ('kind not in ("fp8", "int8")', False),
        ('"fp" in kind', True),
        ("eager == true", True),
        ("eager and graphs == False", True),
        ("graphs or share > 0.4", True),
        ("tokens in [16, 32]", True),
        ('kind != "auto"', True),
    ],
)
def test_a_condition_says_what_it_would_say_in_python(condition: str, *, holds: bool) -> None:
    assert evaluate(condition, VALUES) is holds


def test_the_first_broken_rule_is_told() -> None:
    rules = [Rule(forbid="tokens > seqs"), Rule(forbid="tokens < seqs", because="refused"), Rule(forbid="eager")]
    assert broken(rules, VALUES) == rules[1]
    assert broken(rules[:1], VALUES) is None


def test_a_condition_holds_only_where_it_is_certain() -> None:
    assert holds("tokens < seqs", VALUES)
    assert not holds("tokens < other or true", VALUES)
    assert not holds("tokens % (seqs - 64) == 0", VALUES)
    with pytest.raises(RuleError):
        holds("tokens.x", VALUES)


def test_a_rule_on_a_flag_that_is_left_to_the_engine_does_not_apply() -> None:
    assert broken([Rule(forbid="tokens < other or true")], VALUES) is None


def test_a_rule_without_a_result_does_not_apply() -> None:
    assert broken([Rule(forbid="tokens // (seqs - 64) > 1")], VALUES) is None
    assert broken([Rule(forbid="kind > 4")], VALUES) is None


@pytest.mark.parametrize(
    "condition",
    [
        "__import__('os').system('reboot')",
        "tokens.__class__",
        "[x for x in kind]",
        "lambda: 1",
        "tokens ** 9",
        "kind[0]",
        "f'{kind}'",
        "(tokens := 3)",
        "tokens if eager else seqs",
        "{1: 2}",
        "{1, 2}",
        "b'x' == kind",
        "1j == tokens",
        "None == kind",
        "... == kind",
        "tokens is seqs",
        "~tokens == 1",
        "tokens << 9",
        "*tokens,",
        "await tokens",
        "tokens; seqs",
        "tokens = 3",
        "",
        "tokens <",
        '"\\d" == kind',
        "1or tokens",
        "a\0b",
        "(" * 300,
        "not " * 120 + "eager and " + "-" * 100,
        "1 + " * 200 + "1",
    ],
)
def test_what_is_not_on_the_list_is_refused(condition: str) -> None:
    with pytest.raises(RuleError):
        names(condition)


def test_text_is_never_multiplied() -> None:
    with pytest.raises(RuleError, match="'fp8' is no number"):
        evaluate("kind * 1000000000 == kind", VALUES)


@settings(max_examples=100)
@given(
    st.lists(st.sampled_from([*VALUES, *"()[]<>=!+-*/%,.'\"", " and ", " or ", "not ", " in ", "3", "0"]), max_size=12)
)
def test_any_condition_is_evaluated_or_refused(pieces: list[str]) -> None:
    with contextlib.suppress(RuleError, ArithmeticError, KeyError):
        evaluate("".join(pieces), VALUES)


def test_names_leave_out_true_and_false() -> None:
    assert names("eager == true and seqs > 1 or graphs == False") == {"eager", "seqs", "graphs"}
