import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from hypothesis import given
from hypothesis import strategies as some

from optuna_tuner import home
from optuna_tuner.errors import ConflictError, EnvironmentFaultError
from optuna_tuner.testing.fake_nvml import pynvml
from optuna_tuner.tuning import slots
from optuna_tuner.tuning.gpus import find_gpus, visible
from optuna_tuner.tuning.slots import divide_cores, divide_gpus, find_slots, holding, holding_free
from optuna_tuner.values import Slot

UUIDS = ("GPU-aaaa", "GPU-bbbb", "GPU-cccc", "GPU-dddd")
GPUS = dict(enumerate(UUIDS))


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(home.HOME_VARIABLE, str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setitem(sys.modules, "pynvml", None)  # whatever GPUs this machine may have


def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "find_gpus", dict)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {4, 5, 6, 7})


def test_one_core_of_each_worker_is_left_to_its_client() -> None:
    assert [slot.cores for slot in divide_cores([0, 1, 2, 3], 2)] == [(0,), (2,)]
    assert [slot.cores for slot in divide_cores([0, 1, 2, 3], 1)] == [(0, 1, 2)]


def test_a_worker_with_one_core_gives_it_to_its_server() -> None:
    assert [slot.cores for slot in divide_cores([0, 1], 2)] == [(0,), (1,)]


def test_more_workers_than_cores_are_refused() -> None:
    with pytest.raises(EnvironmentFaultError, match=r"3 workers want a CPU core each .* may use 2: ask for 2 workers"):
        divide_cores([0, 1], 3)


@given(cores=some.sets(some.integers(0, 500), min_size=1, max_size=40), workers=some.integers(1, 40))
def test_no_core_belongs_to_two_workers(cores: set[int], workers: int) -> None:
    if workers > len(cores):
        return
    found = divide_cores(sorted(cores), workers)
    owned = [core for slot in found for core in slot.cores]
    assert len(found) == workers
    assert len(owned) == len(set(owned))
    assert set(owned) <= cores
    assert len({slot.name for slot in found}) == workers


def test_gpus_go_to_the_workers_in_equal_numbers() -> None:
    assert [slot.gpus for slot in divide_gpus(GPUS, 2, None)] == [UUIDS[:2], UUIDS[2:]]
    assert [slot.name for slot in divide_gpus(GPUS, 2, None)] == ["gpu-0-1", "gpu-2-3"]


def test_a_slot_has_as_many_gpus_as_asked_for() -> None:
    assert [slot.gpus for slot in divide_gpus(GPUS, 2, 1)] == [("GPU-aaaa",), ("GPU-bbbb",)]


@pytest.mark.parametrize(("workers", "each"), [(5, None), (3, 2), (1, 5)])
def test_more_gpus_than_there_are_are_refused(workers: int, each: int | None) -> None:
    with pytest.raises(EnvironmentFaultError, match="this process may use 4"):
        divide_gpus(GPUS, workers, each)


def test_gpus_with_gaps_have_names_without_doubt() -> None:
    assert [slot.name for slot in divide_gpus({0: "GPU-a", 2: "GPU-c"}, 1, None)] == ["gpu-0.2"]


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ("2,0", {2: "GPU-cccc", 0: "GPU-aaaa"}),
        ("GPU-bb", {1: "GPU-bbbb"}),
        ("", {}),
        ("1,9,2", {1: "GPU-bbbb"}),
        (" 1 , 3 ", {1: "GPU-bbbb", 3: "GPU-dddd"}),
    ],
)
def test_a_batch_systems_choice_of_gpus_is_kept(
    monkeypatch: pytest.MonkeyPatch, names: str, found: dict[int, str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", names)
    assert visible(GPUS) == found


def test_all_gpus_are_visible_when_nobody_chose() -> None:
    assert visible(GPUS) == GPUS


def test_a_host_without_a_driver_has_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", pynvml)
    monkeypatch.delenv(pynvml.VARIABLE, raising=False)
    assert find_gpus() == {}


def test_without_the_gpu_extra_there_are_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert find_gpus() == {}


def test_a_host_without_gpus_divides_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    four_cores(monkeypatch)
    assert [slot.name for slot in find_slots(2)] == ["cpu-4", "cpu-6"]


def test_a_study_without_gpus_divides_the_cores_of_a_host_with_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    four_cores(monkeypatch)
    monkeypatch.setattr(slots, "find_gpus", lambda: GPUS)
    assert [slot.name for slot in find_slots(1, 0)] == ["cpu-4-6"]
    assert [slot.name for slot in find_slots(1)] == ["gpu-0-3"]


def test_a_device_has_one_holder_who_is_named() -> None:
    slot = Slot(name="gpu-0", host="node", gpus=("GPU-aaaa",))
    wide = Slot(name="gpu-0-1", host="node", gpus=("GPU-bbbb", "GPU-aaaa"))
    with (
        holding(slot),
        pytest.raises(ConflictError, match=f"gpu-GPU-aaaa on node is held by process {os.getpid()} as slot gpu-0"),
        holding(wide),
    ):
        pytest.fail("two hold one device")
    with holding(wide):
        pass


def test_a_conflict_gives_back_what_was_taken_before_it() -> None:
    one, two = Slot(name="a", host="node", gpus=("GPU-a",)), Slot(name="b", host="node", gpus=("GPU-b",))
    both = Slot(name="ab", host="node", gpus=("GPU-a", "GPU-b"))
    with holding(two):
        with pytest.raises(ConflictError), holding(both):
            pytest.fail("two hold one device")
        with holding(one):
            pass


def test_the_first_free_slot_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    four_cores(monkeypatch)
    with holding_free() as first, holding_free() as second:
        assert (first.cores, second.cores) == ((4, 5, 6), (7,))
        with pytest.raises(ConflictError, match="core-4 on"), holding_free():
            pytest.fail("nothing is free")


def test_a_slot_is_taken_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    four_cores(monkeypatch)
    with holding_free("cpu-6") as slot:
        assert slot.cores == (6,)
        with pytest.raises(ConflictError, match="core-6"), holding_free("cpu-6"):
            pytest.fail("two hold one core")


def test_workers_that_start_at_once_take_different_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    four_cores(monkeypatch)
    ready, done = Barrier(4), Barrier(4)

    def take(_: int) -> tuple[int, ...]:
        ready.wait()
        with holding_free() as slot:
            done.wait()
            return slot.cores

    names = {f"cpu-{core}": (core,) for core in (4, 5, 6, 7)}
    single = {name: Slot(name=name, host="node", cores=cores) for name, cores in names.items()}
    monkeypatch.setattr(slots, "_all_slots", lambda: single)
    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(take, range(4))) == [(4,), (5,), (6,), (7,)]


def test_an_unknown_slot_is_answered_with_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    four_cores(monkeypatch)
    known = "cpu-4-6, cpu-4, cpu-6, cpu-5, cpu-7"
    with pytest.raises(EnvironmentFaultError, match=f'no slot "gpu-9"; it has {known}'), holding_free("gpu-9"):
        pytest.fail("there is no such slot")
