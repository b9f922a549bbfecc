from __future__ import annotations

import pytest

from optuna_tuner.results.wording import measured, number, percent, span


@pytest.mark.parametrize(
    ("value", "text"), [(0.123456, "0.1235"), (12.0, "12"), (1234.5, "1,234"), (0.0, "0"), (-2500.0, "-2,500")]
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(8.24, "8.2 s"), (200, "3 min 20 s"), (7500, "2 h 05 min"), (59.97, "60.0 s")]
)
def test_durations_use_the_largest_unit_that_fits(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_a_metric_is_said_with_its_unit() -> None:
    assert measured("ttft_ms.p99", 180) == "180 ms"
    assert measured("my_own", 180) == "180"
    assert measured("error_rate", 0.01) == "0.01"


def test_percent_has_a_sign() -> None:
    assert (percent(0.234), percent(-0.5)) == ("+23.4 %", "-50.0 %")
