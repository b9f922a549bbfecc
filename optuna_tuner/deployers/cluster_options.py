"""What a study may say of a Kubernetes cluster, whatever its servers are there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, Field

from optuna_tuner.deployers.kubernetes_parts import STRICT
from optuna_tuner.deployers.kubernetes_words import LabelKey, LabelValue, Name, OwnLabelKey
from optuna_tuner.deployers.load_client.options import LoadClient


class ClusterOptions(BaseModel):
    """Where the cluster is, who we are there, and how servers are reached and asked for."""

    model_config = STRICT

    kubeconfig: str | None = Field(
        default=None,
        min_length=1,
        description="File of the cluster and who we are there; default: KUBECONFIG, else ~/.kube/config, else the "
        "service account of the pod in which the worker runs.",
    )
    context: str | None = Field(default=None, min_length=1, description="Context of that file; default: its current.")
    namespace: Name = Field(default="default", description="Namespace of everything that is made for a trial.")
    reach: Literal["port-forward", "service"] = Field(
        default="port-forward",
        description="port-forward: through the API server, from anywhere; service: by its address in the cluster, for "
        "workers that run there.",
    )
    load_client: LoadClient | None = Field(
        default=None,
        description="The benchmark's program runs in the cluster, each run a Job; default: beside the worker.",
        examples=[{"image": "registry.example.org/genai-bench:0.0.5", "cpu": "4", "memory": "8Gi"}],
    )
    gpu_resource: LabelKey = Field(default="nvidia.com/gpu", description="What the cluster calls its GPUs.")
    labels: Mapping[OwnLabelKey, LabelValue] = Field(default_factory=dict, description="More labels of all objects.")
    annotations: Mapping[OwnLabelKey, str] = Field(
        default_factory=dict, description="Annotations of a trial's object and of its pod."
    )
    poll_s: float = Field(default=1, ge=0.2, le=60, description="Seconds between two questions about one server.")
    lost_after_s: float = Field(
        default=75,
        ge=0,
        description="So long is waited, when a server does not answer any more, for the cluster to say that its node "
        "is lost: the cluster's node-monitor-grace-period, and a bit.",
    )
    max_log_mb: int = Field(default=5, ge=1, le=1024, description="The log's beginning and end are read, in MiB.")
