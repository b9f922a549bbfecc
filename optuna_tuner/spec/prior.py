"""What a program predicts without a GPU, to be tried first."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from optuna_tuner.spec.space import STRICT


class Prior(BaseModel):
    """A program that predicts, without a GPU, which configurations are best; they are tried first.

    aiconfigurator predicts the parallelism and the batch sizes of vLLM and SGLang from measured times of kernels. It is
    asked once, when the study is made; `plan` asks it, too, and shows what would be tried. Its figures are predictions:
    nothing is taken from them but the order. Where it is not installed, the study goes on without it.
    """

    model_config = STRICT

    kind: Literal["aiconfigurator"] = Field(default="aiconfigurator", description="The program.")
    system: str = Field(
        pattern=r"^[A-Za-z0-9]\w{0,63}$",
        description="The kind of GPU, as aiconfigurator calls it.",
        examples=["h200_sxm"],
    )
    gpus: int = Field(ge=1, le=1024, description="GPUs of one server.")
    best: int = Field(default=3, ge=1, le=100, description="So many configurations.")
    input_tokens: int | None = Field(
        default=None, ge=1, le=10_000_000, description="Of a request; default: the mean of the benchmark's scenarios."
    )
    output_tokens: int | None = Field(default=None, ge=2, le=10_000_000, description="Likewise.")
    executable: str | None = Field(
        default=None, min_length=1, description="Path of the program; default: see the environment variables."
    )
