"""What must be true of a ClusterBaseModel and of a ClusterServingRuntime before one is made. Pure.

The API server holds them against OME's own definitions when they are sent; this is what those do not tell, and what a
study needs beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from optuna_tuner.spec.misfits import Misfit
from optuna_tuner.values import Json

MODEL, RUNTIME = "ClusterBaseModel", "ClusterServingRuntime"
CONTAINER = "ome-container"  # OME knows the server's container by this name alone
PORT = 8080  # on which the runtimes of OME listen
TEMPLATE = "{{"  # OME sends a container's text through Go's templates, in which this begins an expression
_URI = re.compile(
    r"hf://[\w.-]+/[\w.-]+(@[\w./-]+)?|oci://n/[^/]+/b/[^/]+/o/.+|pvc://([a-z0-9-]+:)?[a-z0-9.-]+/.+"
    r"|(s3|az|gs|github|local|vendor)://.+"
)
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([KMBT])")
_SIZES = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}


def problems(kind: str, spec: Mapping[str, Json]) -> Iterator[Misfit]:
    """What is wrong with a spec, each with its path in it."""
    yield from _model_problems(spec) if kind == MODEL else _runtime_problems(spec)


def _model_problems(spec: Mapping[str, Json]) -> Iterator[Misfit]:
    uri = at(spec, "storage", "storageUri")
    if not isinstance(uri, str):
        yield Misfit(("storage", "storageUri"), "says where the model is, such as hf://org/name or pvc://claim/folder")
    elif not _URI.fullmatch(uri):
        yield Misfit(
            ("storage", "storageUri"), f'"{uri}" is no storage; write it like hf://org/name or pvc://claim/path'
        )
    path = at(spec, "storage", "path")
    if path is not None and not (isinstance(path, str) and re.fullmatch(r"(/[\w.@+-]+)+", path) and "/.." not in path):
        yield Misfit(("storage", "path"), f'must be an absolute path on the nodes, without "..", not "{path}"')
    if spec.get("disabled") is True:
        yield Misfit(("disabled",), "OME starts nothing of a model that is disabled")


def _runtime_problems(spec: Mapping[str, Json]) -> Iterator[Misfit]:
    runner = at(spec, "engineConfig", "runner")
    if not isinstance(runner, dict):
        why = "says how the server's container runs: {name: ome-container, image: ..., command: [...], resources: ...}"
        yield Misfit(("engineConfig", "runner"), why)
    else:
        yield from _runner_problems(runner)
    for part in ("leader", "worker"):
        if at(spec, "engineConfig", part) is not None:
            yield Misfit(("engineConfig", part), "servers that span nodes are not supported")
    if spec.get("disabled") is True:
        yield Misfit(("disabled",), "OME starts nothing with a runtime that is disabled")
    for place, each in enumerate(_items(spec.get("supportedModelFormats"))):
        if each.get("autoSelect") is True:
            why = "must be false: OME would choose the runtime for other people's services too"
            yield Misfit(("supportedModelFormats", place, "autoSelect"), why)
        if each.get("acceleratorConfig"):
            why = "OME would write it over the flags that are sampled"
            yield Misfit(("supportedModelFormats", place, "acceleratorConfig"), why)


def _runner_problems(runner: Mapping[str, Json]) -> Iterator[Misfit]:
    where = ("engineConfig", "runner")
    if runner.get("name") != CONTAINER:
        yield Misfit((*where, "name"), f"must be {CONTAINER}: OME and the tuner know the server's container by it")
    if not isinstance(runner.get("image"), str):
        yield Misfit((*where, "image"), "names the container's image")
    if runner.get("args"):
        why = "are replaced by those of a trial: write what is fixed into command"
        yield Misfit((*where, "args"), why)
    for name in ("command", "args"):
        words = runner.get(name)
        if isinstance(words, list) and any(TEMPLATE in str(word) for word in words):
            yield Misfit((*where, name), f'"{TEMPLATE}" would begin an expression of OME\'s templates')


def why_unfit(model: Mapping[str, Json], runtime: Mapping[str, Json]) -> str | None:
    """Why OME would not serve this model with this runtime, as far as both say; None where nothing speaks against it.

    OME's matcher is strict in both directions: what one says the other must say too
    (https://github.com/sgl-project/ome, pkg/runtimeselector/matcher.go). A model that does not say what it is gets its
    format when OME has fetched it.
    """
    if "modelFormat" not in model or "modelFramework" not in model:
        return None
    formats = list(_items(runtime.get("supportedModelFormats")))
    if formats and not any(_matches(model, each) for each in formats):
        return f"it serves {_list(formats)}, and the model is {_kind_of(model)}"
    size, least, most = (
        _size(value)
        for value in (
            model.get("modelParameterSize"),
            at(runtime, "modelSizeRange", "min"),
            at(runtime, "modelSizeRange", "max"),
        )
    )
    if size and ((least and size < least) or (most and size > most)):
        spans = f"{at(runtime, 'modelSizeRange', 'min')} to {at(runtime, 'modelSizeRange', 'max')}"
        return f"it serves models of {spans} parameters, and this one has {model['modelParameterSize']}"
    return None


def _matches(model: Mapping[str, Json], known: Mapping[str, Json]) -> bool:
    pairs = [(model.get(name), known.get(name)) for name in ("modelArchitecture", "quantization")]
    pairs += [
        (at(model, name, field), at(known, name, field))
        for name in ("modelFormat", "modelFramework")
        for field in ("name", "version")
    ]
    return all(mine == its for mine, its in pairs)


def _kind_of(thing: Mapping[str, Json]) -> str:
    framework = f"{at(thing, 'modelFramework', 'name')} {at(thing, 'modelFramework', 'version')}"
    words = (thing.get("modelArchitecture"), thing.get("quantization"), at(thing, "modelFormat", "name"), framework)
    return " ".join(str(word) for word in words if word)


def _list(formats: Sequence[Mapping[str, Json]]) -> str:
    return " and ".join(_kind_of(each) for each in formats)


def _size(text: Json) -> float:
    """Parameters; 0 where nothing is said."""
    found = _SIZE.fullmatch(text) if isinstance(text, str) else None
    return float(found[1]) * _SIZES[found[2]] if found else 0.0


def at(thing: Mapping[str, Json], *path: str) -> Json:
    """What stands at a path; None where nothing does."""
    found: Json = dict(thing)
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _items(value: Json) -> Iterator[Mapping[str, Json]]:
    return (each for each in (value if isinstance(value, list) else []) if isinstance(each, dict))
