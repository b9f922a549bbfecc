"""What is seen of a load level is bounded, and summed up over the time in which the server was busy."""

from __future__ import annotations

from optuna_tuner.metrics import SEEN
from optuna_tuner.tuning.looks import MOST, Look, Looks


def looks(*values: dict[str, float], before: Look | None = None) -> Looks:
    found = Looks(before=before)
    for place, each in enumerate(values):
        found.add(Look(at=float(place), took_s=0.01, values=each))
    return found


def test_only_the_time_with_requests_counts() -> None:
    idle, busy = {"server_running_requests": 0.0, "gpu_busy": 0.0}, {"server_running_requests": 4.0, "gpu_busy": 1.0}
    summary = looks(idle, busy, idle, busy, idle, idle).summary()
    assert summary["looks"] == 3
    assert summary["server_running_requests.mean"] == 2.66667
    assert summary["gpu_busy.max"] == 1


def test_counts_go_on_from_the_level_before() -> None:
    before = Look(at=0, took_s=0, values={"server_generated_tokens": 100.0})
    summary = looks({"server_generated_tokens": 150.0}, {"server_generated_tokens": 400.0}, before=before).summary()
    assert summary["server_generated_tokens"] == 300


def test_a_server_that_counts_anew_has_not_counted_backwards() -> None:
    assert looks({"server_preemptions": 5.0}, {"server_preemptions": 0.0}).summary()["server_preemptions"] == 0


def test_the_share_of_prefix_hits_is_that_of_the_level() -> None:
    first = {"server_prefix_queries": 1000.0, "server_prefix_hits": 900.0}
    last = {"server_prefix_queries": 1200.0, "server_prefix_hits": 950.0}
    assert looks(first, last).summary()["server_prefix_hit_share.mean"] == 0.25


def test_a_long_level_is_thinned_and_keeps_its_peak_and_its_end() -> None:
    found = Looks()
    for place in range(100 * MOST):
        peak = 0.9 if place == 4321 else 0.1
        found.add(
            Look(at=float(place), took_s=0, values={"server_kv_cache_use": peak, "server_preemptions": float(place)})
        )
    assert MOST / 2 <= len(found.kept) <= MOST
    summary = found.summary()
    assert summary["server_kv_cache_use.max"] == 0.9
    assert summary["server_preemptions"] == 100 * MOST - 1
    gaps = {later.at - sooner.at for sooner, later in zip(found.kept, found.kept[1:], strict=False)}
    assert len(gaps) == 1


def test_nothing_seen_is_nothing_told() -> None:
    assert Looks().summary() == {}
    assert looks({"server_running_requests": 0.0}).summary() == {}


def test_a_summary_speaks_the_vocabulary() -> None:
    both = {"server_running_requests": 1.0, "gpu_power_w": 300.0, "server_preemptions": 0.0}
    assert looks(both, both).summary().keys() <= SEEN.keys()
