"""What a study may say of `deployer: {kind: kubernetes}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from optuna_tuner.deployers.kubernetes_patch import patch_problem
from optuna_tuner.deployers.kubernetes_words import (
    Inside,
    LabelKey,
    LabelValue,
    Name,
    Outside,
    OwnLabelKey,
    Quantity,
    Subdomain,
)

STRICT = ConfigDict(frozen=True, extra="forbid")


class Volume(BaseModel):
    """A folder that the server sees: of a claim, or of the node."""

    model_config = STRICT

    claim: Subdomain | None = Field(default=None, description="Name of a PersistentVolumeClaim of the namespace.")
    host_path: Outside | None = Field(default=None, description="Absolute path of a folder of the node, instead.")
    target: Inside = Field(description="Absolute path in the container.", examples=["/models"])
    read_only: bool = Field(default=True, description="Whether the server may not write there.")

    @model_validator(mode="after")
    def _of_one_place(self) -> Self:
        if (self.claim is None) == (self.host_path is None):
            raise ValueError("say where it comes from: either claim or host_path")
        return self


class Toleration(BaseModel):
    """A taint of nodes that the server does not mind."""

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


class KubernetesOptions(BaseModel):
    """Options of `deployer: {kind: kubernetes}`."""

    model_config = STRICT

    kubeconfig: str | None = Field(
        default=None,
        min_length=1,
        description="File of the cluster and who we are there; default: KUBECONFIG, else ~/.kube/config, else the "
        "service account of the pod in which the worker runs.",
    )
    context: str | None = Field(default=None, min_length=1, description="Context of that file; default: its current.")
    namespace: Name = Field(default="default", description="Namespace of everything that is made.")
    reach: Literal["port-forward", "service"] = Field(
        default="port-forward",
        description="port-forward: through the API server, from anywhere; service: by its address in the cluster, for "
        "workers that run there.",
    )
    gpus: int = Field(default=0, ge=0, le=64, description="GPUs of each server.")
    gpu_resource: LabelKey = Field(default="nvidia.com/gpu", description="What the cluster calls its GPUs.")
    cpu: Quantity | None = Field(
        default=None, description="CPU cores of a server, asked for and at most; default: not said.", examples=["16"]
    )
    memory: Quantity | None = Field(
        default=None, description="Memory of a server, asked for and at most; default: not said.", examples=["128Gi"]
    )
    shm_size: Quantity = Field(
        default="16Gi", description="Most that /dev/shm may hold, which counts as memory of the server."
    )
    volumes: tuple[Volume, ...] = Field(
        default=(),
        description="Folders that the server sees; the model's, and one that it may write for its caches.",
        examples=[[{"claim": "models", "target": "/models"}]],
    )
    node_selector: Mapping[LabelKey, LabelValue] = Field(
        default_factory=dict, description="Labels of the nodes that will do."
    )
    tolerations: tuple[Toleration, ...] = Field(default=(), description="Taints of nodes that do not matter.")
    labels: Mapping[OwnLabelKey, LabelValue] = Field(default_factory=dict, description="More labels of all objects.")
    annotations: Mapping[OwnLabelKey, str] = Field(default_factory=dict, description="Annotations of Job and pod.")
    service_account: Subdomain | None = Field(
        default=None, description="Of the pod; its token is not given to the server in any case."
    )
    image_pull_policy: Literal["IfNotPresent", "Always", "Never"] = Field(
        default="IfNotPresent", description="When a node fetches the image."
    )
    image_pull_secrets: tuple[Subdomain, ...] = Field(default=(), description="Secrets with which it is fetched.")
    priority_class: Subdomain | None = Field(default=None, description="PriorityClass of the pod.")
    runtime_class: Subdomain | None = Field(default=None, description="RuntimeClass of the pod.")
    patch: Mapping[str, JsonValue] = Field(
        default_factory=dict,
        description="Strategic merge patch of the Job, for everything else; what the tuner stands on may not change.",
        examples=[{"spec": {"template": {"spec": {"hostIPC": True}}}}],
    )
    max_life_s: int = Field(
        default=172800,
        ge=1,
        description="A Job ends after so many seconds in any case, its time in the queue among them. More than all "
        "`limits` of a trial together.",
    )
    keep_s: int = Field(
        default=3600, ge=60, description="The cluster removes a Job that ended so many seconds after its end."
    )
    poll_s: float = Field(default=1, ge=0.2, le=60, description="Seconds between two questions about one server.")
    lost_after_s: float = Field(
        default=75,
        ge=0,
        description="So long is waited, when a server does not answer any more, for the cluster to say that its node "
        "is lost: the cluster's node-monitor-grace-period, and a bit.",
    )
    max_log_mb: int = Field(default=5, ge=1, le=1024, description="The log's beginning and end are read, in MiB.")

    @field_validator("patch")
    @classmethod
    def _touches_nothing_of_ours(cls, patch: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
        problem = patch_problem(patch)
        if problem:
            raise ValueError(problem)
        return patch

    @field_validator("volumes")
    @classmethod
    def _each_at_a_place_of_its_own(cls, volumes: tuple[Volume, ...]) -> tuple[Volume, ...]:
        targets = [volume.target.rstrip("/") for volume in volumes]
        twice = next((target for target in targets if targets.count(target) > 1), None)
        if twice:
            raise ValueError(f"two volumes have the target {twice}")
        return volumes
