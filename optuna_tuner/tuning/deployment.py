"""One server's life: started, waited for, watched while it is measured, and always torn down."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Thread

import httpx

from optuna_tuner.clock import Deadline, poll
from optuna_tuner.contracts import Deployer
from optuna_tuner.errors import (
    DeployerError,
    NotReadyError,
    ServerCrashedError,
    StoppedError,
    TrialError,
    TunerError,
)
from optuna_tuner.http import authorization, get
from optuna_tuner.tuning import gpus
from optuna_tuner.tuning.journal import Journal
from optuna_tuner.tuning.probe import Probe
from optuna_tuner.tuning.prompt import prompt
from optuna_tuner.tuning.setting import Setting
from optuna_tuner.tuning.surroundings import surroundings
from optuna_tuner.values import Blame, Cause, Diagnosis, Endpoint, Handle, Launch, Phase, Request, State, Status

LOG_TAIL_CHARACTERS = 4000
PROBE_TIMEOUT_S = 1.0  # a server that accepts and never answers must not delay the sight of its exit
WATCH_EVERY_S = 0.5
END_IS_SEEN_S = 5.0  # after a server's last word; the deployer sees its end when all its processes have gone

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A deployed server, ready for requests."""

    endpoint: Endpoint
    handle: Handle
    setting: Setting


@contextmanager
def deployed(setting: Setting, launch: Launch, journal: Journal, stop: Event) -> Iterator[Server]:
    """Start a server, wait until it answers, and take it down again whatever happens.

    Raises ServerCrashedError, NotReadyError, DeployerError, or StoppedError.
    """
    _demand_free_gpus(setting)
    request = _announce(setting, launch, journal)
    try:
        yield _bring_up(setting, launch, request, journal, stop)
    finally:
        with journal.phase(Phase.TEARDOWN):
            take_down(setting, journal, stop)


def _bring_up(setting: Setting, launch: Launch, request: Request, journal: Journal, stop: Event) -> Server:
    """Start it and wait until it answers. Time in a cluster's queue is none of its start-up."""
    with journal.phase(Phase.START_UP):
        handle = _start(setting, request, journal)
        if setting.parts.deployer.state(handle).status is not Status.QUEUED:
            return _ready(setting, launch, handle, stop)
    with journal.phase(Phase.QUEUE):
        _wait_for_machine(setting, handle, stop)
    with journal.phase(Phase.START_UP):
        return _ready(setting, launch, handle, stop)


def _wait_for_machine(setting: Setting, handle: Handle, stop: Event) -> None:
    last = ""

    def look() -> bool | None:
        nonlocal last
        state = setting.parts.deployer.state(handle)
        last = state.detail
        return None if state.status is Status.QUEUED else True

    seconds = setting.spec.limits.queue_s
    if poll(look, Deadline.after(seconds, stop), WATCH_EVERY_S) is None:
        raise DeployerError(f"it was given no machine within {seconds:g} s (limits.queue_s): {last}")


def _ready(setting: Setting, launch: Launch, handle: Handle, stop: Event) -> Server:
    deadline = Deadline.after(setting.spec.limits.startup_s, stop)
    return Server(endpoint=_wait_until_ready(setting, handle, launch, deadline), handle=handle, setting=setting)


def _demand_free_gpus(setting: Setting) -> None:
    """A foreign process may have come since the last trial: no server fits beside it, and no figure would be true."""
    full = gpus.busy(setting.slot.gpus) if setting.parts.deployer.host_bound else None
    if full:
        diagnosis = Diagnosis(cause=Cause.DEVICE_BUSY, evidence=full)
        raise DeployerError("a GPU of this slot is not free", diagnosis=diagnosis)


def _announce(setting: Setting, launch: Launch, journal: Journal) -> Request:
    """Write down what is about to be started, so that anybody can end it."""
    attempt = journal.attempt
    labels = {"study": setting.study_id, "attempt": attempt.id, "worker": setting.worker_id}
    request = setting.parts.deployer.render(launch, f"tuner-{attempt.id}", labels, setting.slot)
    ledger = setting.store.ledger
    if not ledger.intend(id=attempt.id, attempt_id=attempt.id, worker_id=setting.worker_id, request=request):
        raise StoppedError("this worker was declared dead before it started a server")
    try:
        journal.launched(request)
        journal.runs_on(surroundings(setting.slot.gpus))
    except OSError as error:  # a full disk must not keep a trial from its result
        logger.warning("what is launched for attempt %s is not kept: %s", attempt.id, error)
    return request


def _start(setting: Setting, request: Request, journal: Journal) -> Handle:
    handle = setting.parts.deployer.start(request, journal.folder)
    if not setting.store.ledger.created(journal.attempt.id, handle):
        setting.parts.deployer.stop(handle, 0)
        raise StoppedError("this worker was declared dead while it started a server")
    return handle


def take_down(setting: Setting, journal: Journal, stop: Event) -> None:
    """End the server and say so in the ledger. A failure is logged: the ledger keeps the debt for the reaper.

    It has `limits.teardown_s`, and much less once `stop` is set, before or meanwhile.

    A GPU that does not come back is in quarantine then; the trial and its result stay as they are.
    """
    deployer, attempt_id = setting.parts.deployer, journal.attempt.id
    try:
        for handle in deployer.find({"attempt": attempt_id}):
            _keep_log(setting, handle, journal)
        with prompt(deployer, attempt_id, setting.spec.limits.teardown_s, stop) as grace_s:
            end_server(deployer, attempt_id, setting.slot.gpus, grace_s)
    except (TunerError, OSError):
        logger.exception("the server of attempt %s could not be taken down; the reaper tries again", attempt_id)
        return
    setting.store.ledger.gone(attempt_id)


def end_server(deployer: Deployer, attempt_id: str, used: Sequence[str], grace_s: float) -> None:
    """Return when nothing is left of an attempt's server: no process, no open port, no memory on the GPUs it used.

    Raises DeployerError when that cannot be confirmed; a GPU whose memory did not come back is in quarantine then.
    The GPUs are looked at for a deployer that is bound to this host, on which it must be called.
    """
    for handle in deployer.find({"attempt": attempt_id}):
        deployer.stop(handle, grace_s)
    if deployer.host_bound and not gpus.come_back(used):
        raise DeployerError(f"the memory of {', '.join(used)} did not come back after the server's end")


def _keep_log(setting: Setting, handle: Handle, journal: Journal) -> None:
    try:
        journal.server_said(setting.parts.deployer.log(handle))
    except (TrialError, OSError) as error:  # a full disk must not keep a server alive
        logger.warning("the server's log of attempt %s is not kept: %s", journal.attempt.id, error)


def _wait_until_ready(setting: Setting, handle: Handle, launch: Launch, deadline: Deadline) -> Endpoint:
    def look() -> Endpoint | None:
        raise_if_ended(setting, handle)
        endpoint = setting.parts.deployer.endpoint(handle)
        return endpoint if endpoint and probe.says_yes(lambda: _answers(setting, endpoint, launch)) else None

    probe = Probe()
    endpoint = poll(look, deadline)
    if endpoint is None:
        log = setting.parts.deployer.log(handle)
        seconds = setting.spec.limits.startup_s
        raise NotReadyError(f"no answer from the server within {seconds:g} s", log_tail=log[-LOG_TAIL_CHARACTERS:])
    return endpoint


def _answers(setting: Setting, endpoint: Endpoint, launch: Launch) -> bool:
    try:
        if not get(endpoint.url + launch.ready_path, PROBE_TIMEOUT_S, authorization(endpoint)).is_success:
            return False
    except httpx.HTTPError:
        return False
    served = setting.parts.engine.identify(endpoint)
    if served is not None and served != launch.model.name:
        evidence = f'the server at {endpoint.url} serves "{served}", not "{launch.model.name}"'
        diagnosis = Diagnosis(cause=Cause.PORT_IN_USE, evidence=evidence)
        raise DeployerError("another server answers on our port", diagnosis=diagnosis)
    return served is not None


def raise_if_ended(setting: Setting, handle: Handle) -> None:
    """Raise the error that a server's end means; return while it lives."""
    state = setting.parts.deployer.state(handle)
    if state.status is Status.LOST:
        diagnosis = Diagnosis(cause=Cause.NODE_LOST, evidence=state.detail or "it is gone without a trace")
        raise DeployerError("the server is lost", diagnosis=diagnosis)
    if state.status is Status.EXITED:
        _raise_exit(setting, handle, state)


def _raise_exit(setting: Setting, handle: Handle, state: State) -> None:
    log = setting.parts.deployer.log(handle)
    diagnosis = state.diagnosis or setting.parts.engine.diagnose(log, state.exit_code)
    kind = DeployerError if diagnosis.cause.blame is Blame.MACHINE else ServerCrashedError
    raise kind(
        f"the server ended with exit code {state.exit_code}", diagnosis=diagnosis, log_tail=log[-LOG_TAIL_CHARACTERS:]
    )


@contextmanager
def watched(server: Server, stop: Event) -> Iterator[Event]:
    """Yield a flag that is set when the server ends or `stop` is set; then raise why.

    A client that loads a dead server fails in its own words; the server's end is the truth and goes first.
    """
    ended, done = Event(), Event()
    thread = Thread(target=_watch, args=(server, stop, ended, done), name="watch", daemon=True)
    thread.start()
    try:
        yield ended
    except StoppedError:
        raise_if_ended(server.setting, server.handle)
        raise
    except TrialError:
        _raise_if_it_ends(server, stop)
        raise
    finally:
        done.set()
        thread.join()


def _raise_if_it_ends(server: Server, stop: Event) -> None:
    """Who does not listen any more has ended, or is about to: then its end is waited for, which is the cause.

    On a machine that may have died unseen nobody has to refuse a connection: there it is who does not answer.
    """
    lag_s = server.setting.parts.deployer.lag_s
    there = _speaks if lag_s else _listens

    def look() -> bool | None:
        raise_if_ended(server.setting, server.handle)
        return True if stop.is_set() or there(server.endpoint) else None

    poll(look, Deadline.after(max(END_IS_SEEN_S, lag_s)))


def _speaks(endpoint: Endpoint) -> bool:
    try:
        get(endpoint.url, PROBE_TIMEOUT_S)
    except httpx.HTTPError:
        return False
    return True


def _listens(endpoint: Endpoint) -> bool:
    address = httpx.URL(endpoint.url)
    try:
        socket.create_connection((address.host, address.port or 80), PROBE_TIMEOUT_S).close()
    except ConnectionRefusedError:
        return False
    except OSError:  # nothing that a server's end would show as
        return True
    return True


def _watch(server: Server, stop: Event, ended: Event, done: Event) -> None:
    try:
        while not (done.wait(WATCH_EVERY_S) or stop.is_set() or _has_ended(server)):
            pass
    finally:
        ended.set()  # also when the watch itself fails: nobody may measure on without one


def _has_ended(server: Server) -> bool:
    try:
        state = server.setting.parts.deployer.state(server.handle)
    except TrialError:
        return False  # it could not be asked; the load client will tell
    return state.status in {Status.EXITED, Status.LOST}
