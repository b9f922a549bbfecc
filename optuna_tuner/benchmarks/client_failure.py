"""Whose fault it is that a load client left no report."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from optuna_tuner.benchmarks import probes
from optuna_tuner.benchmarks.client_process import tail
from optuna_tuner.client_site import LoadClient
from optuna_tuner.clock import Deadline
from optuna_tuner.contracts import Target
from optuna_tuner.errors import BenchmarkError, DegradedError
from optuna_tuner.values import Load

_ERROR = re.compile(r"^(?:[\w.]*(?:Error|Exception)): .*$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A level without a report.

    Attributes:
        load, name, client: which level of which client.
        completed: requests, as far as the client told.
        late: whether the deadline ended it; else it ended by itself.
        said: what it told, in which the last error is looked for.

    """

    load: Load
    name: str
    client: LoadClient
    completed: int
    late: bool
    said: str

    def error(self, target: Target, deadline: Deadline) -> Exception:
        """DegradedError where the server is too slow, or fails one small request; else BenchmarkError."""
        what = "was not done in time" if self.late else f"ended with code {self.client.exit_code} and no report"
        story = f"{self.load}: {self.name} {what} ({self.completed} requests completed)"
        if self.late and self.completed:
            return DegradedError(f"{story}: the server is too slow for the limit")
        if wrong := probes.probe(target, deadline):
            return DegradedError(f"{story}; the server does not answer as it should: {wrong}")
        return BenchmarkError(f"{story}{self._reason(target)}", log_tail=tail(self.client))

    def _reason(self, target: Target) -> str:
        """The last error that it told, and the most frequent reason of all."""
        told, tokenizer = _ERROR.findall(self.said), target.model.tokenizer
        known = target.site is not None or Path(tokenizer).is_dir()
        absent = "" if known else f'; its tokenizer "{tokenizer}" is no folder on this machine'
        return f"{': ' + told[-1] if told else ''}{absent}"
