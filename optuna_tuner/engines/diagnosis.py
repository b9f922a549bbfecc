"""What a server's log means: one table a server, read in the order of its lines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from optuna_tuner.values import Cause, Diagnosis

LONGEST_EVIDENCE = 500
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


@dataclass(frozen=True, slots=True)
class Sign:
    """A pattern that one line shows, and what it means.

    `beside` must be found somewhere in the log too, where the line alone could mean two things. `named_above`: what it
    speaks of stands alone in the line above it, as pydantic writes; each such pair of lines is evidence.
    """

    pattern: re.Pattern[str]
    cause: Cause
    beside: re.Pattern[str] | None = None
    named_above: bool = False

    def evidence(self, lines: Sequence[str]) -> str | None:
        """The line that shows it; None where none does."""
        found = [index for index, line in enumerate(lines) if self.pattern.search(line)]
        if not found or (self.beside and not any(self.beside.search(line) for line in lines)):
            return None
        if self.named_above and found[0]:
            return "; ".join(dict.fromkeys(f"{lines[index - 1]}: {lines[index]}" for index in found))
        return lines[found[0]]


def sign(pattern: str, cause: Cause, beside: str | None = None, *, named_above: bool = False) -> Sign:
    """A sign from the texts of its patterns. `^` is the start of a line without the logger's prefix."""
    return Sign(re.compile(pattern), cause, re.compile(beside) if beside else None, named_above)


COMMON = (
    sign(r"[Aa]ddress already in use|\[Errno 98\]|EADDRINUSE", Cause.PORT_IN_USE),
    sign(
        r"error: (?:unrecognized arguments|argument .*: (?:invalid|expected|not allowed)|"
        r"ambiguous option|the following arguments are required)",
        Cause.BAD_FLAG,
    ),
    sign(r"Out of memory: Killed process|oom-kill|OOMKilled|exceeded memory limit", Cause.OUT_OF_MEMORY_RUNTIME),
    sign(r"429 Client Error|Too Many Requests for url", Cause.MACHINE),
    sign(r"Repository Not Found|is not a valid model identifier|not a local folder and is not", Cause.MACHINE),
    sign(r"No CUDA GPUs are available|CUDA driver version is insufficient|no NVIDIA driver", Cause.MACHINE),
    sign(r"uncorrectable ECC error|CUDA error: unspecified launch failure|fallen off the bus", Cause.MACHINE),
    sign(r"^(?:ModuleNotFoundError|ImportError): |No module named ", Cause.MACHINE),
    sign(r"^(?:OSError: )?\[Errno 28\]|No space left on device", Cause.MACHINE),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """How one engine's log is read: before it was ready, and after.

    The tables are in the order of trust: the first sign that any line shows decides, and the first line that shows it
    is the evidence. Where no sign is shown, the first exception that is no wrapper around another one decides: a
    refusal (ValueError, AssertionError and the like) before the server was ready is a bad combination of flags.
    """

    ready: str  # the line which says that the server answers
    starting: tuple[Sign, ...]
    serving: tuple[Sign, ...] = ()

    def diagnose(self, log: str, exit_code: int | None) -> Diagnosis:
        """The cause and the line that shows it. Never raises; what is not known is CRASHED."""
        lines = [line for line in (PREFIXES.sub("", raw).strip() for raw in log.splitlines()) if line]
        at = next((index for index, line in enumerate(lines) if self.ready in line), None)
        if at is not None:
            served = lines[at:]
            return _shown(self.serving, served) or _shown(COMMON, served) or _unknown(served, exit_code)
        return (
            _shown(self.starting, lines)
            or _shown(COMMON, lines)
            or _refused(lines, exit_code)
            or _unknown(lines, exit_code)
        )


def _shown(signs: Iterable[Sign], lines: Sequence[str]) -> Diagnosis | None:
    for candidate in signs:
        evidence = candidate.evidence(lines)
        if evidence is not None:
            return _diagnosis(candidate.cause, evidence)
    return None


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


def _diagnosis(cause: Cause, evidence: str) -> Diagnosis:
    return Diagnosis(cause=cause, evidence=evidence[:LONGEST_EVIDENCE])
