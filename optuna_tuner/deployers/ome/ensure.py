"""Models and runtimes: made where they are not there, never changed, and waited for.

Any number of workers may do it at once. OME writes into a model what it found out about it, and a runtime may serve
other people; so what is there is left as it is, and refused where it is another thing than the study's.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING

from optuna_tuner.clock import Deadline, poll
from optuna_tuner.deployers.kubernetes_cluster import metadata_of
from optuna_tuner.deployers.kubernetes_pod import Facts
from optuna_tuner.deployers.kubernetes_refusal import RefusedError
from optuna_tuner.deployers.ome.options import ModelConfig, RuntimeConfig
from optuna_tuner.deployers.ome.shapes import MODEL, at
from optuna_tuner.errors import EnvironmentFaultError
from optuna_tuner.values import Json

if TYPE_CHECKING:
    from optuna_tuner.deployers.kubernetes_api import Api

_EVERY_S = 1.0
_GOES_S = 60.0  # one that is being deleted is waited for
Config = ModelConfig | RuntimeConfig

logger = logging.getLogger(__name__)


def ensure(api: Api, config: Config, ready_s: float) -> None:
    """Return when it is there, says what the study says, and, if it is a model, a node has it.

    Raises EnvironmentFaultError, which says what is to be done, and DeployerError where the API server refuses.
    """
    try:
        found = poll(lambda: _found(api, config), Deadline.after(_GOES_S), _EVERY_S)
    except RefusedError as error:
        if not error.is_of_rights:
            raise
        logger.warning("%s is taken to be there, since we may not look: %s", config.called, error)
        return
    if found is None:
        raise EnvironmentFaultError(f"the {config.kind} {config.called} is being deleted, and does not go")
    wrong = list(differences(config.claims, found.get("spec")))
    if wrong:
        raise EnvironmentFaultError(
            f"the cluster has another {config.kind} {config.called} than the study: {'; '.join(wrong)}. It is left as "
            f"it is: give the study's another name (deployer.{config.kind.lower()}_config.name), or say what is there"
        )
    if config.kind == MODEL:
        _wait_until_ready(api, config, ready_s)


def _found(api: Api, config: Config) -> Facts | None:
    """It, made now if need be; None while an older one of its name goes."""
    known = api.get(resource_of(config.kind), config.called, "")
    if known is None:
        _make(api, config)
        known = api.get(resource_of(config.kind), config.called, "")
    return None if known is None or metadata_of(known).get("deletionTimestamp") else known


def _make(api: Api, config: Config) -> None:
    """Whoever is second finds what the first one made."""
    what, manifest = f"{config.kind} {config.called}", config.manifest
    if manifest is None:
        raise EnvironmentFaultError(f"the cluster has no {what}: let the study make it, by a preset or a spec")
    try:
        api.create(manifest, "")
    except RefusedError as error:
        if error.is_of_rights:
            how = "let somebody who may apply it: optuna-tuner ome show STUDY.yaml | kubectl apply -f -"
            raise EnvironmentFaultError(f"there is no {what}, and we may not make it ({error}); {how}") from error
        if error.status != HTTPStatus.CONFLICT:
            raise
    else:
        logger.warning("made the %s; it stays: optuna-tuner ome delete %s", what, config.called)


def _wait_until_ready(api: Api, config: Config, ready_s: float) -> None:
    said: Json = ""

    def look() -> bool | None:
        nonlocal said
        status = (api.get(resource_of(config.kind), config.called, "") or {}).get("status")
        state = at(status, "state") if isinstance(status, dict) else None
        if state == "Failed":
            nodes = at(status, "nodesFailed") if isinstance(status, dict) else None
            raise EnvironmentFaultError(
                f"no node could get the model {config.called} (failed on {nodes}): the model agent's log says why"
            )
        if state not in {said, "Ready"}:
            logger.warning("waiting for the model %s: %s", config.called, state or "no node has looked at it yet")
            said = state
        return True if state == "Ready" else None

    if poll(look, Deadline.after(ready_s), _EVERY_S) is None:
        word = said or "no word of it"
        raise EnvironmentFaultError(
            f"no node has the model {config.called} after {ready_s:g} s (deployer.model_ready_s): {word}"
        )


def resource_of(kind: str) -> str:
    """What a kind is called in a path."""
    return f"{kind.lower()}s"


def differences(wanted: Json | Mapping[str, Json], there: Json, path: str = "spec") -> Iterator[str]:
    """Where an object does not say what is wanted; what it says beside that does not matter."""
    if isinstance(wanted, Mapping):
        for name, value in wanted.items():
            known = there.get(name) if isinstance(there, dict) else None
            yield from differences(value, known, f"{path}.{name}")
    elif isinstance(wanted, list) and isinstance(there, list) and len(wanted) == len(there):
        for place, (one, other) in enumerate(zip(wanted, there, strict=True)):
            yield from differences(one, other, f"{path}[{place}]")
    elif str(wanted) != str(there):  # a quantity may be a number or a text
        yield f"{path} is {there}, not {wanted}"
