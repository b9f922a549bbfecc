"""The rules between flags that come with the package: each one against its own example, and all of them at once."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise, product
from pathlib import Path
from random import Random
from string import Formatter
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.version import Version
from pydantic import ValidationError

from optuna_tuner.catalog import shelf
from optuna_tuner.catalog.catalogue import Catalogue
from optuna_tuner.contracts import Engine
from optuna_tuner.engines.argv import Flags
from optuna_tuner.engines.known_rules import Effect, KnownRule, broken, findings, rule_book
from optuna_tuner.engines.known_values import FACTS, known_values
from optuna_tuner.engines.sglang import Sglang, SglangOptions
from optuna_tuner.engines.vllm import Vllm, VllmOptions
from optuna_tuner.plugins import InstalledKinds
from optuna_tuner.presets.shelf import preset_names, preset_text
from optuna_tuner.spec.files import load_study
from optuna_tuner.spec.rules import CONDITIONS, evaluate, names
from optuna_tuner.spec.space import Choice, Int, Parameter, Switch
from optuna_tuner.tuning.setting import assemble
from optuna_tuner.values import Model, Params, Scalar, Slot

ENGINES = ("vllm", "sglang", "llama_cpp")
RULES = [(engine, rule) for engine in ENGINES for rule in rule_book(engine).rules]
MODEL = Model(name="tiny", path="/models/tiny", tokenizer="/models/tiny")
CPU = Slot(name="cpu", host="here")
ONE_GPU = Slot(name="gpu", host="here", gpus=("GPU-1",))
MIXTURES = 4000
each_rule = pytest.mark.parametrize(("engine", "rule"), RULES, ids=[f"{engine}-{rule.id}" for engine, rule in RULES])

SETTING = [(engine, rule) for engine, rule in RULES if rule.sets]
each_rule_that_sets = pytest.mark.parametrize(
    ("engine", "rule"), SETTING, ids=[f"{engine}-{rule.id}" for engine, rule in SETTING]
)


def fired(engine: str, version: str | None, values: Mapping[str, Scalar]) -> set[str]:
    return {finding.rule.id for finding in findings(engine, version, values)}


def versions(engine: str, rule: KnownRule) -> list[str]:
    """The first and the last checked version that has the rule."""
    having = [str(version) for version in rule_book(engine).checked if version in rule.versions] or ["b1"]
    return sorted({having[0], having[-1]}, key=having.index)


def neighbours(engine: str, rule: KnownRule) -> list[str]:
    """The checked versions that lack the rule and stand next to one that has it."""
    checked = rule_book(engine).checked
    pairs = [pair for one, other in pairwise(checked) for pair in ((one, other), (other, one))]
    return [str(one) for one, other in pairs if one not in rule.versions and other in rule.versions]


@each_rule
def test_a_rule_fires_on_its_example_in_every_version_that_has_it(engine: str, rule: KnownRule) -> None:
    assert [version for version in versions(engine, rule) if rule.id not in fired(engine, version, rule.breaks)] == []


@each_rule
def test_a_rule_does_not_fire_on_its_nearest_neighbour(engine: str, rule: KnownRule) -> None:
    assert [version for version in versions(engine, rule) if rule.id in fired(engine, version, rule.keeps)] == []


@each_rule
def test_the_neighbour_breaks_no_other_rule_that_rejects(engine: str, rule: KnownRule) -> None:
    newest = versions(engine, rule)[-1]
    assert broken(engine, newest, rule.keeps) is None


@each_rule_that_sets
def test_what_a_rule_sets_makes_its_two_configurations_one_server(engine: str, rule: KnownRule) -> None:
    for version in versions(engine, rule):
        one, other = (identity_of(engine, version, values) for values in (rule.breaks, rule.same))
        assert one == other, version


@each_rule_that_sets
def test_they_are_two_servers_where_a_version_lacks_the_rule(engine: str, rule: KnownRule) -> None:
    assert [version for version in neighbours(engine, rule) if same_server(engine, version, rule)] == []


def test_a_rule_that_sets_flags_names_a_server_that_is_the_same() -> None:
    known = next(rule for _, rule in RULES if rule.sets).model_dump()
    with pytest.raises(ValidationError, match="names a server that is the same"):
        KnownRule.model_validate({**known, "versions": "", "same": {}})
    with pytest.raises(ValidationError, match="only a rewriting rule sets flags"):
        KnownRule.model_validate({**known, "versions": "", "effect": Effect.REFUSES})


def same_server(engine: str, version: str, rule: KnownRule) -> bool:
    return identity_of(engine, version, rule.breaks) == identity_of(engine, version, rule.same)


def identity_of(engine: str, version: str, flags: Mapping[str, Scalar]) -> Mapping[str, Scalar]:
    options = {"version": version} if engine != "llama_cpp" else {}
    plugin = InstalledKinds().plugin("engines", engine)
    made = cast("Engine", plugin(plugin.Options.model_validate(options)))
    return made.identity(MODEL, Params(flags=flags), CPU)


@each_rule
def test_a_rule_does_not_fire_in_a_version_that_lacks_it(engine: str, rule: KnownRule) -> None:
    lacking = neighbours(engine, rule)
    assert [version for version in lacking if rule.id in fired(engine, version, rule.breaks)] == []


@each_rule
def test_its_message_has_every_value_in_it(engine: str, rule: KnownRule) -> None:
    named = {field for _, field, _, _ in Formatter().parse(rule.because) if field}
    assert named <= names(rule.forbid) | rule_book(engine).otherwise.keys()
    finding = next(each for each in findings(engine, versions(engine, rule)[-1], rule.breaks) if each.rule == rule)
    assert not re.search(r"[{}]|True|False", finding.message)


@each_rule
def test_a_rule_without_one_of_its_values_does_not_fire(engine: str, rule: KnownRule) -> None:
    certain = rule_book(engine).otherwise.keys()
    for name in rule.breaks.keys() & names(rule.forbid) - certain:
        rest = {other: value for other, value in rule.breaks.items() if other != name}
        assert rule.id not in fired(engine, versions(engine, rule)[-1], rest)


@pytest.mark.parametrize("engine", ENGINES)
def test_rules_have_names_of_their_own(engine: str) -> None:
    ids = [rule.id for rule in rule_book(engine).rules]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_certain_without_being_given_can_be_computed(engine: str) -> None:
    book = rule_book(engine)
    newest = book.checked[-1] if book.checked else Version("1")
    assert book.otherwise.keys() <= book.completed(newest, {}).keys()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("slot", [CPU, ONE_GPU], ids=["cpu", "gpu"])
def test_nothing_fires_on_the_engines_own_defaults(engine: str, slot: Slot) -> None:
    for version in [None, *map(str, rule_book(engine).checked)]:
        assert fired(engine, version, known_values(MODEL, {}, slot)) == set()


@pytest.mark.parametrize("preset", preset_names())
def test_nothing_is_rejected_in_the_spaces_of_the_presets(preset: str, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(preset_text(preset), encoding="utf-8")
    study = load_study(file, InstalledKinds())
    engine = assemble(study, InstalledKinds()).engine
    eight = Slot(name="gpus", host="here", gpus=tuple(f"GPU-{number}" for number in range(8)))
    for chosen in _mixed([_some(parameter) for parameter in study.space.values()]):
        params = Params(flags=dict(zip(study.space, chosen, strict=True)))
        assert engine.reject(MODEL, params, eight) is None


def _some(parameter: Parameter) -> Sequence[Scalar]:
    """Both ends, and one between, of a range; every one of a few choices."""
    if isinstance(parameter, Choice | Switch):
        return parameter.values()
    between = (parameter.low + parameter.high) / 2
    return (parameter.low, int(between) if isinstance(parameter, Int) else between, parameter.high)


def _mixed(values: Sequence[Sequence[Scalar]]) -> Iterable[Sequence[Scalar]]:
    """One of each: all mixtures where they are few, else some thousands of them, the same in each run."""
    if math.prod(map(len, values)) <= MIXTURES:
        return product(*values)
    chance = Random(7)  # noqa: S311  the same in each run, no secret
    return (tuple(map(chance.choice, values)) for _ in range(MIXTURES))


@pytest.mark.parametrize("engine", ENGINES)
def test_every_condition_is_kept_parsed(engine: str) -> None:
    used = sum(len(rule_book(each).rules) + len(rule_book(each).otherwise) for each in ENGINES)
    assert used < CONDITIONS
    for rule in rule_book(engine).rules:
        assert isinstance(evaluate(rule.forbid, rule_book(engine).completed(None, rule.breaks)), bool)


def test_every_documented_fact_is_used_by_a_rule() -> None:
    spoken = {name for _, rule in RULES for name in names(rule.forbid)}
    inputs = {
        name for engine in ENGINES for each in rule_book(engine).otherwise.values() for name in names(each.expression)
    }
    assert FACTS.keys() <= spoken | inputs


def test_every_model_fact_that_a_rule_uses_is_documented() -> None:
    spoken = {name for _, rule in RULES for name in names(rule.forbid)}
    assert {name for name in spoken if name.startswith(("model_", "draft_", "gpu"))} - {
        "gpu_memory_utilization"
    } <= FACTS.keys()


SPOKEN = sorted({name for _, rule in RULES for name in rule.breaks})


@settings(max_examples=100, deadline=None)
@given(
    engine=st.sampled_from(ENGINES),
    given=st.dictionaries(
        st.sampled_from(SPOKEN),
        st.one_of(st.booleans(), st.integers(), st.floats(), st.sampled_from(["", "auto", "fp8", "EAGLE", "moonep"])),
    ),
)
def test_no_values_however_odd_make_a_rule_fail(engine: str, given: dict[str, Scalar]) -> None:
    for version in (None, "0.33.0", "0.5.23"):
        assert all(finding.message for finding in findings(engine, version, given))


def test_all_rules_of_one_trial_take_far_less_than_five_milliseconds() -> None:
    values: dict[str, Scalar] = {"max_num_seqs": 256, "max_num_batched_tokens": 8192, "max_model_len": 8192, "gpus": 8}
    facts: dict[str, Scalar] = {"model_heads": 32, "model_kv_heads": 8, "model_uses_mla": False, "device": "cuda"}
    broken("vllm", "0.33.0", values)  # reads the book
    began = time.process_time()
    for _ in range(50):
        broken("vllm", "0.33.0", values | facts)
    assert (time.process_time() - began) / 50 < 0.005


class TestVersions:
    def test_a_rule_that_came_later_spares_older_versions(self) -> None:
        values: dict[str, Scalar] = {"enable_chunked_prefill": False, "max_num_batched_tokens": 1, "max_model_len": 2}
        assert broken("vllm", "0.11.0", values) is None
        assert broken("vllm", "0.11.1", values) is not None

    def test_builds_and_previews_of_a_release_are_understood(self) -> None:
        values: dict[str, Scalar] = {"max_num_active_seqs": 9, "max_num_seqs": 8}
        for version in ("0.32.0+cpu", "v0.33.0", "0.33.1.dev5+g0123abc", "0.40.0"):
            assert broken("vllm", version, values) is not None

    def test_an_unknown_version_is_refused_only_what_every_likely_one_refuses(self) -> None:
        long_prefill: dict[str, Scalar] = {"long_prefill_token_threshold": 9, "max_model_len": 8}
        assert broken("vllm", None, long_prefill) is None  # 0.26 takes it
        assert broken("vllm", "0.33.0", long_prefill) is not None
        assert broken("vllm", "latest", long_prefill) is None

    def test_an_unknown_version_that_lacks_the_flag_refuses_it_anyway(self) -> None:
        values: dict[str, Scalar] = {"max_num_active_seqs": 9, "max_num_seqs": 8}
        assert broken("vllm", None, values) == "max_num_active_seqs (9) is above max_num_seqs (8)"

    def test_a_flag_that_is_only_gone_in_the_newest_version_is_not_judged_without_the_version(self) -> None:
        assert broken("vllm", None, {"max_num_partial_prefills": 2}) is None
        assert broken("vllm", "0.26.0", {"max_num_partial_prefills": 2}) is not None

    def test_since_names_flags_that_rules_speak_of(self) -> None:
        for engine in ENGINES:
            spoken = {name for rule in rule_book(engine).rules for name in names(rule.forbid)}
            inputs = {name for each in rule_book(engine).otherwise.values() for name in names(each.expression)}
            assert rule_book(engine).since.keys() <= spoken | inputs


class TestKnownValues:
    @pytest.mark.parametrize(
        ("flags", "known"),
        [
            ({"a": 1, "b": True, "c": 0.5, "d": "fp8"}, {"a": 1, "b": True, "c": 0.5, "d": "fp8"}),
            ({"a": "64", "b": "0.9", "c": "-1"}, {"a": 64, "b": 0.9, "c": -1}),
            ({"a": "8k", "b": "1.5Gi"}, {}),
            ({"a": [1, 2]}, {}),
            ({"a": {"b": 1, "c": {"d-e": "x"}, "f": None}}, {"a__b": 1, "a__c__d_e": "x"}),
            ({"a": '{"b": 1}'}, {"a__b": 1}),
            ({"a.b": 1, "a.c": 2}, {"a__b": 1, "a__c": 2}),
            ({"a": {"b": 1}, "a.c": 2}, {}),
            ({"a": "{no json"}, {"a": "{no json"}),
        ],
    )
    def test_flags_as_plain_values(self, flags: Flags, known: Mapping[str, Scalar]) -> None:
        assert known_values(MODEL, flags, CPU) == known

    def test_the_slots_gpus_are_known_where_it_has_some(self) -> None:
        assert known_values(MODEL, {}, ONE_GPU) == {"gpus": 1, "device": "cuda"}


class TestEngines:
    def test_a_rule_on_a_member_of_an_object_sees_it_however_it_is_given(self) -> None:
        engine = Vllm(VllmOptions(version="0.33.0"))
        for flags in (
            {"speculative_config": {"method": "ngram", "num_speculative_tokens": 0}},
            {"speculative-config.num-speculative-tokens": 0},
            {"speculative_config": '{"method": "ngram", "num_speculative_tokens": 0}'},
        ):
            fixed = Vllm(VllmOptions.model_validate({"version": "0.33.0", "flags": flags}))
            reason = fixed.reject(MODEL, Params(), CPU)
            assert reason is not None
            assert "num_speculative_tokens (0)" in reason
        assert engine.reject(MODEL, Params(flags={"speculative_config.num_speculative_tokens": 1}), CPU) is None

    def test_the_studys_version_decides(self) -> None:
        flags = Params(flags={"disable_cuda_graph_padding": True, "enable_torch_compile": True})
        assert Sglang(SglangOptions(version="0.5.11")).reject(MODEL, flags, CPU) is None
        assert Sglang(SglangOptions(version="0.5.12")).reject(MODEL, flags, CPU) is not None

    def test_what_an_engine_rewrites_is_told_and_not_rejected(self) -> None:
        values: dict[str, Scalar] = {"speculative_algorithm": "EAGLE"}
        assert [each.rule.effect for each in findings("sglang", "0.5.23", values)] == [Effect.REWRITES]
        assert broken("sglang", "0.5.23", values) is None


class TestAgainstTheCatalogues:
    """The catalogues are read off the same wheels by other code."""

    @pytest.fixture(scope="class", params=["vllm", "sglang"])
    @staticmethod
    def history(request: pytest.FixtureRequest) -> tuple[str, Mapping[Version, Catalogue]]:
        engine: str = request.param
        checked = rule_book(engine).checked
        return engine, {version: shelf.load(engine, str(version)) for version in checked}

    def test_every_flag_exists_in_some_checked_version(self, history: tuple[str, Mapping[Version, Catalogue]]) -> None:
        engine, catalogues = history
        book = rule_book(engine)
        known = {flag for catalogue in catalogues.values() for flag in catalogue.by_name}
        spoken = {name.partition("__")[0] for rule in book.rules for name in rule.breaks}
        assert spoken - known - FACTS.keys() == set()

    def test_a_flag_is_as_old_as_the_rules_say(self, history: tuple[str, Mapping[Version, Catalogue]]) -> None:
        engine, catalogues = history
        for flag, since in rule_book(engine).since.items():
            assert (flag, since) == (flag, next(version for version, each in catalogues.items() if each.find(flag)))

    def test_a_rule_speaks_of_flags_that_its_versions_have(
        self, history: tuple[str, Mapping[Version, Catalogue]]
    ) -> None:
        engine, catalogues = history
        for rule in rule_book(engine).rules:
            flags = {name.partition("__")[0] for name in rule.breaks} - FACTS.keys()
            having = [each for version, each in catalogues.items() if version in rule.versions]
            assert any(all(each.find(flag) for flag in flags) for each in having), rule.id

    def test_what_is_taken_for_a_default_is_the_parsers_default_or_unset(
        self, history: tuple[str, Mapping[Version, Catalogue]]
    ) -> None:
        engine, catalogues = history
        for name, each in rule_book(engine).otherwise.items():
            if names(each.expression):
                continue  # taken over from another value
            taken = evaluate(each.expression, {})
            found = {
                version: flag.default
                for version, catalogue in catalogues.items()
                if version in each.versions and (flag := catalogue.find(name)) and flag.default_is_known
            }
            wrong = {str(version): default for version, default in found.items() if default not in (taken, None)}
            assert (name, wrong) == (name, {})
