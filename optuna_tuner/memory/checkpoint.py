"""A model's files on this machine: where its config is, and how large its weights are."""

from __future__ import annotations

import json
import os
import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from math import prod
from pathlib import Path

from optuna_tuner.errors import EnvironmentFaultError
from optuna_tuner.memory.config import Config
from optuna_tuner.values import Json

LONGEST_HEADER = 100_000_000  # bytes; the format's own limit
_BITS = {"F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "I32": 32, "I16": 16, "F4": 4}
_LAYER = re.compile(r"\blayers\.(\d+)\.")


def config_file(model: str) -> Path:
    """The config.json of a folder, a file, or a name in the local HF cache. Raises EnvironmentFaultError."""
    path = Path(model).expanduser()
    if path.is_file():
        return path
    if (path / "config.json").is_file():
        return path / "config.json"
    found = None if path.exists() else next(_cached(model), None)
    if found is None:
        raise EnvironmentFaultError(
            f'there is no config.json of "{model}": neither a folder or file of this name, nor a model in the local '
            f"Hugging Face cache ({_cache()}). Nothing is downloaded here; get the one small file with\n"
            f"  hf download {model} config.json\nand with model.safetensors.index.json beside it the size of the "
            "weights is exact"
        )
    return found


def weights(folder: Path, layers: int) -> int:
    """Bytes of the weights that lie here as safetensors, without layers above `layers` (drafts); 0 where they do not.

    From the header of each file where all are here, else from the index.
    """
    index = folder / "model.safetensors.index.json"
    with suppress(OSError, ValueError, KeyError, TypeError, struct.error):
        if not index.is_file():
            return sum(_tensors(sorted(folder.glob("*.safetensors")), layers))
        said = json.loads(index.read_text(encoding="utf-8"))
        files = [folder / name for name in sorted(set(said["weight_map"].values()))]
        if all(file.is_file() for file in files):
            return sum(_tensors(files, layers))
        return int(said["metadata"]["total_size"])
    return 0


def other_quantization(folder: Path, config: Config) -> dict[str, Json]:
    """ModelOpt's hf_quant_config.json, as the config would say it; nothing where there is none."""
    file = folder / "hf_quant_config.json"
    if "quantization_config" in config or not file.is_file():
        return {}
    said = json.loads(file.read_text(encoding="utf-8")).get("quantization", {})
    return {"quantization_config": {"quant_method": "modelopt", **said}}


def _cache() -> Path:
    home = os.environ.get("HF_HOME") or "~/.cache/huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or f"{home}/hub").expanduser()


def _cached(model: str) -> Iterator[Path]:
    """Configs of this model in the cache: of the revision called main first, then the newest."""
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", model):
        return
    folder = _cache() / f"models--{model.replace('/', '--')}"
    with suppress(OSError):
        main = (folder / "refs" / "main").read_text(encoding="utf-8").strip()
        if (folder / "snapshots" / main / "config.json").is_file():
            yield folder / "snapshots" / main / "config.json"
    yield from sorted(folder.glob("snapshots/*/config.json"), key=lambda file: -file.stat().st_mtime)


def _tensors(files: list[Path], layers: int) -> Iterator[int]:
    """Bytes of each tensor that a server loads."""
    for file in files:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > LONGEST_HEADER:
                raise ValueError(f"{file} is no safetensors file")
            header = json.loads(stream.read(length))
        for name, tensor in header.items():
            place = _LAYER.search(name)
            draft = name.startswith("mtp.") or (place is not None and int(place[1]) >= layers)
            if name != "__metadata__" and not draft:
                yield prod(tensor["shape"]) * _BITS.get(tensor["dtype"], 8) // 8
