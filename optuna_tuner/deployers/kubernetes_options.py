"""What a study may say of `deployer: {kind: kubernetes}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, JsonValue, field_validator

from optuna_tuner.deployers.cluster_options import ClusterOptions
from optuna_tuner.deployers.kubernetes_parts import Toleration, Volumes
from optuna_tuner.deployers.kubernetes_patch import patch_problem
from optuna_tuner.deployers.kubernetes_words import LabelKey, LabelValue, Quantity, Subdomain


class KubernetesOptions(ClusterOptions):
    """Options of `deployer: {kind: kubernetes}`."""

    gpus: int = Field(default=0, ge=0, le=64, description="GPUs of each server.")
    cpu: Quantity | None = Field(
        default=None, description="CPU cores of a server, asked for and at most; default: not said.", examples=["16"]
    )
    memory: Quantity | None = Field(
        default=None, description="Memory of a server, asked for and at most; default: not said.", examples=["128Gi"]
    )
    shm_size: Quantity = Field(
        default="16Gi", description="Most that /dev/shm may hold, which counts as memory of the server."
    )
    volumes: Volumes = Field(
        default=(),
        description="Folders that the server sees; the model's, and one that it may write for its caches.",
        examples=[[{"claim": "models", "target": "/models"}]],
    )
    node_selector: Mapping[LabelKey, LabelValue] = Field(
        default_factory=dict, description="Labels of the nodes that will do."
    )
    tolerations: tuple[Toleration, ...] = Field(default=(), description="Taints of nodes that do not matter.")
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

    @field_validator("patch")
    @classmethod
    def _touches_nothing_of_ours(cls, patch: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
        problem = patch_problem(patch)
        if problem:
            raise ValueError(problem)
        return patch
