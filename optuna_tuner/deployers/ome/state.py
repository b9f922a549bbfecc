"""What an InferenceService, its pods and the events tell of a server, and what it means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optuna_tuner.deployers.kubernetes_pod import Facts, Seen, condition, state_of, waits_for_quota
from optuna_tuner.deployers.ome.shapes import CONTAINER, at
from optuna_tuner.errors import DeployerError
from optuna_tuner.values import State, Status

# What OME tells of a service that it cannot start, and whether that may pass: of pkg/apis/ome/v1beta1 and of the
# controllers' events. Many are told as events alone, and the status stays empty.
_NEVER = frozenset(
    {"AcceleratorClassError", "DeploymentModeError", "MergeSpecsError", "RuntimeSelectionError"}
    | {"RuntimeValidationError"}
)
_NEVER_BY_STATUS = frozenset(
    {"BaseModelNotFound", "InvalidPredictorSpec", "NoSupportingRuntime", "RuntimeDisabled", "RuntimeNotRecognized"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenService:
    """What was found of one server; the service and the events only where the pods do not tell all.

    `first` is the pod that began first: whatever OME puts in its place is another server. Empty before that.
    """

    pods: Sequence[Facts]
    service: Facts | None
    events: Sequence[str] = ()
    first: str = ""

    @property
    def pod(self) -> Seen:
        """The oldest pod: who comes later took its place."""
        oldest = min(self.pods, key=lambda pod: str(at(pod, "metadata", "creationTimestamp")), default=None)
        return Seen(pod=oldest, events=self.events, container=CONTAINER)

    @property
    def is_ready(self) -> bool:
        """Whether OME has called it ready. It may take that back while the server is busy: nobody asks again."""
        status = (self.service or {}).get("status")
        return condition(status if isinstance(status, dict) else {}, "Ready").get("status") == "True"


def state_of_service(seen: SeenService) -> State:
    """How the server fares. Raises DeployerError for one that will never begin."""
    if seen.pod.pod is None:
        return _without_pod(seen)
    if seen.first not in {"", seen.pod.pod_name}:
        return State(status=Status.LOST, detail=f"its pod {seen.first} is gone, and OME has made another one")
    return state_of(seen.pod)


def _without_pod(seen: SeenService) -> State:
    if seen.service is None:
        return State(status=Status.LOST, detail="somebody deleted its InferenceService")
    if at(seen.service, "metadata", "deletionTimestamp"):
        return State(status=Status.LOST, detail="somebody deletes its InferenceService")
    if seen.first:
        return State(status=Status.LOST, detail=f"its pod {seen.first} is gone")
    failure = at(seen.service, "status", "modelStatus", "lastFailureInfo")
    if isinstance(failure, dict) and failure.get("reason") in _NEVER_BY_STATUS:
        raise DeployerError(f"OME cannot start it: {_words(failure)}")
    final = next((each for each in reversed(seen.events) if each.partition(":")[0] in _NEVER), None)
    if final:
        raise DeployerError(f"OME cannot start it: {final}")
    refused = next((each for each in reversed(seen.events) if each.startswith("FailedCreate: ")), None)
    if refused:
        return waits_for_quota(refused)
    last = _words(failure) if isinstance(failure, dict) else next(iter(seen.events[-1:]), "")
    return State(status=Status.QUEUED, detail=f"OME prepares it: {last}".rstrip(": "))


def _words(failure: Mapping[str, object]) -> str:
    return f"{failure.get('reason')}: {failure.get('message')}"
