"""What a study file says elsewhere that does not go with its options for OME. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from optuna_tuner.catalog.shelf import plain_version, tagged_version
from optuna_tuner.deployers.container_words import image_problem
from optuna_tuner.deployers.load_client.misfits import Misfit
from optuna_tuner.deployers.load_client.misfits import misfits as client_misfits
from optuna_tuner.deployers.ome import presets
from optuna_tuner.deployers.ome.benchmark_request import OME_S_MODEL
from optuna_tuner.deployers.ome.options import OmeOptions
from optuna_tuner.deployers.ome.shapes import TEMPLATE, why_unfit
from optuna_tuner.values import Json

_HEEDS_NAMES = frozenset({"vllm", "fake"})
_RUNTIME = ("deployer", "clusterservingruntime_config")


def misfits(study: Mapping[str, Json], options: OmeOptions) -> Iterator[Misfit]:
    """The path of each value that does not fit, and why."""
    engine = study.get("engine")
    if isinstance(engine, dict):
        yield from _engine(engine, options)
    if options.gpus is None and options.clusterservingruntime_config.whole is None:
        yield ("deployer",), "a runtime that is only named does not tell its GPUs here: say gpus"
    yield from client_misfits(study, options)
    if options.benchmark_job is not None:
        yield from _benchmark_job(study)
    model, runtime = options.clusterbasemodel_config.whole, options.clusterservingruntime_config.whole
    why = why_unfit(model, runtime) if model and runtime else None
    if why:
        yield _RUNTIME, f"this runtime does not serve the model {options.clusterbasemodel_config.called}: {why}"


def _benchmark_job(study: Mapping[str, Json]) -> Iterator[Misfit]:
    """What a BenchmarkJob cannot be told, or does otherwise."""
    benchmark, engine, model = (_mapping(study.get(name)) for name in ("benchmark", "engine", "model"))
    kind, scenarios = benchmark.get("kind"), benchmark.get("scenario")
    if kind != "genai_bench":
        yield ("benchmark", "kind"), "a BenchmarkJob runs genai-bench alone (deployer.benchmark_job): take load_client"
    if benchmark.get("additional_params"):
        why = "OME gives the request parameters of a BenchmarkJob to nobody: leave them out, or take load_client"
        yield ("benchmark", "additional_params"), why
    if isinstance(scenarios, list) and len(set(map(str, scenarios))) < len(scenarios):
        yield ("benchmark", "scenario"), "a BenchmarkJob takes each scenario once"
    if engine.get("kind") in _HEEDS_NAMES and model.get("name") != OME_S_MODEL:
        why = f'must be "{OME_S_MODEL}": a BenchmarkJob calls every model so, and this engine answers to its name alone'
        yield ("model", "name"), why


def _mapping(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}


def _engine(engine: Mapping[str, Json], options: OmeOptions) -> Iterator[Misfit]:
    image = engine.get("image")
    problem = image_problem(image, "ome") if "image" in engine else None
    if problem:
        yield ("engine", "image"), problem
    if "command" in engine and options.command == "runtime":
        yield ("engine", "command"), "the runtime's own command is run (deployer.command: runtime)"
    yield from _other_engine(engine, options)
    for part in ("flags", "env"):
        said = engine.get(part)
        for name, value in said.items() if isinstance(said, dict) else ():
            if isinstance(value, str) and TEMPLATE in value:
                yield ("engine", part, name), f'"{TEMPLATE}" would begin an expression of OME\'s templates'


def _other_engine(engine: Mapping[str, Json], options: OmeOptions) -> Iterator[Misfit]:
    """The runtime's image holds another engine, or another version of it, than the flags are held against."""
    preset = options.clusterservingruntime_config.preset
    holds = presets.load(preset).engine if preset else ""
    kind, image = engine.get("kind"), engine.get("image") or options.runner.get("image")
    if holds and "image" not in engine and kind in {presets.load(each).engine for each in presets.names()} - {holds}:
        yield (*_RUNTIME, "preset"), f"its image holds {holds}, and the study's engine is {kind}"
    version, tagged = engine.get("version"), tagged_version(str(image or ""))
    if isinstance(version, str) and tagged and "image" not in engine and plain_version(version) != tagged:
        why = f"the flags would be held against {version}, and the runtime's image is of {tagged}"
        yield ("engine", "version"), f"{why}: say {tagged}, or override the runtime's image"
