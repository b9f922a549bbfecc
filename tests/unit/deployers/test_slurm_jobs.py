"""What Slurm says of a job, and whose fault it is."""

import pytest

from optuna_tuner.deployers.slurm_jobs import Job, job_of, job_of_accounting
from optuna_tuner.deployers.slurm_script import Served, said_by_apptainer, said_by_server, served
from optuna_tuner.values import Cause, Status

SHOWN = (
    "JobId=10 JobName=x UserId=root(0) QOS=(null) JobState={state} Reason={reason} Requeue=0 ExitCode={code} "
    "RunTime=00:00:05 BatchHost=n1 Comment=optuna-tuner?attempt=a JobState=RUNNING StdOut=/x.log"
)


def job(state: str, code: str = "0:0", reason: str = "None") -> Job:
    found = job_of(SHOWN.format(state=state, code=code, reason=reason))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("state", "code", "reason", "status", "exit_code"),
    [
        ("PENDING", "0:0", "Resources", Status.QUEUED, None),
        ("CONFIGURING", "0:0", "None", Status.QUEUED, None),
        ("RUNNING", "0:0", "None", Status.RUNNING, None),
        ("COMPLETED", "0:0", "None", Status.EXITED, 0),
        ("FAILED", "3:0", "NonZeroExitCode", Status.EXITED, 3),
        ("FAILED", "0:9", "JobLaunchFailure", Status.EXITED, -9),
        ("FAILED", "0:53", "None", Status.LOST, None),
        ("OUT_OF_MEMORY", "0:125", "OutOfMemory", Status.EXITED, 137),
        ("TIMEOUT", "0:0", "TimeLimit", Status.LOST, None),
        ("PREEMPTED", "0:0", "None", Status.LOST, None),
        ("NODE_FAIL", "0:0", "NodeDown", Status.LOST, None),
        ("BOOT_FAIL", "0:0", "None", Status.LOST, None),
        ("CANCELLED", "0:15", "None", Status.LOST, None),
        ("SUSPENDED", "0:0", "None", Status.LOST, None),
        ("COMPLETING", "3:0", "NonZeroExitCode", Status.EXITED, 3),
        ("COMPLETING", "0:0", "NodeDown", Status.LOST, None),
        ("COMPLETING", "0:0", "None", Status.RUNNING, None),
        ("SOMETHING_NEW", "0:0", "None", Status.LOST, None),
    ],
)
def test_each_state_is_the_configurations_fault_or_the_machines(
    state: str, code: str, reason: str, status: Status, exit_code: int | None
) -> None:
    meant = job(state, code, reason).meaning(began=status is not Status.QUEUED)
    assert (meant.status, meant.exit_code) == (status, exit_code)


@pytest.mark.parametrize(
    ("state", "reason", "has_run"),
    [
        ("RUNNING", "None", False),
        ("COMPLETING", "None", False),
        ("COMPLETING", "NonZeroExitCode", True),
        ("FAILED", "NonZeroExitCode", True),
    ],
)
def test_the_log_is_whole_once_the_script_has_run(state: str, reason: str, *, has_run: bool) -> None:
    assert job(state, "1:0", reason).has_run is has_run


def test_what_ends_before_the_server_began_is_no_fault_of_its_flags() -> None:
    meant = job("FAILED", "127:0", "NonZeroExitCode").meaning(began=False)
    assert (meant.status, meant.exit_code) == (Status.LOST, None)
    assert meant.detail == "job 10 is FAILED (NonZeroExitCode): it ended before the server was started"


def test_a_server_that_was_heard_of_waits_no_more() -> None:
    assert job("PENDING").meaning(began=True).status is Status.RUNNING


def test_memory_of_the_job_is_told_from_memory_of_the_gpu() -> None:
    known = job("OUT_OF_MEMORY", "0:125").meaning(began=True).diagnosis
    assert known is not None
    assert (known.cause, known.exact_advice) == (
        Cause.OUT_OF_MEMORY_RUNTIME,
        "The job's memory ran out, not the GPU's: raise deployer.mem.",
    )


@pytest.mark.parametrize(("reason", "never"), [("PartitionTimeLimit", True), ("InvalidQOS", True), ("Priority", False)])
def test_some_reasons_to_wait_do_not_pass(reason: str, *, never: bool) -> None:
    assert job("PENDING", reason=reason).never_begins is never
    assert not job("RUNNING", reason=reason).never_begins


@pytest.mark.parametrize("text", ["", "slurm_load_jobs error: Invalid job id specified", "JobId=1"])
def test_what_tells_of_no_job_is_none(text: str) -> None:
    assert job_of(text) is None


def test_accounting_remembers_what_the_controller_forgot() -> None:
    assert job_of_accounting("7", "CANCELLED by 1000|0:15\n") == Job(id="7", state="CANCELLED", signal=15)
    assert job_of_accounting("7", "FAILED|3:0\n") == Job(id="7", state="FAILED", exit_code=3)
    assert job_of_accounting("7", "\n") is None


def test_the_scripts_own_line_tells_the_place_and_is_not_the_servers() -> None:
    log = "loading cuda/12.4\noptuna-tuner: serves on n1:21000\nready\noptuna-tuner: serves on n2:1\n"
    assert served(log) == Served(node="n1", port=21000)
    assert said_by_server(log) == "loading cuda/12.4\nready\noptuna-tuner: serves on n2:1\n"
    assert served("optuna-tuner: serves on n1:") is None


@pytest.mark.parametrize(
    ("log", "refused"),
    [
        (
            'WARNING: skipping\nFATAL:   "vllm": executable file not found in $PATH\n',
            '"vllm": executable file not found in $PATH',
        ),
        ("\x1b[91mERROR  : Requesting capability set\n\x1b[0m", "Requesting capability set"),
        ("FATAL:   could not open image\nINFO: the server began all the same\n", None),
        ("Traceback\nFATAL: CUDA is out of memory\n", None),
        ("", None),
    ],
)
def test_what_apptainer_itself_refuses_is_told_from_the_servers_words(log: str, refused: str | None) -> None:
    assert said_by_apptainer(log) == refused
