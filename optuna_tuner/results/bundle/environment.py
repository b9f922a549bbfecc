"""What surrounded a trial, as plain facts of which two can be held against each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from optuna_tuner.results.bundle.run import Run
from optuna_tuner.values import Scalar

# Of the worker's Python: what serves, what loads, and what both stand on.
PACKAGES = ("optuna-tuner", "vllm", "sglang", "llama-cpp-python", "genai-bench", "httpx", "torch", "numpy")
MACHINE = ("cpu", "logical_cores", "memory_bytes", "architecture", "system", "distribution", "driver", "git_commit")

Facts = Mapping[str, Scalar]


class Change(NamedTuple):
    """One fact of then and of now; None: not known there."""

    name: str
    then: Scalar | None
    now: Scalar | None


def environment(run: Run) -> Facts:
    """Engine, image, machine, GPUs, driver, versions. What is not known is left out."""
    return {name: value for name, value in _facts(run) if value not in {None, ""}}


def changed(then: Facts, now: Facts) -> tuple[Change, ...]:
    """What is another than it was, also where only one side knows it."""
    names = dict.fromkeys([*then, *now])
    return tuple(Change(name, then.get(name), now.get(name)) for name in names if then.get(name) != now.get(name))


def _facts(run: Run) -> Iterator[tuple[str, Scalar | None]]:
    machine, engine = run.place.machine, run.engine
    yield "engine", engine.kind
    yield "engine.version", engine.version
    yield "engine.image", engine.image
    yield "engine.image_digest", engine.image_digest
    yield "deployer", run.place.deployer
    yield "host", run.place.host
    yield "gpus", _gpus(machine.get("gpus")) or len(run.place.gpu_uuids)
    yield "cores", len(run.place.cores)
    for name in MACHINE:
        yield name, _scalar(machine.get(name))
    versions = machine.get("versions")
    told = versions if isinstance(versions, dict) else {}
    for name in ("python", *PACKAGES):
        yield f"version of {name}", _scalar(told.get(name))


def _gpus(found: object) -> str:
    """`2 x NVIDIA L40S`."""
    models = found if isinstance(found, list) else []
    names = Counter(str(each.get("name")) if isinstance(each, dict) else str(each) for each in models)
    return ", ".join(f"{count} x {name}" for name, count in names.items())


def _scalar(value: object) -> Scalar | None:
    return value if isinstance(value, bool | int | float | str) else None
