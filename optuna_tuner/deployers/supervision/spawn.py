"""Fork and exec of the server, with all that must happen between the two."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from optuna_tuner.deployers.supervision.processes import Process, look

_PR_SET_PDEATHSIG, _PR_SET_NAME, _PR_SET_CHILD_SUBREAPER = 1, 15, 36  # linux/prctl.h
_RLIMIT_LOCKS = 10  # linux/resource.h; not applied since Linux 2.4.25
_OPEN_FILES = 65536  # the usual 1024 is too few for a thousand streams; far more is slow for programs that close all


class Program(NamedTuple):
    """What to run."""

    argv: list[str]
    env: Mapping[str, str]
    cwd: str
    cores: Sequence[int]
    mark: int
    locks: Sequence[int]  # descriptors that the program inherits: the kernel frees them when its last process has gone


def become_reaper() -> None:
    """Orphans among our descendants become our children instead of init's; `ps` shows what this process is."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "the kernel refuses PR_SET_CHILD_SUBREAPER")
    libc.prctl(_PR_SET_NAME, b"optuna-tuner-sv", 0, 0, 0)


def spawn(program: Program, output: int) -> Process:
    """Start the program in a session of its own, its output going to this descriptor. Raises OSError if it cannot."""
    libc = ctypes.CDLL(None)
    answer, tell = os.pipe()
    supervisor = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            _arrange(program, output)
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != supervisor:  # it was killed before the kernel knew what to do then
                os._exit(127)
            os.execvpe(program.argv[0], program.argv, dict(program.env))  # noqa: S606  an argument list, no shell
        except OSError as error:
            os.write(tell, _sentence(program, error).encode())
        finally:
            os._exit(127)
    os.close(tell)
    with open(answer, "rb") as reader:  # noqa: PTH123  a descriptor, not a path
        complaint = reader.read()  # the pipe closes at exec: no answer is good news
    if complaint:
        os.waitpid(pid, 0)
        raise OSError(complaint.decode())
    entry = look(pid)
    return entry.process if entry else Process(pid, 0)


def _arrange(program: Program, output: int) -> None:
    os.setsid()
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # ignored signals would stay ignored in the server
    _keep_to(program.cores)
    _bear(program.mark)
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    bound = _OPEN_FILES if most_files == resource.RLIM_INFINITY else min(_OPEN_FILES, most_files)
    resource.setrlimit(resource.RLIMIT_NOFILE, (bound, most_files))
    _, most_core = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most_core))  # a crash must not write the server's memory to disk
    os.chdir(program.cwd)
    silence = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((silence, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    for lock in program.locks:
        os.set_inheritable(lock, True)  # noqa: FBT003  it takes it in no other way


def _bear(mark: int) -> None:
    """Set the mark, see `local_server.mark_of`. Inside another server of ours its mark stays."""
    with suppress(OSError, ValueError):
        resource.setrlimit(_RLIMIT_LOCKS, (mark, mark))


def _keep_to(cores: Sequence[int]) -> None:
    try:
        os.sched_setaffinity(0, cores or os.sched_getaffinity(0))
    except OSError as error:
        raise OSError(error.errno, f"the CPU cores {list(cores)} are not all allowed here") from error


def _sentence(program: Program, error: OSError) -> str:
    command = program.argv[0]
    if error.errno == errno.EACCES:
        return f'cannot run "{command}": it is not executable, or a folder on the way to it is closed'
    if error.errno != errno.ENOENT:
        return f'cannot run "{command}": {error.strerror or error}'
    if not os.path.isdir(program.cwd):  # noqa: PTH112  pathlib doubles the start-up
        return f'cannot run "{command}": its working folder {program.cwd} does not exist'
    return f'cannot run "{command}": command not found; PATH is {program.env.get("PATH", "empty")}'
