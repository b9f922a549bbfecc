"""Workers on fake GPUs, and on machines whose disk is full or whose servers never fall silent: no result is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import ClassVar

import fake_gpus
import pytest
import yaml
from fake_gpus import Host

from optuna_tuner import Tuner, home
from optuna_tuner.clock import Deadline, now, poll
from optuna_tuner.contracts import Kinds, Plugin
from optuna_tuner.deployers.local import Local
from optuna_tuner.errors import EnvironmentFaultError, RejectedError
from optuna_tuner.plugins import InstalledKinds
from optuna_tuner.results.trials import TrialState, TrialView
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store.records import ResourceState
from optuna_tuner.store.store import Store
from optuna_tuner.testing.fake_process import fake_server
from optuna_tuner.tuning import gpus
from optuna_tuner.tuning.nvml import session
from optuna_tuner.tuning.process import work
from optuna_tuner.tuning.slots import holding_free
from optuna_tuner.tuning.study import create_or_resume
from optuna_tuner.tuning.surroundings import surroundings
from optuna_tuner.tuning.trial import reject_known_bad
from optuna_tuner.tuning.worker import Worker
from optuna_tuner.values import Cause, Endpoint, Handle, Params, Request

PATIENCE_S = 60.0
GPU = "GPU-fake-0"
MATERIAL = Path(__file__).parents[1] / "material"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return fake_gpus.host(tmp_path / "gpus", monkeypatch, 1)


@pytest.fixture
def tuner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tuner]:
    monkeypatch.setenv(home.HOME_VARIABLE, str(tmp_path / "home"))
    monkeypatch.delenv(home.STORAGE_VARIABLE, raising=False)
    front = Tuner()
    yield front
    front.close()


def study(
    trials: int = 1, limits: Mapping[str, float] | None = None, requests: int = 4, **flags: float | str
) -> StudySpec:
    return StudySpec.model_validate(
        {
            "name": "study",
            "model": {"name": "tiny"},
            "engine": {"kind": "fake", "flags": {"ttft_ms": 5, **flags}},
            "benchmark": {"kind": "http", "scenario": "D(8,16)", "concurrency": [1], "requests": requests},
            "space": {"itl_ms": {"type": "float", "low": 1.0, "high": 9.0}},
            "goals": {"objectives": [{"metric": "output_throughput_tok_s", "direction": "maximize"}]},
            "budget": {"trials": trials},
            "limits": {"tries": 1, **(limits or {})},
        }
    )


@contextmanager
def worker(tuner: Tuner, spec: StudySpec, kinds: Kinds | None = None) -> Iterator[Worker]:
    """A worker of this process, on the first slot."""
    record = create_or_resume(tuner._store, spec)
    with holding_free() as slot:
        yield work(tuner._store, record.id, slot, kinds or InstalledKinds())


def users() -> tuple[int, ...]:
    with session() as nvml:
        assert nvml is not None
        return nvml.look(GPU).pids


def the_trial(tuner: Tuner) -> TrialView:
    (trial,) = tuner.trials("study")
    return trial


def open_rows(store: Store) -> list[ResourceState]:
    return [resource.state for resource in store.ledger.open_all()]


def test_a_server_holds_its_gpu_while_it_lives(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", GPU)
    with fake_server():
        assert len(users()) == 1
        with pytest.raises(RuntimeError, match="did not start"), fake_server():
            pytest.fail("two servers on one GPU")
    assert host.uuids


def test_a_study_runs_on_fake_gpus_tells_of_them_and_gives_them_back(host: Host, tuner: Tuner, tmp_path: Path) -> None:
    surroundings.cache_clear()  # another test's GPU may have been ill
    with worker(tuner, study(2, {"watch_every_s": 0.05}, requests=32)) as mine:
        assert mine._setting.slot.gpus == host.uuids
        assert mine.run() == 2
        assert users() == ()
    trials = tuner.trials("study")
    assert {trial.state for trial in trials} == {TrialState.FEASIBLE}
    assert {level.seen["gpu_power_w.mean"] for trial in trials for level in trial.measurements if level.seen} == {640.0}
    (run,) = tuner.bundle("study", tmp_path / "bundle", 0)
    assert run.place.machine["driver"] == "0.0"
    assert run.place.machine["gpus"] == [{"uuid": GPU, "name": "Fake GPU", "memory_mib": 81920}]
    assert open_rows(tuner._store) == []
    assert gpus.quarantined() == {}


def test_a_gpu_that_does_not_come_back_ends_its_worker_and_loses_no_result(
    host: Host, tuner: Tuner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "BACK_S", 0.5)
    with worker(tuner, study(2)) as mine:
        watch = Thread(target=sicken, args=(host,))
        watch.start()
        with pytest.raises(EnvironmentFaultError, match=f"{GPU} is in quarantine .* did not come back"):
            mine.run()
        watch.join()
    assert the_trial(tuner).state is TrialState.FEASIBLE
    assert open_rows(tuner._store) == [ResourceState.CREATED]
    with pytest.raises(EnvironmentFaultError, match="in quarantine"), holding_free():
        pytest.fail("an ill GPU was taken")
    (host.folder / f"{GPU}.stuck").unlink()
    with worker(tuner, study(2)) as mine:
        assert mine.run() == 1
    assert open_rows(tuner._store) == []
    assert gpus.quarantined() == {}


def sicken(host: Host) -> None:
    """As soon as a server uses it."""
    assert poll(lambda: users() or None, Deadline.after(PATIENCE_S), 0.02)
    host.ill(GPU, "stuck")


def test_a_foreign_process_that_comes_between_two_trials_is_named(host: Host, tuner: Tuner) -> None:
    with worker(tuner, study(1)) as mine, host.used(GPU):
        assert mine.run() == 1
        assert users() == (os.getpid(),)
    trial = the_trial(tuner)
    assert (trial.state, trial.cause) == (TrialState.FAILED, Cause.DEVICE_BUSY)
    assert f"by {os.getpid()} (" in str(trial.reason)
    assert gpus.quarantined() == {}


SERVE = """
import sys
from optuna_tuner.testing.fake_server import main
given = dict(zip(sys.argv[1:], sys.argv[2:]))
sys.exit(main(["--host", given["--host"], "--port", given["--port"], "--model", given["--served-model-name"]]))
"""


def test_what_does_not_fit_on_the_gpu_is_passed_over_and_costs_no_trial(
    host: Host, tuner: Tuner, tmp_path: Path
) -> None:
    """vLLM's flags for Llama-3.1-8B on 16 GiB; the server behind them is the fake one."""
    (host.folder / GPU).write_text("16384")
    models = yaml.safe_load((MATERIAL / "memory" / "models.yaml").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(models["Llama-3.1-8B"]["config"]))
    document = study(3).model_dump(mode="json")
    document["model"] = {"name": "llama", "path": str(tmp_path)}
    document["engine"] = {"kind": "vllm", "version": "0.33.0", "command": [sys.executable, "-c", SERVE]}
    document["engine"]["flags"] = {"gpu_memory_utilization": 0.95}
    document["space"] = {"gpu_memory_utilization": {"type": "float", "low": 0.8, "high": 0.96}}
    document["sampler"] = {"kind": "random", "seed": 1}
    spec = StudySpec.model_validate(document)
    with worker(tuner, spec) as mine:
        mine.run()
        with pytest.raises(RejectedError, match=r"weights of 15.0 GiB a GPU do not fit into 0.85 of 16.0 GiB"):
            reject_known_bad(mine._setting, Params(flags={"gpu_memory_utilization": 0.85}))
    trials = tuner.trials("study")
    assert {trial.state for trial in trials} == {TrialState.FEASIBLE}
    assert all(float(trial.params.get("gpu_memory_utilization", 1.0)) > 0.9 for trial in trials)
    assert sum(trial.choice.passed_over for trial in trials) > 0


class LateLocal(Local):
    """A deployer whose worker stands still just before the start, while a reaper of another process does its work."""

    kind: ClassVar[str] = "local"
    store: ClassVar[Store]
    ends: ClassVar[list[str]] = []

    def start(self, request: Request, folder: Path) -> Handle:
        (resource,) = self.store.ledger.open_all()
        self.store.workers.retire(resource.worker_id)
        assert list(Local.find(self, {"attempt": resource.attempt_id})) == []
        self.store.ledger.gone(resource.id)
        handle = super().start(request, folder)
        self.ends.append(resource.attempt_id)
        return handle

    def endpoint(self, handle: Handle) -> Endpoint | None:
        raise AssertionError(f"somebody waits for {handle.name}, which must be ended at once")


class LateKinds(InstalledKinds):
    """All kinds, with the late deployer."""

    def plugin(self, group: str, kind: str) -> type[Plugin]:
        return LateLocal if group == "deployers" else super().plugin(group, kind)


def test_a_start_after_the_reaper_has_gone_by_is_ended_at_once(
    host: Host, tuner: Tuner, caplog: pytest.LogCaptureFixture
) -> None:
    with worker(tuner, study(1), LateKinds()) as mine:
        LateLocal.store = tuner._store
        mine.run()
        assert "fault of this program" not in caplog.text
        (attempt_id,) = LateLocal.ends
        assert users() == ()
        assert list(Local(Local.Options()).find({"attempt": attempt_id})) == []
    assert open_rows(tuner._store) == []
    assert host.uuids


def test_a_server_that_trickles_is_not_waited_for_longer_than_it_may_start(tuner: Tuner) -> None:
    began = now()
    with worker(tuner, study(1, {"startup_s": 2}, misbehave="trickle")) as mine:
        mine.run()
    assert the_trial(tuner).cause is Cause.NOT_READY
    assert now() - began < 20


@contextmanager
def small_disk(folder: Path, kibibytes: int) -> Iterator[None]:
    """A disk of its own for a folder."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kibibytes}k", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Leave no room."""
    with (folder / "ballast").open("wb", buffering=0) as ballast:
        try:
            while True:
                ballast.write(bytes(4096))
        except OSError:
            return


def test_a_full_disk_under_the_artifacts_loses_no_result(tuner: Tuner) -> None:
    with small_disk(home.artifacts_folder(), 64):
        fill(home.artifacts_folder())
        with worker(tuner, study(2)) as mine:
            assert mine.run() == 2
    assert [trial.state for trial in tuner.trials("study")] == [TrialState.FEASIBLE] * 2


def test_a_flood_that_fills_the_disk_under_the_logs_loses_no_result(tuner: Tuner) -> None:
    with small_disk(home.servers_folder(), 1024), worker(tuner, study(1, misbehave="log_flood=300")) as mine:
        assert mine.run() == 1
    assert the_trial(tuner).state is TrialState.FEASIBLE
