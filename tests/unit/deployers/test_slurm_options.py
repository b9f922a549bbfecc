"""What a study may say of a cluster, and what is refused with its place in the file."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from optuna_tuner.deployers.slurm_options import SlurmOptions, seconds_of
from optuna_tuner.errors import SpecError
from optuna_tuner.plugins import InstalledKinds
from optuna_tuner.spec.files import load_study

STUDY = """\
name: jobs
model: {name: tiny}
engine: {kind: fake}
benchmark: {kind: http, scenario: "D(8,64)", concurrency: [1]}
space:
  itl_ms: {type: int, low: 1, high: 9}
goals: {objectives: [{metric: output_throughput_tok_s, direction: maximize}]}
limits: {startup_s: 600, benchmark_s: 600}
deployer:
  kind: slurm
"""


def faults(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "s.yaml"
    path.write_text(STUDY + text)
    try:
        load_study(path, InstalledKinds())
    except SpecError as error:
        return [str(fault).removeprefix(f"{path}:") for fault in error.faults]
    return []


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('partition: "--help"', '11:14: deployer.partition: must be names with commas between them; it is "--help"'),
        ('partition: "a;rm -rf"', "11:14: deployer.partition: must be names with commas"),
        ('account: "a\\nb"', "11:12: deployer.account: must be a name of letters, digits and _.:+@-"),
        ('qos: "$(id)"', "11:8: deployer.qos: must be a name of letters"),
        ('gres: "gpu:-1"', "11:9: deployer.gres: must be like gpu:2 or gpu:h100:2"),
        ('gpus_per_node: "0"', "11:18: deployer.gpus_per_node: must be a number of GPUs"),
        ("gpus_per_node: 2", "11:18: deployer.gpus_per_node: must be text, not 2; put it in quotes"),
        ('mem: "lots"', "11:8: deployer.mem: must be a size"),
        ('time: "soon"', "11:9: deployer.time: must be minutes, hours:minutes:seconds or days-hours:minutes:seconds"),
        ('time: "0"', "11:9: deployer.time: must be minutes"),
        ('time: "UNLIMITED"', "11:9: deployer.time: must be minutes"),
        ('constraint: "a b"', "11:15: deployer.constraint: must be features"),
        ('nodelist: "-n1"', "11:13: deployer.nodelist: must be node names"),
        ('exclude: "n1;n2"', "11:12: deployer.exclude: must be node names"),
        ('modules: ["-f x"]', "11:13: deployer.modules[0]: must be the name of a module"),
        ('host: "-oProxyCommand=x"', "11:9: deployer.host: must be HOST or USER@HOST"),
        ('address: "a b"', "11:12: deployer.address: must be a host name"),
        ('folder: "/a/%j"', "11:11: deployer.folder: must be a path"),
        ('folder: "/a\\n/b"', "11:11: deployer.folder: must be a path"),
        ("inherit_env: [A=B]", "11:17: deployer.inherit_env[0]: must be the name of an environment variable"),
        ("tunnel: [ssh, '{port}']", "11:11: deployer.tunnel: must say where it leads: {node_port} is not in it"),
        ("ports: [3000, 2000]", "11:10: deployer.ports: the lowest port comes first"),
        ("poll_s: 0.1", "11:11: deployer.poll_s: must be at least 1, not 0.1"),
        ("apptainer: {binds: ['a,b']}", "11:23: deployer.apptainer.binds[0]: must be SOURCE"),
    ],
)
def test_what_slurm_would_take_for_something_else_is_refused(tmp_path: Path, line: str, fault: str) -> None:
    assert [each[: len(fault)] for each in faults(tmp_path, f"  {line}\n")][:1] == [fault]


def test_a_container_needs_an_image_from_somewhere(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, "  apptainer: {}\n")
    assert fault == "11:14: deployer.apptainer: the container has no image: add image here, or to the engine"
    assert faults(tmp_path, "  apptainer: {image: a.sif}\n") == []


def test_a_trial_must_fit_into_its_job(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, '  time: "20"\n')
    assert fault.startswith("11:9: deployer.time: a job ends after 1200 s, and the study's limits give a trial 1560 s")
    assert faults(tmp_path, '  time: "26"\n') == []


def test_gpus_are_said_once() -> None:
    with pytest.raises(ValidationError, match="say the same; keep one of them"):
        SlurmOptions(gres="gpu:2", gpus_per_node="2")
    assert SlurmOptions(gres="shard:2", gpus_per_node="h100:4").gpus == 4


@pytest.mark.parametrize(
    ("gres", "count"),
    [("gpu", 1), ("gpu:2", 2), ("gpu:h100:4", 4), ("gpu:h100", 1), ("gpu:a:1,gpu:b:2", 3), ("x:9", 0)],
)
def test_a_slot_has_as_many_gpus_as_a_job(gres: str, count: int) -> None:
    assert SlurmOptions(gres=gres).gpus == count


@pytest.mark.parametrize(
    ("time", "seconds"),
    [("90", 5400), ("1:30", 90), ("02:00:00", 7200), ("1-0", 86400), ("1-02:30", 95400), ("2-00:00:01", 172801)],
)
def test_times_are_read_as_sbatch_reads_them(time: str, seconds: int) -> None:
    assert seconds_of(time) == seconds


@pytest.mark.parametrize("time", ["", "a", "1:2:3:4", "-1", "1-", "1.5", "1 2"])
def test_what_is_no_time_is_none(time: str) -> None:
    assert seconds_of(time) is None
