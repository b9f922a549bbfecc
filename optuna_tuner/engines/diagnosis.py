"""What a server's log means: the signs of its engine, read in the order of trust."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from optuna_tuner.engines.known_causes import Phase, Sign, SignBook, sign_book
from optuna_tuner.values import Cause, Diagnosis

LONGEST = 500  # characters of evidence, and of advice
PREFIXES = re.compile(
    r"^(?:"
    r"\x1b\[[0-9;]*m"  # colour
    r"|\([\w-]+ (?:pid|rank)=\d+\) ?"  # vLLM: (EngineCore pid=12)
    r"|(?:DEBUG|INFO|WARNING|ERROR|CRITICAL):? \d\d-\d\d \d\d:\d\d:\d\d \[[\w.]+:\d+\] ?"  # vLLM's logger
    r"|\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[^\]]*\] ?"  # SGLang's logger, with its ranks
    r"|\d+\.\d\d\.\d{3}\.\d{3} [A-Z] "  # llama.cpp's logger
    r")+"
)
RAISED = re.compile(r"^(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*(?:Error|Exception|Interrupt): ?\S")
WRAPPERS = re.compile(
    r"Engine core initialization failed|Worker failed with error|EngineCore encountered an issue"
    r"|EngineDeadError|WorkerProc initialization failed|Engine process failed to start|Rank \d+ scheduler"
)
REFUSALS = re.compile(r"^(?:[A-Za-z_]\w*\.)*(?:ValueError|AssertionError|NotImplementedError|ValidationError): ?")


def diagnosed(engine: str, log: str, exit_code: int | None) -> Diagnosis:
    """The cause, the line that shows it, and what to do. Never raises; what is not known is CRASHED.

    The first sign that any line shows decides. Where no sign is shown, the first exception that is no wrapper around
    another one decides: a refusal (ValueError, AssertionError and the like) before the server was ready is a bad
    combination of flags.
    """
    if known := by_sign(engine, log):
        return known[1]
    phase, lines = _read(sign_book(engine), log)
    refused = _refused(lines, exit_code) if phase is Phase.STARTING else None
    return refused or _unknown(lines, exit_code)


def by_sign(engine: str, log: str) -> tuple[Sign, Diagnosis] | None:
    """The sign that decides, and what it makes of the log; None where no sign is shown."""
    phase, lines = _read(sign_book(engine), log)
    found = ((sign, _shown(sign, lines)) for sign in sign_book(engine).of(phase))
    return next(((sign, shown) for sign, shown in found if shown), None)


def retractions(engine: str, log: str) -> int:
    """How many requests lost their place in the KV cache, as far as the log tells. At least so many."""
    pressure = sign_book(engine).pressure
    if pressure is None:
        return 0
    told: Counter[tuple[str | None, str | None]] = Counter()
    for found in filter(None, map(pressure.pattern.search, log.splitlines())):
        groups = found.groupdict()
        told[groups.get("engine"), groups.get("rank")] += int(groups["count"])
    engines = {each for each, _ in told}
    return sum(max(count for (each, _), count in told.items() if each == one) for one in engines)


def _shown(sign: Sign, lines: Sequence[str]) -> Diagnosis | None:
    """What a sign makes of a log: the first line that shows it is the evidence. None where no line does."""
    places = [index for index, line in enumerate(lines) if sign.pattern.search(line)]
    if not places or (sign.near and not any(sign.near.search(line) for line in lines)):
        return None
    evidence = first = lines[places[0]]
    if sign.named_above and places[0]:
        evidence = "; ".join(dict.fromkeys(f"{lines[index - 1]}: {lines[index]}" for index in places))
    return _diagnosis(sign.cause, evidence, sign.exact_advice(first))


def _read(book: SignBook, log: str) -> tuple[Phase, Sequence[str]]:
    """How far the server came, and what it logged in that phase, without the loggers' prefixes."""
    lines = [line for line in (PREFIXES.sub("", raw).strip() for raw in log.splitlines()) if line]
    at = next((index for index, line in enumerate(lines) if book.ready in line), None)
    return (Phase.STARTING, lines) if at is None else (Phase.SERVING, lines[at:])


def _refused(lines: Sequence[str], exit_code: int | None) -> Diagnosis | None:
    if exit_code == 2 and any(line.startswith("usage:") for line in lines):  # noqa: PLR2004  argparse's code
        return _diagnosis(Cause.BAD_FLAG, lines[-1])
    raised = _raised(lines)
    return _diagnosis(Cause.BAD_COMBINATION, raised) if raised and REFUSALS.search(raised) else None


def _raised(lines: Sequence[str]) -> str | None:
    return next((line for line in lines if RAISED.search(line) and not WRAPPERS.search(line)), None)


def _unknown(lines: Sequence[str], exit_code: int | None) -> Diagnosis:
    end = "ended without a word" if exit_code is None else f"ended with exit code {exit_code}"
    return _diagnosis(Cause.CRASHED, _raised(lines) or (f"{end}: {lines[-1]}" if lines else end))


def _diagnosis(cause: Cause, evidence: str, exact_advice: str = "") -> Diagnosis:
    return Diagnosis(cause=cause, evidence=evidence[:LONGEST], exact_advice=exact_advice[:LONGEST])
