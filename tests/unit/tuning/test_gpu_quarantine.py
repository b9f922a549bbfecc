"""When a GPU counts as free, and what becomes of one that does not come back."""

import os
import sys
from pathlib import Path
from threading import Timer

import fake_gpus
import pytest
from fake_gpus import Host

from optuna_tuner import home
from optuna_tuner.doctor import checks
from optuna_tuner.errors import ConflictError, EnvironmentFaultError
from optuna_tuner.testing.fake_nvml import pynvml
from optuna_tuner.tuning import gpus
from optuna_tuner.tuning.slots import find_slots, holding, holding_free
from optuna_tuner.values import Slot

ONE, TWO = "GPU-fake-0", "GPU-fake-1"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setenv(home.HOME_VARIABLE, str(tmp_path / "home"))
    return fake_gpus.host(tmp_path / "gpus", monkeypatch)


def slot(*uuids: str) -> Slot:
    return Slot(name="gpu", host="here", gpus=uuids)


def test_gpus_are_found_by_uuid_and_nvml_is_closed_again(host: Host) -> None:
    assert gpus.find_gpus() == dict(enumerate(host.uuids))
    with pytest.raises(pynvml.NVMLError_Uninitialized):
        pynvml.nvmlDeviceGetCount()


def test_the_fake_has_the_names_of_the_real_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each != fake_gpus.FOLDER])
    real = pytest.importorskip("pynvml")
    assert real is not pynvml
    names = [name for name in dir(pynvml) if name.startswith(("nvml", "NVMLError"))]
    assert len(names) > 10
    assert [name for name in names if not hasattr(real, name)] == []
    assert [
        error
        for error in names
        if error.startswith("NVMLError_") and not issubclass(getattr(real, error), real.NVMLError)
    ] == []
    assert gpus.find_gpus() is not None  # with a driver and without one


def test_a_gpu_that_fell_off_the_bus_is_no_slot(host: Host) -> None:
    host.ill(ONE, "lost")
    assert gpus.find_gpus() == {1: TWO}


def test_nvml_that_breaks_off_is_told_in_words(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> int:
        raise pynvml.NVMLError("RM has detected an NVML/RM version mismatch.")

    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", broken)
    with pytest.raises(EnvironmentFaultError, match=r"does not list the GPUs: RM has detected .* see nvidia-smi"):
        find_slots(1)
    assert host.uuids


def test_a_gpu_comes_back_when_its_server_lets_go(host: Host) -> None:
    with gpus.taken([ONE]), host.used(ONE):
        assert not gpus.come_back([ONE], wait_s=0)
    assert gpus.lift() == (ONE,)
    assert gpus.quarantined() == {}


def test_a_gpu_is_waited_for(host: Host) -> None:
    stuck = host.ill(ONE, "stuck")
    timer = Timer(0.2, stuck.unlink)
    timer.start()
    assert gpus.come_back([ONE], wait_s=30)
    timer.join()
    assert gpus.quarantined() == {}


def test_a_gpu_that_does_not_come_back_is_quarantined_with_its_reason(host: Host) -> None:
    with gpus.taken([ONE]):
        stuck = host.ill(ONE, "stuck")
        assert not gpus.come_back([ONE], wait_s=0)
    (since, reason) = gpus.quarantined()[ONE]
    assert since.endswith("+00:00")
    assert reason == ("its memory did not come back: 73728 of 81920 MiB are used by nobody that can be seen from here")
    with pytest.raises(EnvironmentFaultError, match=f"{ONE} is in quarantine since .*: its memory did not come back"):
        gpus.demand_healthy([TWO, ONE])
    assert gpus.lift() == ()
    stuck.unlink()
    gpus.demand_healthy([ONE])
    assert gpus.quarantined() == {}


def test_what_was_used_before_need_not_become_free(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pynvml, "_IDLE", 6000 << 20)
    with gpus.taken([ONE]):
        monkeypatch.setattr(pynvml, "_IDLE", 10000 << 20)
        assert gpus.come_back([ONE], wait_s=0)
        monkeypatch.setattr(pynvml, "_IDLE", 10200 << 20)
        assert not gpus.come_back([ONE], wait_s=0)
    assert host.uuids


def test_a_foreign_process_on_a_gpu_is_named_and_nothing_is_quarantined(host: Host) -> None:
    with (
        host.used(ONE),
        pytest.raises(EnvironmentFaultError, match=rf"{ONE} is busy: 73728 of 81920 MiB .* by {os.getpid()} \("),
        holding(slot(ONE), wait_s=0),
    ):
        pytest.fail("two use one GPU")
    assert gpus.quarantined() == {}
    with holding(slot(ONE)):
        assert gpus.busy([ONE]) is None
        with host.used(ONE):
            assert str(os.getpid()) in str(gpus.busy([ONE]))


@pytest.mark.parametrize(
    ("illness", "reason"),
    [
        ("lost", "NVML says: GpuIsLost"),
        ("gone", "NVML says: NotFound"),
        ("mig", "it is divided into MIG instances, and only whole GPUs are used"),
        ("stuck", "its memory did not come back: 73728 of 81920 MiB are used by nobody that can be seen from here"),
    ],
)
def test_an_ill_gpu_goes_to_quarantine_and_heals_by_itself(
    host: Host, monkeypatch: pytest.MonkeyPatch, illness: str, reason: str
) -> None:
    monkeypatch.setattr(gpus, "BACK_S", 0.0)
    file = host.ill(ONE, illness)
    with pytest.raises(EnvironmentFaultError, match=f"{ONE} is in quarantine"), holding(slot(ONE)):
        pytest.fail("an ill GPU was taken")
    assert gpus.quarantined()[ONE][1] == reason
    file.unlink()
    with holding(slot(ONE)):
        assert gpus.quarantined() == {}


def test_a_driver_that_goes_away_while_a_gpu_is_owned_is_no_free_gpu(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    with holding(slot(ONE)):
        monkeypatch.setenv(pynvml.VARIABLE, str(host.folder / "nowhere"))
        assert not gpus.come_back([ONE], wait_s=0)
    assert gpus.quarantined()[ONE][1] == "NVML does not answer any more"
    assert gpus.lift() == ()


def test_without_nvml_there_is_nothing_to_wait_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(home.HOME_VARIABLE, str(tmp_path))
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with holding(slot(ONE)):
        assert gpus.come_back([ONE])


def test_the_slots_that_are_left_pass_over_a_gpu_in_quarantine(host: Host) -> None:
    host.ill(ONE, "stuck")
    assert not gpus.come_back([ONE], wait_s=0)
    assert [each.gpus for each in find_slots(1, 1)] == [(TWO,)]
    with pytest.raises(EnvironmentFaultError, match=f"want 2 GPUs; this process may use 1; {ONE} is in quarantine"):
        find_slots(2)
    with holding_free() as free:
        assert free.gpus == (TWO,)
        with pytest.raises(ConflictError, match=f"gpu-{TWO} on .* is held by process"), holding_free():
            pytest.fail("nothing is free")
    with pytest.raises(EnvironmentFaultError, match="in quarantine"), holding_free("gpu-0"):
        pytest.fail("an ill GPU was taken")


def test_a_gpu_that_was_not_waited_for_is_passed_over_without_quarantine(host: Host) -> None:
    host.ill(ONE, "stuck")
    with holding_free() as free:
        assert free.gpus == (TWO,)
    assert gpus.quarantined() == {}


def test_a_host_whose_gpus_are_all_ill_says_so(host: Host) -> None:
    for uuid in host.uuids:
        host.ill(uuid, "lost")
        with pytest.raises(EnvironmentFaultError), holding(slot(uuid), wait_s=0):
            pytest.fail("an ill GPU was taken")
    for uuid in host.uuids:
        (host.folder / f"{uuid}.lost").unlink()
        host.ill(uuid, "stuck")
    words = r"GPU-fake-0 is in quarantine.*GPU-fake-1 is in quarantine"
    with pytest.raises(EnvironmentFaultError, match=words), holding_free():
        pytest.fail("an ill GPU was taken")


def test_a_slot_is_as_wide_as_if_all_gpus_were_healthy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(home.HOME_VARIABLE, str(tmp_path / "home"))
    host = fake_gpus.host(tmp_path / "gpus", monkeypatch, 8)
    host.ill("GPU-fake-2", "lost")
    assert not gpus.come_back(["GPU-fake-2"], wait_s=0)
    host.ill("GPU-fake-2", "lost").unlink()
    host.ill("GPU-fake-2", "stuck")
    assert [each.name for each in find_slots(3, 2)] == ["gpu-0-1", "gpu-3-4", "gpu-5-6"]
    with pytest.raises(EnvironmentFaultError, match="4 workers with 2 GPUs each want 8 GPUs; this process may use 7"):
        find_slots(4)


def test_a_note_of_quarantine_that_cannot_be_read_keeps_its_gpu_out(host: Host) -> None:
    file = home.quarantine_file(ONE)
    file.parent.mkdir(parents=True)
    file.write_text("{", encoding="utf-8")
    assert "cannot be read" in gpus.quarantined()[ONE][1]
    host.ill(ONE, "stuck")
    with pytest.raises(EnvironmentFaultError, match="cannot be read"):
        gpus.demand_healthy([ONE])


def test_the_doctor_shows_what_is_in_quarantine(host: Host, tmp_path: Path) -> None:
    host.ill(ONE, "stuck")
    assert not gpus.come_back([ONE], wait_s=0)
    (check,) = [each for each in checks(f"sqlite:///{tmp_path}/studies.db") if each.name == "GPU quarantine"]
    assert not check.ok
    assert check.found.startswith(f"{ONE} since ")
    assert "nvidia-smi" in check.how_to_get


def test_a_full_disk_does_not_hide_a_full_gpu(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    host.ill(ONE, "stuck")
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(EnvironmentFaultError, match=f"{ONE} is busy"), holding(slot(ONE), wait_s=0):
        pytest.fail("a full GPU was taken")
    assert gpus.find_gpus() == dict(enumerate(host.uuids))
