"""The planted bugs fit the product, and some of them are hunted; `benchmarks/chaos.py planted-bugs` hunts all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest
from planted_bug import Bug, Edit
from planted_bugs import MisfitError, Nursery, misfits, missing_tests, nursery
from planted_list import BUGS

QUICK = (
    "claim without a fence",
    "the cancel of a waiting one is ignored",
    "a lease that runs on while nobody looks",
    "a quarantine that nobody heeds",
    "gone before it was stopped",
)
HARMLESS = Edit(file="values.py", old='"""Frozen values that travel', new='"""Frozen values which travel')
NO_SERVER = "postgresql://nobody@127.0.0.1:9/none"  # the quick ones need none


@pytest.fixture(scope="module")
def place() -> Iterator[Nursery]:
    with nursery(NO_SERVER) as found:
        yield found


def chosen(name: str) -> Bug:
    return next(bug for bug in BUGS if bug.name == name)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_each_planted_bug_fits_the_product_and_its_tests_are_there(bug: Bug) -> None:
    assert misfits(bug) + missing_tests(bug) == []
    assert bug.tests, "somebody must see it"
    assert all(edit.old != edit.new for edit in bug.edits)


def test_the_planted_bugs_have_a_name_each() -> None:
    assert [name for name, times in Counter(bug.name for bug in BUGS).items() if times > 1] == []
    assert len(BUGS) >= 15


@pytest.mark.timeout(300)
def test_the_quick_ones_are_found_and_without_them_all_is_green(place: Nursery) -> None:
    bugs = [chosen(name) for name in QUICK]
    place.control(bugs)
    assert [found.bug.name for found in map(place.hunt, bugs) if found.red is None] == []


@pytest.mark.timeout(120)
def test_a_change_that_breaks_nothing_survives(place: Nursery) -> None:
    assert place.hunt(replace(chosen(QUICK[0]), edits=(HARMLESS,))).red is None


@pytest.mark.timeout(120)
def test_a_bug_that_breaks_the_import_is_no_find(place: Nursery) -> None:
    broken = replace(chosen(QUICK[0]), edits=(replace(HARMLESS, new='no Python """'),))
    with pytest.raises(MisfitError, match="could not be run"):
        place.hunt(broken)


def test_a_bug_that_no_longer_fits_is_said_aloud(place: Nursery) -> None:
    stale = replace(chosen(QUICK[0]), edits=(replace(HARMLESS, old="text of yesterday"),))
    with pytest.raises(MisfitError, match="no longer fits"):
        place.hunt(stale)
