from __future__ import annotations

from collections.abc import Sequence

import pytest

from optuna_tuner.results.report.knee import Shape, knee

DOUBLED = (1, 2, 4, 8, 16, 32, 64, 128)


# What the authors' method gives, as the package kneed 0.9.0 computes it with S = 1; it is no dependency.
@pytest.mark.parametrize(
    ("loads", "values", "found"),
    [
        (DOUBLED, [min(load, 16) * 100 for load in DOUBLED], 16),
        (DOUBLED, [2000 * load / (load + 16) for load in DOUBLED], 32),
        (DOUBLED[:7], [100, 200, 400, 780, 1400, 1500, 1300], 16),
        ((8, 16, 32), [500, 900, 920], 16),
        ((4, 8, 16, 32), [250, 500, 900, 920], 16),
    ],
)
def test_throughput_bends_where_the_published_method_says(
    loads: Sequence[float], values: Sequence[float], found: float
) -> None:
    assert knee(loads, values, Shape.FLATTENS) == found


def test_latency_bends_where_it_takes_off() -> None:
    assert knee(DOUBLED[:7], [50, 52, 55, 60, 70, 300, 900], Shape.STEEPENS) == 16


@pytest.mark.parametrize(
    ("loads", "values"),
    [
        (DOUBLED, [100 * load for load in DOUBLED]),
        (range(1, 9), [100 * load * (1.03 if load % 2 else 0.97) for load in range(1, 9)]),
        ((8, 32), [500, 900]),
        ((8,), [500]),
        ((), []),
    ],
    ids=["straight", "straight but for noise", "two", "one", "none"],
)
def test_what_does_not_bend_has_no_knee(loads: Sequence[float], values: Sequence[float]) -> None:
    assert knee(loads, values, Shape.FLATTENS) is None
    assert knee(loads, values, Shape.STEEPENS) is None


@pytest.mark.parametrize("values", [[100, 100, 100, 100], [100, 103, 99, 100], [0, 0, 0, 0]])
def test_noise_on_a_flat_line_is_no_knee(values: Sequence[float]) -> None:
    assert knee((1, 2, 4, 8), values, Shape.FLATTENS) is None


@pytest.mark.parametrize("factor", [0.001, 1000.0])
def test_the_unit_does_not_move_it(factor: float) -> None:
    values = [factor * min(load, 16) for load in DOUBLED]
    assert knee([factor * load for load in DOUBLED], values, Shape.FLATTENS) == pytest.approx(16 * factor)
