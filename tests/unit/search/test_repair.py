from __future__ import annotations

from collections.abc import Mapping

import pytest

from optuna_tuner.search.repair import repaired
from optuna_tuner.spec.rules import holds
from optuna_tuner.spec.space import Choice, Float, Int, Parameter, Switch
from optuna_tuner.values import Params, Scalar

SPACE: Mapping[str, Parameter] = {
    "tokens": Int(type="int", low=64, high=16384, log=True),
    "sequences": Choice(type="choice", choices=(16, 64, 256, 1024)),
    "share": Float(type="float", low=0.5, high=0.95, step=0.05),
    "ratio": Float(type="float", low=0.0, high=1.0),
    "eager": Switch(type="switch"),
    "size": Int(type="int", low=0, high=10_000, step=100, when={"eager": [True]}),
}
VALUES: Mapping[str, Scalar] = {
    "tokens": 200,
    "sequences": 256,
    "share": 0.9,
    "ratio": 0.5,
    "eager": True,
    "size": 4200,
}


def mended(forbidden: str, fixed: frozenset[str] = frozenset()) -> tuple[str, Scalar] | None:
    def objection(params: Params) -> str | None:
        return forbidden if holds(forbidden, params.flags) else None

    move = repaired(SPACE, VALUES, fixed, objection)
    return None if move is None else (move.name, move.value)


@pytest.mark.parametrize(
    ("forbidden", "move"),
    [
        ("tokens < sequences", ("tokens", 256)),
        ("share > 0.8", ("share", 0.8)),
        ("sequences > 200", ("sequences", 64)),
        ("sequences > 200 and share > 0.88", ("share", 0.85)),
    ],
)
def test_the_shortest_move_is_taken(forbidden: str, move: tuple[str, Scalar]) -> None:
    assert mended(forbidden) == move


def test_moved_values_are_of_the_parameters_own_domain() -> None:
    for name, forbidden in {"ratio": "ratio < 0.7", "size": "size < 6000", "tokens": "tokens < 3000"}.items():
        move = mended(forbidden)
        assert move is not None
        assert move[0] == name
        assert SPACE[name].takes(move[1])


def test_what_is_fixed_or_decides_about_others_stays() -> None:
    assert mended("tokens < sequences", frozenset({"tokens"})) == ("sequences", 64)
    assert mended("eager") is None
    assert mended("tokens > 0 and sequences > 0") is None
