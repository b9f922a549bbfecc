"""`run.json`: what was run, where, with what, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from optuna_tuner.results.bundle.summary import FROZEN
from optuna_tuner.values import Scalar

FORMAT = 1


class StudyFile(BaseModel):
    """The study that the trial belongs to."""

    model_config = FROZEN

    name: str = Field(description="Its name.")
    id: str = Field(description="Its id in the database.")
    file: Mapping[str, JsonValue] = Field(
        description="The study file as it was read: what it leaves out has its default."
    )
    sha256: str = Field(
        description="SHA-256 of `file` as JSON with sorted keys, in ASCII, without blanks: "
        'json.dumps(file, sort_keys=True, separators=(",", ":")).'
    )


class TrialRun(BaseModel):
    """The trial and its end."""

    model_config = FROZEN

    number: int = Field(description="Its number in the study.")
    kind: str = Field(description="What it is for: baseline, first, search, control, rerun, confirm.")
    attempt: str = Field(description="Its id in the database, and the name of its folder of files.")
    tries: int = Field(description="1 for the first run of these parameters.")
    retry_of: str | None = Field(description="The attempt before, whose machine failed.")
    same_as: int | None = Field(description="The trial whose server it would have been; it was not measured then.")
    state: str = Field(
        description="How it stands: queued, running, feasible, infeasible, pruned, failed, stopped, repeated."
    )
    cause: str | None = Field(description="Why it gave no feasible score: a word of the list of causes.")
    reason: str = Field(description="The evidence.")
    params: Mapping[str, Scalar] = Field(description="Sampled flags and variables.")
    values: tuple[float, ...] = Field(description="The objectives, in the order of the goals.")
    constraints: Mapping[str, float] = Field(description="Relative excess of each constraint; zero or less is kept.")
    level: str = Field(description="The load level that was scored; empty for a mean.")
    load_search: str = Field(description="How the search for the most load ended; empty without one.")


class Level(BaseModel):
    """What the benchmark reported of one load level: the metrics by which the trial was scored."""

    model_config = FROZEN

    level: str = Field(description="The load, as it is called everywhere.")
    probe: bool = Field(description="It only looked for a load.")
    metrics: Mapping[str, float] = Field(description="By the names of the vocabulary of metrics, in milliseconds.")
    seen: Mapping[str, float] = Field(
        description="Of server, machine, GPUs and load client meanwhile, by the vocabulary's names; the single looks "
        "are in raw/looks.jsonl."
    )
    report: str = Field(
        description="The client's raw report: a path in the trial's folder; here below `raw`, unless it is in "
        "requests.jsonl."
    )


class Engine(BaseModel):
    """The server."""

    model_config = FROZEN

    kind: str = Field(description="The engine.")
    version: str | None = Field(description="As the server said of itself, else as the study names it.")
    image: str | None = Field(description="The container's image, as it was asked for.")
    image_digest: str | None = Field(description="The image's id or digest, sha256:...: what really ran.")
    launch: Mapping[str, JsonValue] = Field(
        description="What was sent to the deployer: command line, variables, limits. Of secrets only the names."
    )
    effective_config: Mapping[str, Scalar] = Field(description="What the running server said that its flags are.")


class Place(BaseModel):
    """Where it ran."""

    model_config = FROZEN

    host: str = Field(description="The worker's host.")
    slot: str = Field(description="The worker's slot.")
    worker: str = Field(description="The worker's id.")
    deployer: str = Field(description="What started the server.")
    server: Mapping[str, JsonValue] = Field(
        description="How the deployer names it: a job's id, a container's id, a process."
    )
    gpu_uuids: tuple[str, ...] = Field(description="GPUs of the slot.")
    cores: tuple[int, ...] = Field(description="CPU cores of the slot.")
    machine: Mapping[str, JsonValue] = Field(
        description="The worker's own account: system, cpu, memory, gpus (name, memory), driver, versions of every "
        "package, git_commit of its folder, job (the cluster's names for it). Empty where it was not kept."
    )


class Times(BaseModel):
    """When."""

    model_config = FROZEN

    created: str = Field(description="The study, ISO 8601.")
    started: str | None = Field(description="The trial, ISO 8601.")
    ended: str | None = Field(description="The trial, ISO 8601; null while it runs.")
    phases_s: Mapping[str, float] = Field(description="Seconds of each phase.")


class Part(BaseModel):
    """One file of the bundle."""

    model_config = FROZEN

    bytes: int = Field(description="Its size.")
    sha256: str = Field(description="Its SHA-256.")


class Run(BaseModel):
    """One trial. What is not known is null or empty, and `missing` says so."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="run.json")

    bundle: int = Field(default=FORMAT, description="The version of this format.")
    written_by: str = Field(description="The optuna-tuner that wrote the bundle.")
    notice: str = Field(description="What must be known of every figure first: that it is simulated. Empty else.")
    study: StudyFile = Field(description="The study.")
    trial: TrialRun = Field(description="The trial and its end.")
    engine: Engine = Field(description="The server.")
    place: Place = Field(description="Where it ran.")
    times: Times = Field(description="When.")
    levels: tuple[Level, ...] = Field(description="In the order in which they were measured.")
    files: Mapping[str, Part] = Field(description="Every other file of the bundle, by its path.")
    missing: tuple[str, ...] = Field(description="What is not there, and why.")
