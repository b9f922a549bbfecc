from __future__ import annotations

from dataclasses import replace

import pytest

from optuna_tuner.catalog import shelf
from optuna_tuner.catalog.catalogue import Catalogue, Effect, Flag, FlagType
from optuna_tuner.catalog.notes import annotated, notes, read, renames
from optuna_tuner.errors import CatalogError

ENGINES = ("llama_cpp", "sglang", "vllm")


def catalogue(version: str, *flags: Flag, engine: str = "vllm") -> Catalogue:
    return Catalogue(engine=engine, version=version, flags=flags)


def flag(name: str) -> Flag:
    return Flag(name=name, spellings=("--" + name.replace("_", "-"),), type=FlagType.TEXT)


def only(found: Catalogue) -> Flag:
    return found.flags[0]


def test_what_changes_the_answers_and_what_is_promised_are_told_from_what_only_changes_speed() -> None:
    effects = {
        name: only(annotated(catalogue("0.33.0", flag(name)))).effect for name in ("dtype", "max_model_len", "seed")
    }
    assert effects == {"dtype": Effect.QUALITY, "max_model_len": Effect.PRODUCT, "seed": Effect.SPEED}


@pytest.mark.parametrize(("version", "recompiles"), [("0.28.0", False), ("0.29.0", True), ("0.33.0", True)])
def test_a_note_holds_only_for_its_versions(version: str, recompiles: bool) -> None:  # noqa: FBT001  a parameter
    assert only(annotated(catalogue(version, flag("max_num_seqs")))).recompiles is recompiles


def test_what_an_unset_flag_is_chosen_by_is_not_said_of_one_that_has_a_default() -> None:
    unset, has = flag("max_num_seqs"), replace(flag("max_num_seqs"), default=256)
    assert only(annotated(catalogue("0.33.0", unset))).default_from.startswith("GPU memory")
    assert only(annotated(catalogue("0.33.0", has))).default_from == ""


def test_a_fork_with_a_name_of_its_own_has_what_holds_for_every_version() -> None:
    named = annotated(catalogue("our-fork", flag("dtype"), flag("max_num_seqs")))
    assert [each.effect for each in named.flags] == [Effect.QUALITY, Effect.SPEED]
    assert not named.flags[1].recompiles


def test_noting_twice_is_noting_once() -> None:
    once = annotated(catalogue("0.33.0", flag("dtype"), flag("max_num_seqs")))
    assert annotated(once) == once


def test_a_flag_that_is_gone_has_a_new_name_or_an_advice() -> None:
    assert renames("sglang")["cuda_graph_max_bs"].new_name == "cuda_graph_max_bs_decode"
    assert "--speculative-config" in renames("vllm")["speculative_model"].advice
    assert [each.old for each in notes().gone if not each.new_name and not each.advice] == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("notes: [", "no YAML"),
        ("notes: []\ngone: [{engine: vllm, old: x}]", r"gone\.0\.source: Field required"),
        ("gone: []\nnotes: [{engine: e, flags: [x], source: s, efect: quality}]", r"notes\.0\.efect: Extra inputs"),
        ("gone: []\nnotes: [{engine: e, flags: [x], source: s, versions: young}]", r"notes\.0\.versions"),
        ("gone: []\nnotes: [{engine: e, flags: [x], source: s, effect: size}]", r"notes\.0\.effect"),
    ],
)
def test_a_wrong_entry_is_told_by_its_place(text: str, said: str) -> None:
    with pytest.raises(CatalogError, match=said):
        read(text)


@pytest.mark.parametrize("engine", ENGINES)
def test_every_note_is_about_a_flag_that_some_version_of_its_range_has(engine: str) -> None:
    known = [shelf.load(engine, version) for version in shelf.versions(engine)]
    stale = [
        f"{name} {note.versions}"
        for note in notes().notes
        if note.engine == engine
        for name in note.flags
        if not any(each.find(name) for each in known if note.holds_for(each.version))
    ]
    assert stale == []


@pytest.mark.parametrize("engine", ENGINES)
def test_a_flag_is_said_to_be_gone_since_the_version_that_does_not_have_it(engine: str) -> None:
    order = shelf.versions(engine)
    names = {version: {flag.name for flag in shelf.load(engine, version).flags} for version in order}
    told = {old: each.since for old, each in renames(engine).items()}
    assert told == {old: _first_without(old, names) for old in told}


@pytest.mark.parametrize("engine", ENGINES)
def test_a_new_name_is_that_of_a_flag_which_the_version_without_the_old_one_has(engine: str) -> None:
    newest = shelf.load(engine, shelf.versions(engine)[-1])
    wrong = [
        each.old
        for each in renames(engine).values()
        if each.new_name and not (shelf.load(engine, each.since) if each.since else newest).by_name.get(each.new_name)
    ]
    assert wrong == []


@pytest.mark.parametrize("engine", ENGINES)
def test_the_catalogues_hold_what_is_noted(engine: str) -> None:
    for version in shelf.versions(engine):
        kept = shelf.load(engine, version)
        assert annotated(kept) == kept, f"{engine} {version}: refresh it"


def _first_without(old: str, names: dict[str, set[str]]) -> str:
    """The version after the last one that has it; nothing where none has it."""
    order = list(names)
    having = [index for index, version in enumerate(order) if old in names[version]]
    return order[having[-1] + 1] if having else ""
