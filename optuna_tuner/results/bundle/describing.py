"""From what is known of a trial to its `run.json`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from optuna_tuner import __version__
from optuna_tuner.results.bundle import run
from optuna_tuner.results.trials import TrialState, TrialView
from optuna_tuner.results.views import StudyView
from optuna_tuner.store.artifacts import LAUNCH_FILE, MACHINE_FILE
from optuna_tuner.values import Handle, Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A trial, the folder where its files lie if they lie on this machine, and how the ledger names its server."""

    study: StudyView
    trial: TrialView
    folder: Path
    handle: Handle | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the files of a trial tell; empty where they do not lie here."""

    launch: Mapping[str, Json]
    machine: Mapping[str, Json]


def known_of(source: Source) -> Known:
    """Read what a worker wrote beside the reports; what is not there or broken is empty."""
    return Known(launch=_read(source.folder / LAUNCH_FILE), machine=_read(source.folder / MACHINE_FILE))


def described(source: Source, known: Known, files: Mapping[str, run.Part], missing: tuple[str, ...]) -> run.Run:
    """All of it."""
    study, trial = source.study, source.trial
    levels = (
        run.Level(level=str(each.load), probe=each.probe, metrics=each.metrics, seen=each.seen, report=each.report)
        for each in trial.measurements
    )
    return run.Run(
        written_by=__version__,
        notice=study.spec.notice,
        study=_study_file(study),
        trial=_trial(trial),
        engine=_engine(source, known),
        place=_place(source, known),
        times=_times(study, trial),
        levels=tuple(levels),
        files=files,
        missing=(*missing, *_unknown(source, known)),
    )


def _study_file(study: StudyView) -> run.StudyFile:
    content: dict[str, Json] = study.spec.model_dump(mode="json")
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return run.StudyFile(
        name=study.name, id=study.id, file=content, sha256=hashlib.sha256(canonical.encode()).hexdigest()
    )


def _trial(trial: TrialView) -> run.TrialRun:
    return run.TrialRun(
        number=trial.number or 0,
        kind=trial.kind.value,
        attempt=trial.attempt_id,
        tries=trial.tries,
        retry_of=trial.retry_of,
        same_as=trial.same_as,
        state=trial.state.value,
        cause=trial.cause.value if trial.cause else None,
        reason=trial.reason,
        params=trial.params,
        values=trial.values,
        constraints=trial.constraints,
        level=trial.level,
        load_search=trial.load_search,
    )


def _engine(source: Source, known: Known) -> run.Engine:
    spec, told = source.study.spec, source.trial.effective_config
    version = told.get("version") or told.get("build_info") or spec.engine.options.get("version")
    image = _image(known.launch) or spec.engine.options.get("image")
    return run.Engine(
        kind=spec.engine.kind,
        version=str(version) if version else None,
        image=str(image) if image else None,
        image_digest=_digest(source, image),
        launch=dict(known.launch),
        effective_config=told,
    )


def _image(launch: Mapping[str, Json]) -> Json:
    """Of the container that was asked for, where it was one."""
    body = launch.get("body")
    container = body.get("container") if isinstance(body, dict) else None
    return container.get("Image") if isinstance(container, dict) else None


def _digest(source: Source, image: Json) -> str | None:
    """As the deployer saw it, else as the study names it."""
    seen = source.handle.ref.get("image") if source.handle else None
    if seen:
        return str(seen)
    named = str(image or "").partition("@")[2]
    return named or None


def _place(source: Source, known: Known) -> run.Place:
    trial, handle = source.trial, source.handle
    return run.Place(
        host=trial.host,
        slot=trial.slot,
        worker=trial.worker,
        deployer=source.study.spec.deployer.kind,
        server={"name": handle.name, **handle.ref} if handle else {},
        gpu_uuids=trial.machine.gpus if trial.machine else (),
        cores=trial.machine.cores if trial.machine else (),
        machine=dict(known.machine),
    )


def _times(study: StudyView, trial: TrialView) -> run.Times:
    phases = {phase.value: seconds for phase, seconds in trial.phases_s.items()}
    return run.Times(
        created=study.created.isoformat(), started=_iso(trial.started), ended=_iso(trial.ended), phases_s=phases
    )


def _unknown(source: Source, known: Known) -> Iterator[str]:
    trial = source.trial
    if trial.ended is None:
        yield f"{trial.name} is {trial.state.value}: all that follows is what it was until now"
    elif not trial.measurements:
        why = f": {trial.cause.value}" if trial.cause else ""
        yield f"no load level of {trial.name} was measured to its end: it is {trial.state.value}{why}"
    elif trial.state in {TrialState.STOPPED, TrialState.FAILED}:
        yield f"loads after the last of levels: {trial.name} is {trial.state.value}: {trial.reason}"
    yield from _unknown_machine(source, known)
    if not known.launch:
        yield "the server's command line: launch.json does not lie here"
    if (image := _engine(source, known)).image and image.image_digest is None:
        yield f"what {image.image} was: the deployer did not tell its digest, and the study names none"
    if not trial.effective_config and trial.measurements:
        yield "the effective configuration: the server did not tell it"


def _unknown_machine(source: Source, known: Known) -> Iterator[str]:
    machine = source.trial.machine
    if not known.machine:
        yield "the machine, its GPUs, driver and versions: no account of them lies here"
    elif machine and machine.elsewhere:
        yield "GPUs and driver of the server's node: it ran on another machine than its worker"
    elif source.study.spec.deployer.kind == "running":
        yield "GPUs and driver of the server: it ran already, and nobody here gave it any"
    elif machine and machine.gpus and "driver" not in known.machine:
        yield "GPU and driver: NVML did not tell them (optuna-tuner[gpu])"


def _read(file: Path) -> Mapping[str, Json]:
    try:
        found: Json = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
