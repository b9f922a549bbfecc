"""What a Job, its pod and the events tell of a server, and what it means."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optuna_tuner.deployers.kubernetes_patch import CONTAINER, OURS
from optuna_tuner.deployers.kubernetes_words import quantity
from optuna_tuner.errors import DeployerError
from optuna_tuner.values import Cause, Diagnosis, Json, State, Status

Facts = Mapping[str, Json]
# Reasons to wait that do not pass: without another study file or another cluster it never begins.
# https://github.com/kubernetes/kubernetes/tree/master/pkg/kubelet: images/types.go and container/sync_result.go
_NEVER = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "ErrImageNeverPull", "ImageInspectError"}
    | {"ImagePullBackOff", "InvalidImageName", "RunContainerError", "CrashLoopBackOff"}
)
_NOT_STARTED = frozenset({"ContainerCannotRun", "StartError"})  # the runtime's, where there is no such program
_LOST = {
    "DeadlineExceeded": "its time is over: raise deployer.max_life_s, or lower the study's limits",
    "Evicted": "its node ran short of something, or it took more disk or shared memory than it may",
    "NodeAffinity": "its node would not take it",
    "NodeLost": "its node is lost",
    "NodeShutdown": "its node was shut down",
    "Preempting": "another pod took its place",
    "Shutdown": "its node was shut down",
    "Terminated": "its node was shut down",
    "UnexpectedAdmissionError": "its node would not take it",
}
_QUOTA = re.compile(r"requested: (?P<asked>[^ ]*), used: [^ ]*, limited: (?P<most>[^ ]*)")
_ADVICE = "The pod's memory ran out, not the GPU's: raise deployer.memory, or let the server keep less on the host."


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was found of one server. The Job and the events are looked at only where the pod does not tell all.

    `had_pod`: there was one, and somebody took it away.
    """

    pod: Facts | None
    had_pod: bool = False
    job: Facts | None = None
    events: Sequence[str] = ()
    container: str = CONTAINER

    @property
    def name(self) -> str:
        """The server's, which its Job and its Secret have."""
        return str(_mapping(_mapping(self.pod or {}, "metadata"), "labels").get(f"{OURS}name"))

    @property
    def pod_name(self) -> str:
        """Empty where there is no pod."""
        return str(_mapping(self.pod or {}, "metadata").get("name") or "")

    @property
    def has_begun(self) -> bool:
        """Whether its node has started it, or ended it: then nothing is told of it elsewhere."""
        return _mapping(self.pod or {}, "status").get("phase") != "Pending"

    @property
    def answers(self) -> bool:
        """Whether the engine's own path has answered its node."""
        return self.server.get("started") is True

    @property
    def server(self) -> Facts:
        """What is told of the server's container."""
        found = _mapping(self.pod or {}, "status").get("containerStatuses")
        named = (each for each in (found if isinstance(found, list) else []) if isinstance(each, dict))
        return next((each for each in named if each.get("name") == self.container), {})

    @property
    def ended(self) -> Facts | None:
        """How it ended first: whoever keeps it up starts it again, and that is another server."""
        states = (_mapping(self.server, name).get("terminated") for name in ("lastState", "state"))
        return next((each for each in states if isinstance(each, dict)), None)

    @property
    def runs_again(self) -> bool:
        """Whether its container ended and was started anew."""
        return self.ended is not None and isinstance(_mapping(self.server, "state").get("running"), dict)


def state_of(seen: Seen) -> State:
    """How the server fares. Raises DeployerError for one that will never begin."""
    if seen.pod is None:
        return _without_pod(seen)
    status = _mapping(seen.pod, "status")
    lost = _why_lost(seen, status)
    if lost:
        return State(status=Status.LOST, detail=lost)
    if seen.ended is not None:
        return _ended(seen.ended)
    if isinstance(_mapping(seen.server, "state").get("running"), dict):
        return State(status=Status.RUNNING)
    if status.get("phase") in {"Failed", "Succeeded"}:  # it ended, and nobody knows how
        return State(status=Status.LOST, detail=f"its pod is {status['phase']} without a word of its container")
    return _waiting(seen, status)


def is_over(pod: Facts) -> bool:
    """Whether nothing of a deleted pod runs or is held any more, and only the object is still to go.

    A node that loses a race against itself has been seen to take a minute for that. A phase alone is not enough: a node
    that evicts a pod tells of its end before its containers have ended, and then tells nothing of these.
    """
    status = _mapping(pod, "status")
    told = status.get("containerStatuses")
    states = [_mapping(each, "state") for each in (told if isinstance(told, list) else []) if isinstance(each, dict)]
    ended = bool(states) and not any("running" in each for each in states)
    deleted = bool(_mapping(pod, "metadata").get("deletionTimestamp"))
    return deleted and ended and status.get("phase") in {"Failed", "Succeeded"}


def _waiting(seen: Seen, status: Facts) -> State:
    """It has no node yet, or its node prepares it: both are the cluster's time."""
    reason, words = _why_unscheduled(status)
    if reason:
        if re.search(r'persistentvolumeclaim ".*" not found', words):
            raise DeployerError(f"the pod can get no node: {words}")
        return State(status=Status.QUEUED, detail=f"it waits for a node: {reason}: {words}")
    waits = _mapping(_mapping(seen.server, "state"), "waiting")
    why, message = str(waits.get("reason") or ""), str(waits.get("message") or "")
    if why in _NEVER and message != f'secret "{seen.name}" not found':  # it is made right after the Job
        last = f"; {seen.events[-1]}" if seen.events else ""
        raise DeployerError(f"the container cannot be started: {why}: {message}{last}")
    if not _mapping(seen.pod or {}, "spec").get("nodeName"):
        return State(status=Status.QUEUED, detail="it waits for a node")
    mounts = next((each for each in reversed(seen.events) if each.startswith("FailedMount: ")), "")
    if "hostPath type check failed" in mounts:
        raise DeployerError(f"a volume cannot be mounted: {mounts}")
    said = [why, message, mounts or next(iter(seen.events[-1:]), "")]
    return State(status=Status.QUEUED, detail=f"its node prepares it: {': '.join(filter(None, said))}".rstrip(": "))


def _without_pod(seen: Seen) -> State:
    if seen.job is None:
        return State(status=Status.LOST, detail="somebody deleted its Job")
    failed = condition(_mapping(seen.job, "status"), "Failed")
    if failed.get("status") == "True":
        reason = str(failed.get("reason"))
        words = _LOST.get(reason) or "somebody deleted its pod"
        return State(status=Status.LOST, detail=f"{words} ({reason}: {failed.get('message')})")
    if seen.had_pod:
        return State(status=Status.LOST, detail="somebody deleted its pod")
    refused = next((each for each in reversed(seen.events) if each.startswith("FailedCreate: ")), None)
    if refused is None:
        return State(status=Status.QUEUED, detail="its pod is about to be made")
    return waits_for_quota(refused)


def waits_for_quota(refused: str) -> State:
    """What it means that no pod was made. Raises DeployerError where none will be."""
    if "exceeded quota" not in refused:
        raise DeployerError(f"the cluster makes no pod: {refused}")
    beyond = _beyond_quota(refused)
    if beyond:
        raise DeployerError(f"the namespace's quota never allows {beyond}: {refused}")
    return State(status=Status.QUEUED, detail=f"it waits for its quota: {refused}")


def _beyond_quota(message: str) -> str:
    """What is asked for beyond all that the quota ever gives; empty where it only waits for others to end."""
    found = _QUOTA.search(message)
    if not found:
        return ""
    asked, most = (dict(each.partition("=")[::2] for each in part.split(",")) for part in found.groups())
    try:
        return next((f"{name}={asked[name]}" for name in asked if quantity(asked[name]) > quantity(most[name])), "")
    except (KeyError, ValueError):
        return ""


def _why_lost(seen: Seen, status: Facts) -> str:
    """Why its end, if it has one, says nothing about the configuration; empty where that is not so."""
    reason, message = str(status.get("reason") or ""), str(status.get("message") or "")
    disrupted = condition(status, "DisruptionTarget")
    if disrupted.get("status") == "True":
        return f"the cluster takes it away: {disrupted.get('reason')}: {disrupted.get('message')}"
    if reason in _LOST or reason.startswith("OutOf"):
        return f"{_LOST.get(reason, 'its node would not take it')} ({reason}: {message})"
    if _mapping(seen.pod or {}, "metadata").get("deletionTimestamp"):
        return "somebody deletes its pod"
    if status.get("phase") == "Unknown":
        return "its node does not answer"
    ready = condition(status, "Ready")
    # The kubelet gives a reason. Without one it is the word of the controller that misses the node.
    if seen.server.get("ready") is True and ready.get("status") == "False" and not ready.get("reason"):
        return "its node does not answer any more"
    unseen = (seen.ended or {}).get("reason") in {"ContainerStatusUnknown", "Unknown"}  # the node was restarted
    return "its node lost sight of the container" if unseen else ""


def _ended(ended: Facts) -> State:
    code, reason, message = int(str(ended.get("exitCode"))), str(ended.get("reason")), str(ended.get("message") or "")
    if reason in _NOT_STARTED:
        raise DeployerError(f"the container cannot be started: {reason}: {message}")
    if reason == "OOMKilled":
        evidence = "OOMKilled: the kernel ended it for memory"
        known = Diagnosis(cause=Cause.OUT_OF_MEMORY_RUNTIME, evidence=evidence, exact_advice=_ADVICE)
        return State(status=Status.EXITED, exit_code=code, detail=evidence, diagnosis=known)
    return State(status=Status.EXITED, exit_code=code)


def _why_unscheduled(status: Facts) -> tuple[str, str]:
    scheduled = condition(status, "PodScheduled")
    if scheduled.get("status") != "False":
        return "", ""
    return str(scheduled.get("reason")), str(scheduled.get("message") or "")


def condition(status: Facts, kind: str) -> Facts:
    """What is said of one thing in a status; empty where nothing is."""
    found = status.get("conditions")
    known = (each for each in (found if isinstance(found, list) else []) if isinstance(each, dict))
    return next((each for each in known if each.get("type") == kind), {})


def _mapping(value: Facts, name: str) -> Facts:
    found = value.get(name)
    return found if isinstance(found, dict) else {}
