"""What a study may say of OME's BenchmarkJob."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

from optuna_tuner.deployers.container_words import checked, image_problem
from optuna_tuner.deployers.kubernetes_parts import STRICT, Toleration
from optuna_tuner.deployers.kubernetes_words import LabelKey, LabelValue, Quantity, Subdomain
from optuna_tuner.deployers.load_client.options import LoadClient

RESULTS = "/optuna-tuner/results"


def _image(text: str) -> str:
    return checked(image_problem(text or " ", "ome"), text)


def _folder(text: str) -> str:
    parts = text.split("/")
    good = text.isprintable() and not any(each in {"", ".", ".."} for each in parts)
    return checked(None if good else f'must be a path in the claim such as tuner/results, not "{text}"', text)


Image = Annotated[str, AfterValidator(_image)]


class BenchmarkJobOptions(BaseModel):
    """The BenchmarkJob of a run, and the pod that reads its report off the claim."""

    model_config = STRICT

    claim: Subdomain = Field(description="PersistentVolumeClaim of the namespace; OME writes the report there.")
    folder: Annotated[str, AfterValidator(_folder)] = Field(
        default="optuna-tuner", description="Folder in the claim; each run has one of its own below it, which stays."
    )
    reader_image: Image = Field(
        description="Image with python3 (3.8 or newer) and cp, for the pod that reads the report.",
        examples=["python:3.12-slim"],
    )
    image: Image | None = Field(default=None, description="Of genai-bench; default: the one that OME is told to use.")
    cpu: Quantity = Field(default="2", description="CPU cores of genai-bench, asked for and at most.")
    memory: Quantity = Field(default="4Gi", description="Memory of genai-bench, asked for and at most.")
    env: Mapping[str, str] = Field(default_factory=dict, description="More environment variables of genai-bench.")
    tolerations: tuple[Toleration, ...] = Field(default=(), description="Taints of nodes that do not matter.")
    node_selector: Mapping[LabelKey, LabelValue] = Field(
        default_factory=dict, description="Labels of the nodes that will do, beside those that have the model."
    )
    start_s: float = Field(
        default=900,
        gt=0,
        description="So long is waited for it to run, while the server stands ready: OME looks for a ready server once "
        "a minute. It is none of limits.benchmark_s.",
    )

    @property
    def reader(self) -> LoadClient:
        """The pod that reads the report."""
        volume = {"claim": self.claim, "target": RESULTS}
        return LoadClient.model_validate(
            {"image": self.reader_image, "cpu": "1", "memory": "1Gi", "volumes": [volume], "start_s": self.start_s}
        )
