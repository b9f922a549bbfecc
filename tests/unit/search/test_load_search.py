"""The search for the most load: pure, on curves whose truth is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import exp
from random import Random

import pytest
from load_cases import Case, cases
from search.landscapes import OWN

from optuna_tuner.load_range import LoadRange
from optuna_tuner.search.load import LoadSearch, Probe, steps_of, sustained
from optuna_tuner.values import Load, LoadKind

Excess = Callable[[float], float]


def search(
    high: float = 512,
    low: float = 1,
    *,
    kind: LoadKind = LoadKind.CONCURRENCY,
    probes: int = 12,
    rival: float | None = None,
    rough: bool = False,
) -> LoadSearch:
    ends = (Load(kind=kind, value=value) for value in (low, high))
    sought = LoadRange(**dict(zip(("low", "high"), ends, strict=True)), precision=0.1, probes=probes)
    return LoadSearch(range=sought, rival=rival, rough=rough)


def run(each: LoadSearch, excess: Excess) -> list[Probe]:
    probes: list[Probe] = []
    while (load := each.next(probes)) is not None:
        probes.append(Probe(load=load.value, excess=excess(load.value)))
    return probes


def bound(most: float) -> Excess:
    """Kept up to so much load, and clearly missed above."""
    return lambda load: load / most - 1 if load <= most else load / most


def loads(probes: Sequence[Probe]) -> list[float]:
    return [probe.load for probe in probes]


@pytest.mark.parametrize("most", [1, 2, 3, 7, 22, 100, 511])
def test_without_noise_the_load_is_found_to_the_precision(most: int) -> None:
    found = sustained(run(search(), bound(most)))
    assert found is not None
    assert most / 1.1 <= found <= most


def test_rates_are_found_between_whole_numbers() -> None:
    found = sustained(run(search(kind=LoadKind.REQUEST_RATE, low=0.25, high=64), bound(3.3)))
    assert found is not None
    assert 3 <= found <= 3.3


def test_it_begins_in_the_middle_of_the_range_and_doubles_until_the_bound_is_between_two_loads() -> None:
    assert loads(run(search(low=1, high=256), bound(100)))[:4] == [16, 32, 64, 128]
    assert loads(run(search(low=1, high=256), bound(5)))[:3] == [16, 8, 4]


def test_it_begins_at_the_best_load_so_far_and_first_looks_nearby() -> None:
    assert loads(run(search(rival=40), bound(60)))[:3] == [40, 50, 78]
    assert loads(run(search(rival=40), bound(36)))[:2] == [40, 32]


def test_a_server_that_is_far_behind_is_looked_at_roughly_and_its_load_is_one_that_it_keeps() -> None:
    roughly, exactly = (run(search(rival=64, rough=rough), bound(13)) for rough in (True, False))
    found = sustained(roughly)
    assert len(roughly) < len(exactly)
    assert found is not None
    assert 13 / 3 <= found <= 13
    assert "behind the best so far, 64" in search(rival=64, rough=True).told(roughly)


def test_where_the_lowest_load_is_too_much_nothing_is_found_and_the_lowest_was_probed() -> None:
    probes = run(search(low=2, high=32), bound(1))
    assert sustained(probes) is None
    assert min(loads(probes)) == 2
    assert "concurrency=2, the lowest load of the range" in search(low=2, high=32).told(probes)


def test_where_the_highest_load_is_kept_it_is_said_to_raise_the_range() -> None:
    probes = run(search(high=32), bound(1000))
    assert sustained(probes) == 32
    assert "concurrency=32, the highest load of the range: raise `high`" in search(high=32).told(probes)


def test_what_is_near_the_bound_is_measured_again_and_the_mean_counts() -> None:
    said = iter([-0.02, 0.06])
    near = run(search(low=8, high=9), lambda load: next(said) if load == 8 else 1.0)
    assert loads(near).count(8) == 2
    assert sustained(near) is None


def test_a_lucky_measurement_above_a_missed_load_does_not_count_alone() -> None:
    probes = [Probe(load=4, excess=-0.5), Probe(load=8, excess=0.2), Probe(load=16, excess=-0.1)]
    assert sustained(probes) == 4
    assert [step.fitted for step in steps_of(probes)] == pytest.approx([-0.5, 0.05, 0.05])


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_noise_the_found_load_keeps_the_slo_in_its_own_mean(seed: int) -> None:
    noise = Random(seed)  # noqa: S311  noise, no secret
    probes = run(search(), lambda load: load / 50 - 1 + noise.gauss(0, 0.3))
    found = sustained(probes)
    own = [probe.excess for probe in probes if probe.load == found]
    assert found is None or sum(own) / len(own) <= 0


@pytest.mark.parametrize("seed", range(10))
def test_it_ends_after_so_many_probes_whatever_it_hears(seed: int) -> None:
    noise = Random(seed)  # noqa: S311  noise, no secret
    each = search(probes=7)
    probes = run(each, lambda _: noise.gauss(0, 1))
    assert len(probes) <= 7
    assert all(load == each.range.at(load).value for load in loads(probes))


@pytest.fixture(scope="module")
def simulated() -> Sequence[Case]:
    return cases(OWN, seed=7, count=120)


def test_on_simulated_servers_it_is_right_in_at_least_95_percent(simulated: Sequence[Case]) -> None:
    """With 2 % of noise on every metric; a larger sample is benchmarks/load_search.py's."""
    noise = Random(11)  # noqa: S311  noise, no secret
    right, count = 0, 0
    for case in simulated:
        probes = run(case.search(), lambda load, case=case: case.excess(load, lambda: exp(noise.gauss(0, 0.02))))  # type: ignore[misc]
        right += case.agrees(sustained(probes))
        count += len(probes)
    assert right >= 0.95 * len(simulated)
    assert count / len(simulated) < 8
