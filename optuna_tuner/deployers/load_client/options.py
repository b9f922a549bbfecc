"""What a study may say of a load client that runs in the cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, JsonValue, field_validator

from optuna_tuner.deployers.container_words import checked, image_problem
from optuna_tuner.deployers.kubernetes_parts import STRICT, Toleration, Volumes
from optuna_tuner.deployers.kubernetes_patch import guarded_job, patch_problem
from optuna_tuner.deployers.kubernetes_words import LabelKey, LabelValue, Quantity, Subdomain

CONTAINER = "client"
JOB = guarded_job(CONTAINER, {})


def _image(text: str) -> str:
    return checked(image_problem(text or " ", "kubernetes"), text)


class LoadClient(BaseModel):
    """The pod in which the benchmark's program runs."""

    model_config = STRICT

    image: Annotated[str, AfterValidator(_image)] = Field(
        description="Holds the benchmark's program and python3 (3.8 or newer); its own entrypoint is not used.",
        examples=["registry.example.org/genai-bench:0.0.5"],
    )
    cpu: Quantity = Field(default="2", description="CPU cores, asked for and at most.")
    memory: Quantity = Field(default="4Gi", description="Memory, asked for and at most.")
    env: Mapping[str, str] = Field(default_factory=dict, description="More environment variables of the program.")
    volumes: Volumes = Field(
        default=(),
        description="Folders that it sees, such as the one with the model's tokenizer.",
        examples=[[{"claim": "models", "target": "/models"}]],
    )
    node_selector: Mapping[LabelKey, LabelValue] = Field(
        default_factory=dict, description="Labels of the nodes that will do."
    )
    tolerations: tuple[Toleration, ...] = Field(default=(), description="Taints of nodes that do not matter.")
    image_pull_policy: Literal["IfNotPresent", "Always", "Never"] = Field(
        default="IfNotPresent", description="When a node fetches the image."
    )
    image_pull_secrets: tuple[Subdomain, ...] = Field(default=(), description="Secrets with which it is fetched.")
    start_s: float = Field(
        default=600,
        gt=0,
        description="So long is waited for it to run, while the server stands ready: a node, the image. It is none of "
        "limits.benchmark_s.",
    )
    patch: Mapping[str, JsonValue] = Field(
        default_factory=dict,
        description="Strategic merge patch of its Job, for everything else; what the tuner stands on may not change.",
        examples=[{"spec": {"template": {"spec": {"priorityClassName": "low"}}}}],
    )

    @field_validator("patch")
    @classmethod
    def _touches_nothing_of_ours(cls, patch: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
        problem = patch_problem(patch, JOB)
        if problem:
            raise ValueError(problem)
        return patch
