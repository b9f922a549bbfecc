"""What a person takes into production: one trial's server, written for whoever will start it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

DEFAULT_HOST = "127.0.0.1"


class Format(StrEnum):
    """What is written."""

    SHELL = "shell"  # a bash script that becomes the server
    DOCKER = "docker"  # a bash script with one `docker run`
    COMPOSE = "compose"  # a compose.yaml with one service
    KUBERNETES = "kubernetes"  # manifests: a Deployment and a Service
    HELM_VALUES = "helm-values"  # values for the chart of vLLM's production stack
    OME = "ome"  # manifests for the Open Model Engine: an InferenceService, its model and its runtime
    SBATCH = "sbatch"  # a bash script that Slurm runs as a job
    VLLM_CONFIG = "vllm-config"  # what `vllm serve --config` reads
    JSON = "json"  # everything as data


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What is asked for. Without a trial it is the best; `image` stands in the place of the study's own."""

    form: Format
    trial: int | None = None
    image: str | None = None
    host: str = DEFAULT_HOST
    port: int = 8000
