"""A short lane of the cancels: one in each moment, and again with a server that is stubborn."""

from __future__ import annotations

from pathlib import Path

import pytest
from cancels import MOMENTS, STUBBORN_EVERY, Case
from lane import lane
from tracing import demand


@pytest.mark.timeout(600)
def test_a_cancel_in_each_of_twelve_moments_frees_the_gpu_within_half_a_minute(tmp_path: Path) -> None:
    said = lane("cancels", "--each", "1", "--keep", str(tmp_path))
    assert "12 of 12 cancels played, 0 failed" in said


@pytest.mark.campaign
@pytest.mark.timeout(600)
def test_the_same_with_a_server_that_ignores_sigterm(tmp_path: Path) -> None:
    said = lane("cancels", "--each", "1", "--stubborn", "--only", "level", "--keep", str(tmp_path))
    assert "2 of 2 cancels played, 0 failed" in said


def test_each_moment_is_a_place_that_there_is() -> None:
    assert len(MOMENTS) == len({moment.name for moment in MOMENTS}) == 12
    for moment in MOMENTS:
        assert moment.gate or moment.event
        if moment.gate:
            demand(moment.gate)


def test_one_cancel_in_four_meets_a_stubborn_server() -> None:
    stubborn = [Case(MOMENTS[0], number, stubborn=False).is_stubborn for number in range(20)]
    assert sum(stubborn) == 20 // STUBBORN_EVERY
