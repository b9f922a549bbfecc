from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optuna_tuner.errors import StoreError
from optuna_tuner.store.codec import (
    decode_handle,
    decode_outcome,
    decode_params,
    decode_request,
    decode_slot,
    encode,
)
from optuna_tuner.store.records import Outcome, Verdict
from optuna_tuner.values import Cause, Handle, Json, Load, LoadKind, Measurement, Params, Phase, Request, Scalar, Slot

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(), max_size=20)  # any character: NUL, lone surrogates, all planes
SCALARS: st.SearchStrategy[Scalar] = st.booleans() | st.integers() | FLOATS | TEXTS
JSON: st.SearchStrategy[Json] = st.recursive(
    st.none() | SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3)
)
LOADS = st.builds(Load, kind=st.sampled_from(LoadKind), value=FLOATS, scenario=TEXTS)
METRICS = st.dictionaries(TEXTS, FLOATS, max_size=3)
OUTCOMES = st.builds(
    Outcome,
    verdict=st.sampled_from(Verdict),
    values=st.lists(FLOATS, max_size=3).map(tuple),
    constraints=METRICS,
    cause=st.none() | st.sampled_from(Cause),
    reason=TEXTS,
    level=TEXTS,
    metrics=METRICS,
    measurements=st.lists(st.builds(Measurement, load=LOADS, metrics=METRICS, report=TEXTS), max_size=3).map(tuple),
    phases_s=st.dictionaries(st.sampled_from(Phase), FLOATS),
    effective_config=st.dictionaries(TEXTS, SCALARS, max_size=3),
    intermediate=st.dictionaries(st.integers(), FLOATS, max_size=3),
    exact_advice=TEXTS,
    kv_cache_retractions=st.none() | st.integers(min_value=1),
)
VALUES: list[tuple[st.SearchStrategy[object], Callable[[str], object]]] = [
    (
        st.builds(
            Params,
            flags=st.dictionaries(TEXTS, SCALARS, max_size=5),
            env=st.dictionaries(TEXTS, TEXTS, max_size=3),
        ),
        decode_params,
    ),
    (
        st.builds(
            Slot,
            name=TEXTS,
            host=TEXTS,
            gpus=st.lists(TEXTS, max_size=3).map(tuple),
            cores=st.lists(st.integers(), max_size=3).map(tuple),
        ),
        decode_slot,
    ),
    (
        st.builds(Request, deployer=TEXTS, name=TEXTS, body=st.dictionaries(TEXTS, JSON, max_size=3)),
        decode_request,
    ),
    (st.builds(Handle, deployer=TEXTS, name=TEXTS, ref=st.dictionaries(TEXTS, JSON, max_size=3)), decode_handle),
    (OUTCOMES, decode_outcome),
]


def exactly(value: object) -> str:
    """Tells 1 from 1.0 and from True, and 0.0 from -0.0, which == does not."""
    return repr(value)


@pytest.mark.parametrize(("values", "decode"), VALUES, ids=["params", "slot", "request", "handle", "outcome"])
def test_a_value_comes_back_exactly(values: st.SearchStrategy[object], decode: Callable[[str], object]) -> None:
    @given(values)
    def round_trip(value: object) -> None:
        text = encode(value)
        assert exactly(decode(text)) == exactly(value)
        assert text.isascii()
        assert "\0" not in text
        json.loads(text, parse_constant=pytest.fail)

    round_trip()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(StoreError, match="not finite"):
        encode(Outcome(verdict=Verdict.COMPLETE, values=(bad,)))


def test_an_outcome_of_an_older_version_has_defaults_for_newer_fields() -> None:
    assert decode_outcome('{"verdict": "pruned", "cause": "slo"}') == Outcome(verdict=Verdict.PRUNED, cause=Cause.SLO)
