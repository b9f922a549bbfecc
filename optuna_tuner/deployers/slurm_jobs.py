"""What Slurm says of a job, and what that means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from optuna_tuner.values import Cause, Diagnosis, State, Status

ENDED = frozenset(
    {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"}
    | {"REVOKED", "TIMEOUT"}
)
# https://slurm.schedmd.com/squeue.html, "JOB STATE CODES". EXITED asks the engine what the log means; LOST is the
# machine's fault. A suspended server lives, but no figure of it would be true.
_STATUS: Mapping[str, tuple[Status, str]] = {
    "PENDING": (Status.QUEUED, "it waits for a node"),
    "CONFIGURING": (Status.QUEUED, "its node is being made ready"),
    "RUNNING": (Status.RUNNING, ""),
    "SIGNALING": (Status.RUNNING, ""),
    "STAGE_OUT": (Status.RUNNING, ""),
    "RESIZING": (Status.RUNNING, ""),
    "COMPLETED": (Status.EXITED, "it ended by itself"),
    "FAILED": (Status.EXITED, "it ended by itself"),
    "OUT_OF_MEMORY": (Status.EXITED, "it used more memory than its job has"),
    "BOOT_FAIL": (Status.LOST, "its node could not be booted"),
    "CANCELLED": (Status.LOST, "somebody cancelled it"),
    "DEADLINE": (Status.LOST, "its deadline has passed"),
    "NODE_FAIL": (Status.LOST, "its node is down"),
    "PREEMPTED": (Status.LOST, "another job took its place"),
    "REQUEUED": (Status.LOST, "somebody put it back into the queue"),
    "REQUEUE_FED": (Status.LOST, "somebody put it back into the queue"),
    "REQUEUE_HOLD": (Status.LOST, "somebody put it back into the queue"),
    "REVOKED": (Status.LOST, "another cluster took it"),
    "SPECIAL_EXIT": (Status.LOST, "it is held"),
    "STOPPED": (Status.LOST, "somebody stopped it, and its figures would be wrong"),
    "SUSPENDED": (Status.LOST, "somebody suspended it, and its figures would be wrong"),
    "TIMEOUT": (Status.LOST, "its time is over: raise deployer.time, or lower the study's limits"),
}
# What a job is that is just being cleaned up; Slurm then tells of its end by the reason alone.
_COMPLETING: Mapping[str, str] = {
    "NonZeroExitCode": "FAILED",
    "OutOfMemory": "OUT_OF_MEMORY",
    "NodeDown": "NODE_FAIL",
    "TimeLimit": "TIMEOUT",
}
# Reasons to wait that do not pass: without another study file or another cluster it never begins.
_FOR_EVER = frozenset(
    {"AccountNotAllowed", "BadConstraints", "InvalidAccount", "InvalidQOS", "PartitionNodeLimit", "PartitionTimeLimit"}
    | {"QOSNotAllowed"}
)
_MORE_MEMORY = "The job's memory ran out, not the GPU's: raise deployer.mem."
_LAST_SIGNAL = 64  # what lies above, and 53, are Slurm's own: it could not run the job
_NO_OUTPUT = 53


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job as Slurm tells of it. `signal` is that which ended it, 0 for none."""

    id: str
    state: str
    reason: str = ""
    exit_code: int = 0
    signal: int = 0
    node: str = ""

    @property
    def never_begins(self) -> bool:
        """Whether it waits for what will not come."""
        return self.state == "PENDING" and self.reason in _FOR_EVER

    @property
    def has_ended(self) -> bool:
        """Whether nothing of it is left, as far as Slurm knows."""
        return self.state in ENDED

    @property
    def has_run(self) -> bool:
        """Whether its script has ended, and says no more; Slurm may still be cleaning up."""
        return self._outcome in ENDED

    @property
    def _outcome(self) -> str:
        return _COMPLETING.get(self.reason, "RUNNING") if self.state == "COMPLETING" else self.state

    def meaning(self, *, began: bool) -> State:
        """What it says of the server; `began`: the script came as far as to the server."""
        state = self._outcome
        status, words = _STATUS.get(state, (Status.LOST, "its state is not known here"))
        told = f"job {self.id} is {self.state}" + (f" ({self.reason})" if self.reason not in {"", "None"} else "")
        if status is Status.EXITED and state != "OUT_OF_MEMORY" and not (began and self._by_itself):
            return State(status=Status.LOST, detail=f"{told}: it ended before the server was started")
        if status is Status.QUEUED and began:  # Slurm was asked a moment ago; the server is newer
            return State(status=Status.RUNNING, detail=told)
        detail = f"{told}: {words}" if words else told
        if status is not Status.EXITED:
            return State(status=status, detail=detail)
        killed = Diagnosis(cause=Cause.OUT_OF_MEMORY_RUNTIME, evidence=detail, exact_advice=_MORE_MEMORY)
        known = killed if state == "OUT_OF_MEMORY" else None
        return State(status=status, exit_code=self._code, detail=detail, diagnosis=known)

    @property
    def _by_itself(self) -> bool:
        return self.signal <= _LAST_SIGNAL and self.signal != _NO_OUTPUT

    @property
    def _code(self) -> int:
        """The exit code, or minus the number of the signal that killed it."""
        return -self.signal if 0 < self.signal <= _LAST_SIGNAL else self.exit_code or (137 if self.signal else 0)


def job_of(shown: str) -> Job | None:
    """From `scontrol --oneliner show job`; None for anything else."""
    fields: dict[str, str] = {}
    for name, value in re.findall(r"(?:^|\s)(\w+)=(\S*)", shown):
        fields.setdefault(name, value)  # the first: what comes later may be a user's text
    if "JobState" not in fields:
        return None
    code, _, signal = fields.get("ExitCode", "0:0").partition(":")
    return Job(
        id=fields["JobId"],
        state=fields["JobState"],
        reason=fields.get("Reason", ""),
        exit_code=_number(code),
        signal=_number(signal),
        node=fields.get("BatchHost", ""),
    )


def job_of_accounting(job_id: str, line: str) -> Job | None:
    """From `sacct --parsable2 --format=State,ExitCode`; None for anything else."""
    state, _, codes = line.strip().partition("|")
    code, _, signal = codes.partition(":")
    word = state.split(" ", 1)[0]  # "CANCELLED by 1000"
    return Job(id=job_id, state=word, exit_code=_number(code), signal=_number(signal)) if word in _STATUS else None


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0
