"""What GPUs can compute and how they are connected, beside the memory that `optuna_tuner.memory.gpus` knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from optuna_tuner.errors import NotFoundError
from optuna_tuner.memory.gpus import Gpu, gpu


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """One kind of GPU in a host of several.

    Attributes:
        gpu: its memory: size and bandwidth.
        bf16, fp8: dense matrix products, in floating point operations a second, as NVIDIA's data sheets state them
            (half of the figures "with sparsity").
        link: bytes a second to the other GPUs of the host, in one direction: NVLink, or PCI Express.
        hop_s: seconds of the smallest exchange between two GPUs; a rule of thumb, no data sheet states it.

    """

    gpu: Gpu
    bf16: float
    fp8: float
    link: float
    hop_s: float


def accelerator(name: str) -> Accelerator:
    """The accelerator of this name. Raises NotFoundError, which names the known ones."""
    if name not in _KNOWN:
        raise NotFoundError(f'the simulation does not know the GPU "{name}"; known: {", ".join(_KNOWN)}')
    return _KNOWN[name]


# NVIDIA's data sheets, from memory: H100 and H200 (SXM: 989 and 1,979 TFLOP/s, NVLink 900 GB/s both ways together), HGX
# B200 (2.25 and 4.5 PFLOP/s a GPU, 1,800 GB/s), L40S (362 and 733 TFLOP/s) and L4 (121 and 242); these two have PCI
# Express 4.0 x16 (64 GB/s).
_KNOWN: Mapping[str, Accelerator] = MappingProxyType(
    {
        "H100": Accelerator(gpu=gpu("H100"), bf16=989e12, fp8=1979e12, link=450e9, hop_s=5e-6),
        "H200": Accelerator(gpu=gpu("H200"), bf16=989e12, fp8=1979e12, link=450e9, hop_s=5e-6),
        "B200": Accelerator(gpu=gpu("B200"), bf16=2250e12, fp8=4500e12, link=900e9, hop_s=5e-6),
        "L40S": Accelerator(gpu=gpu("L40S"), bf16=362e12, fp8=733e12, link=32e9, hop_s=16e-6),
        "L4": Accelerator(gpu=gpu("L4"), bf16=121e12, fp8=242e12, link=32e9, hop_s=16e-6),
    }
)
