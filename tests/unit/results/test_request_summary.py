"""The figures of requests, against what numpy and plain Python make of the same lines."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from optuna_tuner.errors import BundleError
from optuna_tuner.request_log import RequestLine
from optuna_tuner.results.bundle import lines
from optuna_tuner.results.bundle.lines import Line, Reader
from optuna_tuner.results.bundle.summary import Summary
from optuna_tuner.results.bundle.summing import summary_of

ONE = {"success": True, "latency_s": 1.5, "ttft_s": 0.5, "tpot_s": 0.1, "input_tokens": 30, "output_tokens": 11}
TIMED = {**ONE, "timestamp_start": 1000.0, "timestamp_end": 1002.0}
FAILED = {"success": False, "error": "HTTP 500", "timestamp_start": 1000.0, "timestamp_end": 1004.0}


def of(*written: Mapping[str, object] | str, end: str = "\n") -> Summary:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in written]
    return summary_of(Reader(io.BytesIO(("\n".join(texts) + end).encode()), "r.jsonl"))


@settings(deadline=None)
@given(some.lists(some.floats(0, 1e6), min_size=1, max_size=300))
def test_each_statistic_is_numpys_and_the_mean_exactly_rounded(values: list[float]) -> None:
    found = of(*({"success": True, "latency_s": value} for value in values)).latency_s
    assert found is not None
    assert (found.count, found.avg, found.min, found.max) == (len(values), fmean(values), min(values), max(values))
    assert [found.p50, found.p90, found.p95, found.p99] == [float(np.percentile(values, p)) for p in (50, 90, 95, 99)]


def test_rates_are_of_completed_requests_over_the_time_of_all() -> None:
    found = of(TIMED, TIMED, FAILED)
    assert (found.total_requests, found.successful_requests, found.failed_requests) == (3, 2, 1)
    assert (found.success_rate, found.errors) == (2 / 3, {"HTTP 500": 1})
    assert (found.started, found.ended, found.duration_s, found.requests_per_second) == (1000, 1004, 4, 0.5)
    assert (found.input_tokens_per_second, found.output_tokens_per_second) == (15, 5.5)
    assert found.total_tokens_per_second == 20.5
    assert found.missing == ()


def test_levels_are_told_apart_also_where_their_lines_are_mixed_and_a_load_was_measured_twice() -> None:
    first, again = {**TIMED, "measurement": "1", "level": "a"}, {**TIMED, "measurement": "3", "level": "a"}
    other = {**TIMED, "measurement": "2", "level": "b", "latency_s": 9.0}
    found = of(first, other, first, again)
    assert [(each.measurement, each.level, each.total_requests) for each in found.levels] == [
        ("1", "a", 2),
        ("2", "b", 1),
        ("3", "a", 1),
    ]
    assert [each.latency_s.max for each in (found, *found.levels) if each.latency_s] == [9.0, 1.5, 9.0, 1.5]


def test_what_requests_do_not_tell_is_null_and_said() -> None:
    bare = {"success": True, "latency_s": 1.0}
    found = of(TIMED, bare)
    assert (found.duration_s, found.requests_per_second, found.output_tokens, found.output_tokens_per_second) == (
        None,
    ) * 4
    assert found.ttft_s is not None
    assert found.ttft_s.count == 1
    assert set(found.missing) == {
        f"1 of 2 completed requests tell no {what}"
        for what in ("ttft_s", "tpot_s", "input_tokens", "output_tokens", "timestamps, so there are no rates")
    }


def test_a_reply_of_one_token_lacks_no_time_per_output_token() -> None:
    short = {**TIMED, "output_tokens": 1}
    del short["tpot_s"]
    found = of(TIMED, short)
    assert found.tpot_s is not None
    assert (found.tpot_s.count, found.missing) == (1, ())


@pytest.mark.parametrize(
    ("written", "said"),
    [((), "there are no requests"), ((FAILED, FAILED), "no request completed: there are no figures")],
)
def test_without_a_completed_request_there_are_no_figures(written: tuple[Mapping[str, object], ...], said: str) -> None:
    found = of(*written, end="\n" if written else "")
    assert (found.latency_s, found.requests_per_second, found.missing) == (None, None, (said,))


def test_a_last_line_that_is_cut_off_is_left_out_and_told() -> None:
    found = of(TIMED, '{"success":true,"latency_s":1.', end="")
    assert found.total_requests == 1
    assert found.missing == ("r.jsonl:2: the last line is cut off, and left out",)


def test_a_last_line_without_its_end_counts_when_it_is_whole() -> None:
    assert of(TIMED, TIMED, end="").total_requests == 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"latency_s": 1}', "Object missing required field `success`"),
        ('{"success": true}', "latency_s: a request that completed has one"),
        ('{"success": "yes"}', "success: Expected `bool`, got `str`"),
        ('{"success": true, "latency_s": "1"}', "latency_s: Expected `float | null`, got `str`"),
        ('{"success": true, "latency_s": -1}', "latency_s: Expected `float` >= 0.0"),
        ('{"success": true, "latency_s": NaN}', "JSON is malformed: invalid character"),
        ('{"success": true, "latency_s": 1e999}', "latency_s: Number out of range"),
        ('{"success": true, "latency_s": 1, "ttft_s": 2}', "ttft_s: the first token came after the end"),
        (
            '{"success": true, "latency_s": 1, "output_tokens": 1e3}',
            "output_tokens: Expected `int | null`, got `float`",
        ),
        ('{"success": true, "latency_s": 1, "timestamp_start": 1795858479931}', "timestamp_start: Expected `float` <="),
        (json.dumps({**TIMED, "timestamp_end": 999.0}), "timestamp_end: it ended before it started"),
        (json.dumps({**TIMED, "service_type": "sglang"}), 'service_type: "sglang", and "" before'),
        ('{"success": true, "latency_s": 1} {"success": true}', "JSON is malformed: trailing characters"),
        ('{"success": true, "x": ' + "[" * 100_000, "maximum recursion depth exceeded"),
        ("[1]", "Expected `object`, got `array`"),
        ("", "an empty line"),
        ("\x00\x00", "JSON is malformed"),
    ],
)
def test_a_line_that_cannot_be_is_named_with_its_file_and_number(line: str, said: str) -> None:
    with pytest.raises(BundleError) as raised:
        of(TIMED, TIMED, line, TIMED)
    assert str(raised.value).startswith(f"r.jsonl:3: {said}")


def test_lines_beyond_the_first_piece_have_their_numbers_and_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "PIECE_BYTES", 1000)
    assert of(*[TIMED] * 100).total_requests == 100
    with pytest.raises(BundleError, match=r"^r.jsonl:78: "):
        of(*[TIMED] * 77, "{}", *[TIMED] * 40)


def test_a_line_without_end_is_refused_before_it_fills_the_memory() -> None:
    with pytest.raises(BundleError, match=r"^r.jsonl:2: a line of more than 1048576 bytes"):
        of(TIMED, "x" * 3_000_000, TIMED)


def test_a_thousand_levels_and_errors_without_end_are_bounded() -> None:
    found = of(*({"success": False, "error": f"error {number} " + "x" * 1000} for number in range(200)))
    assert len(found.errors) == 51
    assert sum(found.errors.values()) == 200
    assert max(map(len, found.errors)) == 300
    with pytest.raises(BundleError, match="more than 1000 load levels"):
        of(*({**ONE, "level": str(number)} for number in range(1001)))


def test_a_summary_reads_fields_as_requests_are_written() -> None:
    known = RequestLine.model_fields
    assert set(Line.__struct_fields__) - set(known) == set()
    line = RequestLine.model_validate(
        {"request_id": "1", "level": "a", "measurement": "1", "scenario": "D(1,2)", **TIMED}
    )
    assert summary_of(Reader(io.BytesIO(line.encoded()), "r")).levels[0].level == "a"
