"""Parts of a pod that a study may ask for, a server's or a load client's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from optuna_tuner.deployers.kubernetes_words import Inside, LabelKey, LabelValue, Outside, Subdomain
from optuna_tuner.values import Json

STRICT = ConfigDict(frozen=True, extra="forbid")


class Volume(BaseModel):
    """A folder that the container sees: of a claim, or of the node."""

    model_config = STRICT

    claim: Subdomain | None = Field(default=None, description="Name of a PersistentVolumeClaim of the namespace.")
    host_path: Outside | None = Field(default=None, description="Absolute path of a folder of the node, instead.")
    target: Inside = Field(description="Absolute path in the container.", examples=["/models"])
    read_only: bool = Field(default=True, description="Whether nothing may be written there.")

    @model_validator(mode="after")
    def _of_one_place(self) -> Self:
        if (self.claim is None) == (self.host_path is None):
            raise ValueError("say where it comes from: either claim or host_path")
        return self

    @property
    def source(self) -> dict[str, Json]:
        """Where it comes from, as a pod says it."""
        if self.claim is not None:
            return {"persistentVolumeClaim": {"claimName": self.claim, "readOnly": self.read_only}}
        return {"hostPath": {"path": self.host_path, "type": "Directory"}}


class Toleration(BaseModel):
    """A taint of nodes that the pod does not mind."""

    model_config = STRICT

    key: LabelKey | None = Field(default=None, description="Of the taint; default: every key, with operator Exists.")
    operator: Literal["Equal", "Exists"] = Field(default="Equal", description="How value is compared.")
    value: LabelValue | None = Field(default=None, description="Of the taint.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="Of the taint; default: every effect."
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.operator == "Exists" and self.value is not None:
            raise ValueError("with operator Exists there is no value")
        if self.operator == "Equal" and self.key is None:
            raise ValueError("without a key the operator must be Exists")
        return self

    @property
    def said(self) -> dict[str, Json]:
        """As a pod says it."""
        return {name: value for name, value in self.model_dump(mode="json").items() if value is not None}


def mounts_of(volumes: Sequence[Volume]) -> tuple[list[Json], list[Json]]:
    """The volumes of a pod, and where its container sees them."""
    sources: list[Json] = [{"name": f"volume-{number}", **volume.source} for number, volume in enumerate(volumes)]
    places: list[Json] = [
        {"name": f"volume-{number}", "mountPath": volume.target, "readOnly": volume.read_only}
        for number, volume in enumerate(volumes)
    ]
    return sources, places


def different_targets(volumes: tuple[Volume, ...]) -> tuple[Volume, ...]:
    """The volumes, each at a place of its own. Raises ValueError, as pydantic's validators do."""
    targets = [volume.target.rstrip("/") for volume in volumes]
    twice = next((target for target in targets if targets.count(target) > 1), None)
    if twice:
        raise ValueError(f"two volumes have the target {twice}")
    return volumes


Volumes = Annotated[tuple[Volume, ...], AfterValidator(different_targets)]
