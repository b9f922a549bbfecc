"""The commands of Slurm, run here or by ssh on a login node, and the folder that login node and compute nodes share.

Its controller is never asked more often than every `poll_s` seconds about one job.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from optuna_tuner.deployers.slurm_jobs import Job, job_of, job_of_accounting
from optuna_tuner.deployers.slurm_options import SlurmOptions
from optuna_tuner.deployers.slurm_request import JobRequest, command, labels_of, over_ssh, secrets_of
from optuna_tuner.deployers.slurm_script import LOG, TICKET
from optuna_tuner.errors import DeployerError

_COMMAND_S = 60.0
_GONE = "Invalid job id"
_MIB = 1 << 20
# Fixed scripts for a plain shell, which takes what is asked of it as arguments.
_WRITE_ONCE = 'mkdir -p -- "$1" && cd -- "$1" && set -C && cat > "$2"'
_READ_TICKETS = 'cd -- "$1" 2>/dev/null || exit 0; for each in *"$2"; do [ -e "$each" ] && cat -- "$each"; done; exit 0'
_READ_LOG = """\
cd -- "$1" 2>/dev/null && [ -e "$2" ] || exit 0
head -c "$3" -- "$2"; tail -c "+$(($3 + 1))" -- "$2" | tail -c "$4"
"""
_REMOVE = 'cd -- "$1" 2>/dev/null || exit 0; rm -f -- "$2" "$3"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """What lies in the shared folder while a server is wanted, whether or not Slurm has heard of it."""

    name: str
    model: str
    labels: Mapping[str, str]


class Cluster:
    """A cluster as one study reaches it. Every method may raise DeployerError."""

    def __init__(self, options: SlurmOptions) -> None:
        self._options = options

    def submit(self, body: JobRequest, *, only_test: bool = False) -> str:
        """Submit the job, or only ask whether it would be taken; its number, which is then empty."""
        secrets = secrets_of(body)
        script = body.stdin.replace("\n", "\n#SBATCH --test-only\n", 1) if only_test else body.stdin
        if self._options.host is None:
            return self._run(body.argv, script, secrets).strip().partition(";")[0]
        lines = "".join(f"{name}={value}\n" for name, value in secrets.items())
        return self._run(body.argv, f"{lines}\n{script}" if secrets else script).strip().partition(";")[0]

    def job(self, job_id: str) -> Job | None:
        """What is known of a job; None where it is not known any more."""
        try:
            return job_of(self._slurm("scontrol", "--oneliner", "show", "job", job_id))
        except DeployerError as error:
            if _GONE not in str(error):
                raise
            return self._remembered(job_id)

    def _remembered(self, job_id: str) -> Job | None:
        """By accounting, where the cluster keeps any."""
        fields = ["--noheader", "--parsable2", "--allocations", "--format=State,ExitCode"]
        try:
            return job_of_accounting(job_id, self._slurm("sacct", *fields, f"--jobs={job_id}"))
        except DeployerError:
            return None

    def jobs(self, name: str | None = None) -> Sequence[tuple[Job, str, Mapping[str, str]]]:
        """Our user's jobs that have not ended, of this name or of any, each with its name and its labels."""
        named = [f"--name={name}"] if name else []
        shown = self._slurm("squeue", "--me", "--noheader", "--states=all", "--format=%i|%T|%k|%j", *named)
        found = []
        for line in shown.splitlines():
            job_id, state, comment, job_name = (*line.split("|", 3), "", "", "")[:4]
            job, labels = Job(id=job_id, state=state), labels_of(comment)
            if labels is not None and not job.has_ended:
                found.append((job, job_name, labels))
        return found

    def cancel(self, jobs: Iterable[Job], *how: str) -> None:
        """Tell them to end. What has ended meanwhile is none to complain of; who waits for their end sees it."""
        ids = [job.id for job in jobs]
        if ids:
            self._run(command("scancel", "--quiet", *how, *ids, options=self._options), check=False)

    def answers(self) -> str:
        """What the controller says of itself."""
        return self._slurm("scontrol", "ping").strip()

    def write_ticket(self, ticket: Ticket) -> None:
        """Lay it into the folder. Raises DeployerError where one of this name lies there."""
        text = json.dumps({"name": ticket.name, "model": ticket.model, "labels": dict(ticket.labels)})
        self._shell(_WRITE_ONCE, self._options.folder, ticket.name + TICKET, stdin=text + "\n")

    def tickets(self) -> Sequence[Ticket]:
        """All that lie in the folder; one that is just being written is none so far."""
        found = []
        for line in self._shell(_READ_TICKETS, self._options.folder, TICKET).splitlines():
            try:
                found.append(Ticket(**json.loads(line)))
            except (ValueError, TypeError):
                continue
        return found

    def remove(self, name: str, *, log: bool) -> None:
        """Take the ticket out of the folder, and with `log` what the server wrote."""
        self._shell(_REMOVE, self._options.folder, name + TICKET, name + (LOG if log else TICKET))

    def log(self, name: str) -> str:
        """The beginning and the end of what a job wrote so far."""
        first = self._options.max_log_mb * _MIB // 5
        last = self._options.max_log_mb * _MIB - first
        return self._shell(_READ_LOG, self._options.folder, name + LOG, str(first), str(last))

    def _shell(self, script: str, *arguments: str, stdin: str = "") -> str:
        return self._run(over_ssh(["sh", "-c", script, "sh", *arguments], self._options), stdin)

    def _slurm(self, program: str, *arguments: str) -> str:
        return self._run(command(program, *arguments, options=self._options))

    def _run(
        self, argv: Sequence[str], stdin: str = "", env: Mapping[str, str] | None = None, *, check: bool = True
    ) -> str:
        """Run it in the home folder, as ssh does; what it wrote on standard output."""
        try:
            ran = subprocess.run(  # noqa: S603  an argument list, no shell of ours
                argv,
                input=stdin.encode(),
                env={**os.environ, **(env or {})},
                cwd=Path.home(),
                capture_output=True,
                timeout=_COMMAND_S,
                check=False,
            )
        except FileNotFoundError:
            hint = "run on a machine where Slurm's commands are, or name one as deployer.host"
            raise DeployerError(f"{argv[0]} is not on this machine: {hint}") from None
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DeployerError(f"{argv[0]} cannot be run: {error}") from error
        if check and ran.returncode:
            said = " ".join(ran.stderr.decode(errors="replace").split())
            raise DeployerError(f"{Path(argv[0]).name} failed ({ran.returncode}): {said}")
        return ran.stdout.decode(errors="replace")
