"""Every error that this package raises on purpose.

TunerError
├─ SpecError                 the file is wrong; all faults at once
│  └─ UnknownPluginError     names the known ones
├─ NotFoundError             study, trial or worker
├─ ConflictError             name taken; same name, other spec
├─ ExportError               nothing to take home, or a format cannot say it
├─ BundleError               a bundle or its requests cannot be read, or would overwrite something
├─ StoreError                the database said no
├─ DeclaredDeadError         a worker was not heard of for too long; another one may be started
├─ EnvironmentFaultError     something is missing on this machine; says how to get it
├─ CatalogError              an engine's flags cannot be read from what was given
├─ StoppedError              somebody asked this trial to end; nobody's fault
└─ TrialError                one trial; never ends the study; has .diagnosis and .log_tail
   ├─ InfeasibleError        the configuration's fault: told PRUNED, the sampler learns
   │  ├─ RejectedError       known bad before any deployment
   │  ├─ ServerCrashedError  exited before or while it was measured
   │  ├─ NotReadyError       alive, silent, out of time
   │  ├─ DegradedError       answers, but fails a share of requests above the limit
   │  └─ DriftedError        answers otherwise than the engine's default, by more than the study allows
   └─ InfrastructureError    the machine's fault: told FAIL, tried again
      ├─ DeployerError       the server could not be started, or its node is gone
      └─ BenchmarkError      the client could not run, or its report cannot be believed
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from optuna_tuner.values import Cause, Diagnosis


class TunerError(Exception):
    """Root of all errors here. Its text is written for the user; `exit_code` is what the command line returns."""

    exit_code: ClassVar[int] = 1


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing that is wrong in a user's file. Lines and columns count from 1; 0 is "unknown"."""

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return ": ".join(part for part in (place, self.path, self.message) if part)


class SpecError(TunerError):
    """What the user wrote is wrong. Holds every fault, in the order of the file."""

    exit_code = 2

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(sorted(faults))
        super().__init__("\n".join(str(fault) for fault in self.faults))


class UnknownPluginError(SpecError):
    """A kind that no installed plugin provides."""


class NotFoundError(TunerError):
    """No such study, trial or worker."""

    exit_code = 2


class ConflictError(TunerError):
    """The name is taken by something else."""

    exit_code = 2


class ExportError(TunerError):
    """There is nothing to take home, or this format cannot say it. The text says what to do instead."""

    exit_code = 2


class BundleError(TunerError):
    """A bundle, or a file of requests, cannot be read or written. The text names file and line."""

    exit_code = 2


class StoreError(TunerError):
    """The database cannot be used as asked."""

    exit_code = 4


class DeclaredDeadError(TunerError):
    """The worker was not heard of for too long, and was taken for dead: by others, or by itself."""

    exit_code = 3


class EnvironmentFaultError(TunerError):
    """Something that the task needs is missing on this machine. The text says how to get it."""

    exit_code = 4


class CatalogError(TunerError):
    """A wheel, image or command does not tell its flags in a way that is understood. Nothing was written."""

    exit_code = 4


class StoppedError(TunerError):
    """Somebody asked the running trial to end. It says nothing about the configuration."""

    exit_code = 130


class TrialError(TunerError):
    """One trial went wrong; the study goes on."""

    default_cause: ClassVar[Cause] = Cause.CRASHED

    def __init__(self, reason: str, *, diagnosis: Diagnosis | None = None, log_tail: str = "") -> None:
        self.diagnosis = diagnosis or Diagnosis(cause=self.default_cause, evidence=reason)
        self.log_tail = log_tail
        super().__init__(reason)

    @property
    def cause(self) -> Cause:
        """Why it failed, in the one vocabulary."""
        return self.diagnosis.cause


class InfeasibleError(TrialError):
    """The configuration's fault."""


class RejectedError(InfeasibleError):
    """Known to be bad before anything was started."""

    default_cause = Cause.REJECTED


class ServerCrashedError(InfeasibleError):
    """The server ended by itself."""


class NotReadyError(InfeasibleError):
    """The server lives but did not answer in time."""

    default_cause = Cause.NOT_READY


class DegradedError(InfeasibleError):
    """The server answers, but too many requests fail."""

    default_cause = Cause.DEGRADED


class DriftedError(InfeasibleError):
    """Its answers differ from those of the engine's default by more than the study allows."""

    default_cause = Cause.QUALITY


class InfrastructureError(TrialError):
    """The machine's fault."""

    default_cause = Cause.MACHINE


class DeployerError(InfrastructureError):
    """The deployer could not do what was asked, or the node is gone."""

    default_cause = Cause.DEPLOYER_FAILED


class BenchmarkError(InfrastructureError):
    """The load client could not run, or its report cannot be believed."""

    default_cause = Cause.BENCHMARK_FAILED
