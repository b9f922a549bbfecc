from __future__ import annotations

from pathlib import Path

import pytest
from catalogues import VERSIONS, catalogue
from hypothesis import given
from hypothesis import strategies as st

from optuna_tuner.catalog import shelf
from optuna_tuner.catalog.catalogue import Catalogue, Effect, Flag, FlagType
from optuna_tuner.catalog.text import from_text, to_text
from optuna_tuner.errors import CatalogError, NotFoundError


def test_versions_are_in_the_order_of_releases_not_of_letters(abacus: str) -> None:
    assert shelf.versions(abacus) == ("1.0.0", "1.9.0", "1.10.0")
    assert abacus in shelf.engines()


@pytest.mark.parametrize("written", ["1.9.0", "v1.9.0", "1.9.0+cu129", " 1.9.0"])
def test_a_leading_v_and_the_build_of_a_wheel_do_not_count(abacus: str, written: str) -> None:
    assert shelf.load(abacus, written) == catalogue("1.9.0")


def test_another_version_is_never_taken_for_the_one_that_was_named(abacus: str) -> None:
    assert shelf.find(abacus, "1.9.1") is None


def test_a_version_without_a_catalogue_is_told_with_the_nearest_and_the_way_to_make_it(abacus: str) -> None:
    with pytest.raises(NotFoundError, match=r"nearest are 1\.9\.0.*catalog refresh abacus==1\.9\.1"):
        shelf.load(abacus, "1.9.1")


def test_an_unknown_engine_is_told_with_those_that_are_known(abacus: str) -> None:
    with pytest.raises(NotFoundError, match=f"there are {abacus}"):
        shelf.load("sliderule", "1")


def test_a_broken_catalogue_is_named(abacus: str, tmp_path: Path) -> None:
    broken = tmp_path / "catalogues" / abacus / "2.0.0.json"
    broken.write_text('{"engine": "abacus"}', encoding="utf-8")
    with pytest.raises(CatalogError, match=r"2\.0\.0\.json cannot be read"):
        shelf.find(abacus, "2.0.0")


@pytest.mark.parametrize("written", ["max_seqs", "max-seqs", "--max-seqs", "-ms", "ms"])
def test_a_flag_is_found_by_each_of_its_names(written: str) -> None:
    found = catalogue("1.0.0").find(written)
    assert found is not None
    assert found.name == "max_seqs"


words = st.text(st.characters(codec="utf-8"), max_size=8)
flags = st.builds(
    Flag,
    name=words,
    spellings=st.tuples(words),
    type=st.sampled_from(FlagType),
    many=st.booleans(),
    choices=st.lists(words | st.integers(), max_size=3).map(tuple),
    default=st.none() | st.booleans() | st.integers() | words | st.lists(words, max_size=2),
    default_is_known=st.booleans(),
    negatable=st.booleans(),
    deprecated=words,
    effect=st.sampled_from(Effect),
    recompiles=st.booleans(),
)


@given(st.lists(flags, max_size=4))
def test_what_is_written_is_read_again(some: list[Flag]) -> None:
    whole = Catalogue(engine="e", version="1", source={"a": "b"}, flags=tuple(some))
    assert from_text(to_text(whole)) == whole


def test_two_versions_are_compared_line_by_line() -> None:
    before, after = (set(to_text(catalogue(version)).splitlines()) for version in ("1.0.0", "1.9.0"))
    assert [line for line in after - before if "chunked" in line]
    assert len(VERSIONS["1.0.0"]) == sum('"name"' in line for line in before)
