"""How far a pull of an image is, in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from optuna_tuner.errors import DeployerError
from optuna_tuner.values import Json

_THERE = {"Pull complete", "Already exists"}


def lines_of(steps: Iterable[Mapping[str, Json]]) -> Iterator[str]:
    """A line for each layer that has come. Raises DeployerError where the registry or the daemon refuses."""
    layers: dict[str, bool] = {}
    for step in steps:
        if "error" in step:
            raise DeployerError(f"the image cannot be pulled: {step['error']}")
        layer, status = str(step.get("id", "")), str(step.get("status", ""))
        if not layer or status.startswith("Pulling from"):
            continue
        came = status in _THERE and not layers.get(layer)
        layers[layer] = layers.get(layer, False) or status in _THERE
        if came:
            yield f"{sum(layers.values())} of {len(layers)} layers"
