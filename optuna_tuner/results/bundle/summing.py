"""From a stream of requests to its summary, in one pass."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from optuna_tuner.results.bundle.gathering import SPREADS, TOKENS, Group, spread
from optuna_tuner.results.bundle.lines import Line, Reader
from optuna_tuner.results.bundle.summary import Figures, LevelFigures, Summary

MOST_LEVELS = 1000

Key = tuple[str, str]  # measurement and level


def summary_of(reader: Reader) -> Summary:
    """The figures of all lines. Memory: 24 bytes a completed request, and what percentiles need beside that.

    Raises BundleError, with file and line, for lines that cannot be read, cannot be true, or are of two services.
    """
    groups: dict[Key, Group] = {}
    service: str | None = None
    for lines in reader:
        service = _same_service(lines, service, reader)
        for key, part in _by_level(lines):
            group = groups.setdefault(key, Group())
            if len(groups) > MOST_LEVELS:
                raise reader.wrong(part[0], f"level: more than {MOST_LEVELS} load levels")
            group.add(part, reader)
    whole = next(iter(groups.values())) if len(groups) == 1 else _together(groups)
    levels = [_level(key, group) for key, group in groups.items()]
    facts = {**_facts(levels[0] if len(levels) == 1 else _figures(whole)), "missing": _missing(whole, reader)}
    return Summary.model_validate({**facts, "service_type": service or "", "levels": levels})


def _same_service(lines: Sequence[Line], service: str | None, reader: Reader) -> str:
    """The one service of all lines: figures of two together would be nobody's."""
    found = {line.service_type for line in lines} | ({service} if service is not None else set())
    if len(found) == 1:
        return found.pop()
    expected = lines[0].service_type if service is None else service
    other = next(line for line in lines if line.service_type != expected)
    raise reader.wrong(
        other, f'service_type: "{other.service_type}", and "{expected}" before: summarise them one by one'
    )


def _by_level(lines: Sequence[Line]) -> Iterator[tuple[Key, Sequence[Line]]]:
    one = len({line.level for line in lines}) == 1 and len({line.measurement for line in lines}) == 1
    if one:
        yield (lines[0].measurement, lines[0].level), lines
        return
    for key in dict.fromkeys((line.measurement, line.level) for line in lines):
        yield key, [line for line in lines if (line.measurement, line.level) == key]


def _together(groups: Mapping[Key, Group]) -> Group:
    whole = Group()
    for group in groups.values():
        whole.take(group)
    return whole


def _level(key: Key, group: Group) -> LevelFigures:
    return LevelFigures.model_validate({**_facts(_figures(group)), "measurement": key[0], "level": key[1]})


def _facts(figures: Figures) -> dict[str, object]:
    return {name: getattr(figures, name) for name in Figures.model_fields}


def _figures(group: Group) -> Figures:
    told = {name: None if group.untold[name] else group.tokens[name] for name in TOKENS}
    timed = bool(group.good) and not group.untold["timestamps"] and group.ended > group.started
    duration_s = group.ended - group.started if timed else None
    spreads = {name: spread(group.times[name]) for name in SPREADS}

    def rate(count: int | None) -> float | None:
        return None if count is None or duration_s is None else count / duration_s

    tokens_in, tokens_out = told["input_tokens"], told["output_tokens"]
    both = None if tokens_in is None or tokens_out is None else tokens_in + tokens_out
    return Figures(
        total_requests=group.requests,
        successful_requests=group.good,
        failed_requests=group.requests - group.good,
        success_rate=group.good / group.requests if group.requests else None,
        started=group.started if math.isfinite(group.started) else None,
        ended=group.ended if math.isfinite(group.ended) else None,
        duration_s=duration_s,
        requests_per_second=rate(group.good),
        input_tokens=tokens_in,
        output_tokens=tokens_out,
        input_tokens_per_second=rate(tokens_in),
        output_tokens_per_second=rate(tokens_out),
        total_tokens_per_second=rate(both),
        errors=dict(group.errors.most_common()),
        missing=tuple(_untold(group)),
        **spreads,
    )


def _untold(group: Group) -> Iterator[str]:
    """What the lines of a group do not tell."""
    if not group.good:
        yield "no request completed: there are no figures" if group.requests else "there are no requests"
        return
    for name, count in group.untold.items():
        if count:
            what = "timestamps, so there are no rates" if name == "timestamps" else name
            yield f"{count} of {group.good} completed requests tell no {what}"
    if not group.untold["timestamps"] and group.ended <= group.started:
        yield "all requests begin and end at one moment, so there are no rates"


def _missing(whole: Group, reader: Reader) -> tuple[str, ...]:
    cut = [f"{reader.name}:{reader.before + 1}: the last line is cut off, and left out"] if reader.truncated else []
    return (*_untold(whole), *cut)
