"""What a landscape promises to those who search it. Few configurations are looked at: a whole one takes seconds."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from math import log
from pathlib import Path

import numpy as np
import pytest
from search.landscape import Configuration, Landscape, Noise, Truth, noisy
from search.landscapes import OWN, sglang_experts
from search.simulated import Simulated
from search.tabulated import tabulated

from optuna_tuner.contracts import Engine
from optuna_tuner.engines.sglang import Sglang
from optuna_tuner.engines.vllm import Vllm
from optuna_tuner.memory.certainty import refusal
from optuna_tuner.search.grid import configurations
from optuna_tuner.values import Cause, Params

ENGINES: Mapping[str, type[Engine]] = {"sglang": Sglang, "vllm": Vllm}
each_landscape = pytest.mark.parametrize("landscape", OWN, ids=lambda landscape: landscape.name)


def sample(landscape: Landscape, count: int = 400) -> Sequence[Configuration]:
    draw = random.Random(0)  # noqa: S311  no secret
    found: list[Configuration] = []
    for _ in range(count):
        chosen: dict[str, bool | int | float | str] = {}
        for name, parameter in landscape.space.items():
            if parameter.applies(chosen):
                chosen[name] = draw.choice(list(parameter.values()))
        found.append(chosen)
    return found


@each_landscape
def test_the_default_and_what_is_tried_first_are_of_the_space_and_run(landscape: Landscape) -> None:
    assert landscape.truth(landscape.default).feasible
    assert all(landscape.truth(each).cause is None for each in landscape.first)


@each_landscape
def test_a_random_configuration_often_fails_or_breaks_a_promise_and_often_does_not(landscape: Landscape) -> None:
    found = [landscape.truth(each).feasible for each in sample(landscape)]
    assert 0.1 < sum(found) / len(found) < 0.75


@each_landscape
def test_what_the_engines_rules_and_the_memory_model_refuse_never_runs(landscape: Landscape) -> None:
    kind = ENGINES[landscape.engine]
    engine = kind(kind.Options.model_validate({"version": landscape.version, "flags": dict(landscape.fixed)}))
    assert landscape.facts is not None
    assert landscape.gpu is not None
    refused = 0
    for each in sample(landscape)[:150]:
        params = Params(flags=each)
        said = engine.memory(params)
        why = engine.reject(landscape.model, params, landscape.slot)
        if why or (said and refusal(landscape.facts, landscape.gpu.memory, *said)):
            refused += 1
            assert landscape.truth(each).cause is not None, (each, why)
    assert refused or landscape.name.startswith("sglang_deepseek")


@each_landscape
def test_truth_does_not_change_and_levels_follow_one_another(landscape: Landscape) -> None:
    for each in sample(landscape)[:50]:
        truth = landscape.truth(each)
        assert truth == landscape.truth(dict(each))
        times = [at for _, at in truth.rungs]
        assert times == sorted(times)
        assert all(at < truth.cost_s for at in times)
        assert (truth.objective is None) is (truth.cause is not None)


@each_landscape
def test_a_configuration_of_another_space_is_refused(landscape: Landscape) -> None:
    with pytest.raises(ValueError, match="swap_space does not apply"):
        landscape.truth({**landscape.default, "swap_space": 4})
    with pytest.raises(ValueError, match="lacks a value"):
        landscape.truth({})


def test_who_is_best_with_few_agents_is_not_with_many() -> None:
    landscape = sglang_experts()
    whole = {**landscape.default, "speculative_algorithm": "EAGLE", "speculative_num_steps": 3}
    whole |= {"speculative_eagle_topk": 1, "max_running_requests": 256}
    groups = {**whole, "attn_dp_size": 8, "moe_a2a_backend": "deepep"}
    del groups["ep_size"]
    few, many = [[found[place] for found in (rungs(landscape, whole), rungs(landscape, groups))] for place in (0, -1)]
    assert few[0] > 1.2 * few[1]
    assert many[1] > 1.2 * many[0]


def rungs(landscape: Simulated, params: Configuration) -> Sequence[float]:
    return [level.metrics["output_throughput_tok_s"] for level in landscape.outcome(params).levels]


def test_the_operating_point_is_the_best_level_that_keeps_every_promise() -> None:
    landscape = sglang_experts()
    for each in islice(sample(landscape), 100):
        truth = landscape.truth(each)
        if truth.feasible:
            assert truth.objective == max(value for value, _ in truth.rungs)


def test_noise_has_the_spread_that_is_promised_and_failures_have_none() -> None:
    noise, rng = Noise(objective=0.02, constraints=0.05), np.random.default_rng(1)
    truth = Truth(objective=100.0, constraints=(-0.3,), cost_s=10, rungs=((50.0, 5.0), (100.0, 9.0)))
    seen = [noisy(truth, noise, rng) for _ in range(4000)]
    assert np.std([log(each.objective or 0) for each in seen]) == pytest.approx(0.02, rel=0.05)
    assert np.mean([log(each.objective or 0) for each in seen]) == pytest.approx(log(100), abs=0.001)
    assert np.std([each.constraints[0] for each in seen]) == pytest.approx(0.05, rel=0.05)
    assert all(each.rungs[1][0] == each.objective for each in seen)
    assert noisy(Truth(cause=Cause.CRASHED, cost_s=3), noise, rng) == Truth(cause=Cause.CRASHED, cost_s=3)


def test_noise_is_that_of_its_generator() -> None:
    landscape = OWN[0]
    one, same, other = (landscape.observe(landscape.default, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_the_optimum_is_the_best_feasible_configuration() -> None:
    landscape = sglang_experts()
    few = {name: parameter for name, parameter in landscape.space.items() if name not in SETTLED}
    small = replace(landscape, space=few, also={**landscape.also, **SETTLED})
    truths = [small.truth(each) for each in configurations(small.space)]
    assert len(truths) > 100
    best = max(truth.objective or 0 for truth in truths if truth.feasible)
    assert small.optimum == best


SETTLED: Configuration = {"chunked_prefill_size": 8192, "mem_fraction_static": 0.85, "max_running_requests": 96}


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    told = {
        "doc": "a small one",
        "space": {
            "a": {"type": "cat", "choices": ["x", "y"]},
            "b": {"type": "ord", "choices": [1, 2, 3], "when": {"a": "y"}},
        },
        "default": {"a": "x"},
        "heuristics": [{"a": "y", "b": 2}],
        "constraint_names": ["slo"],
        "rungs": [1, 2],
        "noise_objective": 0.01,
        "noise_constraints": 0.02,
    }
    (tmp_path / "small.json").write_text(json.dumps(told))
    np.savez(
        tmp_path / "small.npz",
        status=np.array([0, 0, 0, 1, 2, 3]),
        y=np.array([1.0, 1.0, 1.0, 4.0, np.nan, np.nan]),
        c=np.array([[-0.1], [-0.1], [-0.1], [0.2], [np.nan], [np.nan]]),
        cost=np.array([10.0, 10.0, 10.0, 40.0, 5.0, 2.0]),
        ry=np.arange(12.0).reshape(6, 2),
        rcost=np.arange(12.0).reshape(6, 2),
    )
    (found,) = tabulated(tmp_path)
    assert found.truth({"a": "x"}) == Truth(objective=1, constraints=(-0.1,), cost_s=10, rungs=((0, 0), (1, 1)))
    assert found.truth({"a": "y", "b": 1}).constraints == (0.2,)
    assert found.truth({"a": "y", "b": 2}) == Truth(cause=Cause.OUT_OF_MEMORY_POOL, cost_s=5)
    assert found.truth({"a": "y", "b": 3}).cause is Cause.BAD_COMBINATION
    assert (found.optimum, found.name, found.noise) == (1, "small", Noise(objective=0.01, constraints=0.02))
    strange: Sequence[Configuration] = ({"a": "x", "b": 1}, {"a": "y"}, {"a": "z"})
    for wrong in strange:
        with pytest.raises(ValueError, match="is not of the space"):
            found.truth(wrong)


def test_no_folder_has_no_tables(tmp_path: Path) -> None:
    assert tabulated(tmp_path / "nowhere") == ()
