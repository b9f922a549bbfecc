"""Scenarios in genai-bench's notation, and prompts of their lengths."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from random import Random

import pytest

from optuna_tuner.benchmarks import prompts, scenarios
from optuna_tuner.benchmarks.prompts import Scale
from optuna_tuner.testing import word_tokenizer


def _samples(text: str, count: int = 2000) -> list[tuple[int, int]]:
    scenario, random = scenarios.parse(text), Random(0)  # noqa: S311  a seed for a test
    return [scenario.sample(random) for _ in range(count)]


def test_the_mean_of_scenarios_is_that_of_all_their_requests() -> None:
    assert scenarios.mean_tokens(["D(64,32)"]) == (64, 32)
    assert scenarios.mean_tokens(["N(480,240)/(300,150)", "U(100,200)/(10,30)"]) == (315, 160)


def test_a_deterministic_scenario_is_always_the_same() -> None:
    assert set(_samples("D(64,32)")) == {(64, 32)}


def test_a_normal_scenario_has_its_mean_and_never_an_empty_prompt_or_reply() -> None:
    samples = _samples("N(100,60)/(20,15)")
    assert 90 < sum(a for a, _ in samples) / len(samples) < 110
    assert min(a for a, _ in samples) >= 1
    assert min(b for _, b in samples) >= 2


@pytest.mark.parametrize(("text", "low", "high"), [("U(50,100)/(10,20)", 50, 100), ("U(100,20)", 1, 100)])
def test_a_uniform_scenario_keeps_its_bounds(text: str, low: int, high: int) -> None:
    lengths = [a for a, _ in _samples(text)]
    assert low <= min(lengths) < low + 10
    assert high - 10 < max(lengths) <= high


@pytest.mark.parametrize(
    "text",
    [
        "",
        "D",
        "D(1)",
        "D(1,2,3)",
        "D(a,b)",
        "E(64)",
        "N(1,2)",
        "D(64,32) ",
        "U(9,1)/(5,6)",
        "D(0,5)",
        "D(5,1)",
        "dataset",
    ],
)
def test_what_is_no_scenario_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no scenario|needs low"):
        scenarios.parse(text)


def test_equal_seeds_give_equal_prompts_and_different_seeds_share_no_beginning() -> None:
    def first(seed: str) -> list[str]:
        scenario = scenarios.parse("D(64,32)")
        return [prompt.text for prompt in islice(prompts.prompts(scenario, Scale(), seed), 200)]

    assert first("1") == first("1")
    assert {text[:30] for text in first("1")}.isdisjoint(text[:30] for text in first("2"))


def test_no_two_prompts_of_a_trial_share_a_beginning() -> None:
    texts = [p.text for p in islice(prompts.prompts(scenarios.parse("D(64,32)"), Scale(), "1"), 2000)]
    assert len({text[:30] for text in texts}) == len(texts)


def test_prompts_have_the_wanted_length_by_the_servers_count() -> None:
    scale = Scale.between((40, 65), (160, 245))
    assert scale == Scale(per_word=1.5, template=5.0)
    prompt = next(prompts.prompts(scenarios.parse("D(90,8)"), scale, "1"))
    assert len(prompt.text.split()) == 60


def test_a_server_that_counts_nonsense_is_not_believed() -> None:
    assert Scale.between((40, 100), (160, 100)) == Scale()


def test_the_raw_lines_for_a_client_with_a_tokenizer_differ_between_trials() -> None:
    def lines(seed: str) -> list[str]:
        return [str(line) for line in json.loads(prompts.lines_of(seed))]

    assert len(set(lines("1"))) == 1000
    assert set(lines("1")).isdisjoint(lines("2"))
    assert all(line.startswith(" ") for line in lines("1"))


def test_long_texts_use_each_word_equally_often() -> None:
    drawn = prompts.text(Random(1), 3 * len(prompts.WORDS)).split()  # noqa: S311  a seed for a test
    assert {drawn.count(word) for word in prompts.WORDS} == {3}


def test_tokens_a_word_are_learnt_from_the_models_tokenizer(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    assert prompts.scale_of_tokenizer(str(tmp_path)) is None
    word_tokenizer.write(tmp_path, prompts.WORDS)
    assert prompts.scale_of_tokenizer(str(tmp_path)) == Scale()
