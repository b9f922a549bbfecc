import os
import signal
from collections.abc import Mapping
from threading import Event, Thread, get_native_id

import pytest

from optuna_tuner.deployers.supervision import processes
from optuna_tuner.deployers.supervision.processes import Entry, Process, below, lives, look, marked, pidfd, send, this


def test_a_process_is_named_by_its_pid_and_its_start() -> None:
    assert this().pid == os.getpid()
    assert lives(this())
    assert not lives(Process(os.getpid(), this().start + 1))


def test_a_pid_that_nobody_has_is_nobody() -> None:
    assert look(2**22 + 1) is None


def test_we_are_below_our_parent() -> None:
    assert this() in below({os.getppid()})
    assert this() not in below({os.getpid()})


def test_descendants_are_found_through_generations(monkeypatch: pytest.MonkeyPatch) -> None:
    parents = {1: 0, 10: 1, 11: 10, 12: 11, 20: 1, 21: 20}
    monkeypatch.setattr(processes, "table", lambda: family(parents))
    assert [process.pid for process in below({10})] == [11, 12]
    assert [process.pid for process in below({10, 20})] == [11, 12, 21]


def test_a_circle_in_a_changing_table_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "table", lambda: family({11: 12, 12: 11}))
    assert below({10}) == []


def test_the_dead_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    dead = Entry(Process(11, 0), 10, dead=True)
    monkeypatch.setattr(processes, "table", lambda: {11: dead, **family({12: 11})})
    assert [process.pid for process in below({10})] == [12]


def family(parents: Mapping[int, int]) -> Mapping[int, Entry]:
    return {pid: Entry(Process(pid, 0), parent, dead=False) for pid, parent in parents.items()}


@pytest.mark.parametrize("number", [0, 1024, processes.LEAST_MARK - 1])
def test_a_number_that_other_programs_may_have_set_marks_nobody(number: int) -> None:
    assert list(marked(number)) == []


def test_a_pid_that_is_now_a_thread_of_another_process_is_nobody() -> None:
    ready, done = Event(), Event()
    ids: list[int] = []

    def live() -> None:
        ids.append(get_native_id())
        ready.set()
        done.wait()

    thread = Thread(target=live)
    thread.start()
    ready.wait()
    try:
        assert pidfd(Process(ids[0], 1)) is None
        send([Process(ids[0], 1)], signal.SIGKILL)
    finally:
        done.set()
        thread.join()
