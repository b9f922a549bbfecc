"""What report.json holds: every figure of a report, with its unit. Markdown and HTML are drawn from it alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

FROZEN = ConfigDict(frozen=True, extra="forbid")
Value = bool | int | float | str  # of a flag


def _encodable(text: str) -> str:
    return text.encode(errors="replace").decode()


# What a server or a client said: half of a surrogate pair, which no file can hold, becomes a question mark.
Foreign = Annotated[str, BeforeValidator(_encodable)]


class Figure(BaseModel):
    """One number with its unit."""

    model_config = FROZEN

    name: str = Field(description="What it is: a metric's name, or words.")
    value: float = Field(description="The number.")
    unit: str = Field(description='Its unit; "1" for a count or a share.')


class Fact(BaseModel):
    """A name and what is known under it."""

    model_config = FROZEN

    name: str = Field(description="What it is.")
    text: str = Field(description="What is known.")


class FlagRow(BaseModel):
    """One flag: what the default has, and what is recommended."""

    model_config = FROZEN

    flag: str = Field(description="Its canonical name.")
    default: Value | None = Field(description="The default's value; null where it is not known.")
    engines_own: bool = Field(description="Whether the study left the default's value to the engine.")
    recommended: Value | None = Field(description="The recommended value; null leaves it to the engine.")
    changed: bool = Field(description="Whether they differ.")


class GainRow(BaseModel):
    """One objective, best against default: of the confirming pairs where there are some, else of one run each."""

    model_config = FROZEN

    metric: str = Field(description="The objective's metric.")
    unit: str = Field(description="Its unit.")
    direction: Literal["maximize", "minimize"] = Field(description="Which way is better.")
    default: float | None = Field(description="The default's value.")
    best: float | None = Field(description="The recommended trial's value.")
    share: float | None = Field(description="The gain as a share of the default's value; positive is better.")
    low: float | None = Field(description="Lower end of the gain's interval; null where it was not confirmed.")
    high: float | None = Field(description="Upper end of it.")
    verdict: Literal["win", "tie", "loss", "inconclusive"] | None = Field(
        description="Null where nothing confirmed it."
    )


class LoadRow(BaseModel):
    """One load of the recommended trial or of the default; loads that were measured several times are averaged."""

    model_config = FROZEN

    load: float = Field(description="Requests in flight, or requests a second: see `unit` of the curve.")
    times: int = Field(description="How often it was measured.")
    keeps_slo: bool | None = Field(
        description="Whether it kept every constraint when it was measured; null where there is none."
    )
    metrics: Mapping[str, float] = Field(description="All that was measured, by metric.")


class BottleneckFound(BaseModel):
    """What limits one server at its highest load: a hypothesis."""

    model_config = FROZEN

    trial: int = Field(description="Its number.")
    limit: str = Field(
        description="compute, memory capacity, memory bandwidth, queueing, cpu, network, client, none, or cannot tell."
    )
    load: str = Field(description="The load at which it was seen.")
    text: str = Field(description="The hypothesis in words.")
    evidence: tuple[str, ...] = Field(description="The figures that speak for it.")
    moves: tuple[str, ...] = Field(description="What to try next.")
    missing: tuple[str, ...] = Field(description="What was not seen, and why.")
    seen: Mapping[str, Mapping[str, float]] = Field(description="What was seen at each load, by metric.")


class Curve(BaseModel):
    """What one server gave against the load, and what follows from it."""

    model_config = FROZEN

    trial: int = Field(description="Its number.")
    role: Literal["best", "default"] = Field(description="Which of the two it is.")
    scenario: str = Field(description="Input and output lengths; empty where the benchmark has no such word.")
    unit: str = Field(description="What a load counts: requests in flight, or requests a second.")
    rows: tuple[LoadRow, ...] = Field(description="By load.")
    sustained: float | None = Field(
        description="The most load that keeps the SLO, once that is not let rise again; null: none."
    )
    broken_at: float | None = Field(description="The next measured load, which breaks it; null where none was.")
    knee: float | None = Field(description="Where its throughput bends (Kneedle); null: no knee seen.")
    latency_knee: float | None = Field(description="Where its p99 latency bends; null: no knee seen.")
    peak: Figure | None = Field(description="The highest throughput at any load, whatever the SLO says.")
    peak_load: float | None = Field(description="The load of the peak.")
    text: str = Field(description="The same in words.")


class Issue(BaseModel):
    """One thing that went wrong, and what to conclude."""

    model_config = FROZEN

    what: str = Field(description="A cause's name, or words.")
    trials: int = Field(description="How many trials it met; 0 where it is not a matter of trials.")
    advice: str = Field(description="What to conclude.")
    evidence: Foreign = Field(description="The line that shows it, of the last such trial; may be empty.")


OfSearch = Literal["deploy", "not confirmed", "not decided", "keep the default", "nothing to deploy", "rehearsal"]
DecisionWord = Literal[OfSearch, "measured", "held", "regressed", "agrees", "differs", "cannot tell"]


class Summary(BaseModel):
    """The first page."""

    model_config = FROZEN

    decision: DecisionWord = Field(
        description="What to do; rehearsal: the servers were simulated, and nothing is to be deployed; measured: a "
        "benchmark of one configuration; held, regressed, cannot tell: a gate; agrees, differs, cannot tell: a rerun."
    )
    text: str = Field(description="Why, in one or two sentences.")
    trial: int | None = Field(description="The recommended trial; null where there is none.")
    level: str = Field(description="The load at which it was scored; empty for a mean over all.")
    flags: tuple[FlagRow, ...] = Field(description="Fixed flags and those that the trial has; changed ones first.")
    command: str = Field(description="What starts its server; empty where it cannot be rendered any more.")
    gains: tuple[GainRow, ...] = Field(description="One an objective.")
    confidence: float | None = Field(description="Of the intervals, 0 to 1.")
    pairs: int = Field(description="Pairs of winner and default that were measured back to back.")
    at_level: tuple[Figure, ...] = Field(description="Throughput and tail latency of the trial where it was scored.")
    efficiency: tuple[Figure, ...] = Field(
        description="Tokens a second and GPU, energy of a token, cost of a million tokens."
    )
    predicted: str = Field(
        description="Which flags are enough, and what more trials could bring: by the search's belief, not measured."
    )
    beyond_speed: str = Field(description="What else the flags change; empty for nothing.")
    issues: tuple[Issue, ...] = Field(description="Of the recommended trial, then causes of failure by number.")


class ParetoPoint(BaseModel):
    """One load of one trial: how fast it is for a user, and how much a GPU gives."""

    model_config = FROZEN

    trial: int = Field(description="Its number.")
    load: str = Field(description="The load.")
    tok_s_user: float = Field(description="Tokens a second that one user sees: 1000 / tpot_ms.mean.")
    tok_s: float = Field(description="Output tokens a second of one GPU, or of the server: see `pareto_per`.")
    keeps_slo: bool = Field(description="Whether the trial is feasible and this load keeps every constraint.")
    front: bool = Field(description="Whether no other load that keeps the SLO beats it in both.")


class ImportanceRow(BaseModel):
    """How much one flag mattered for one objective."""

    model_config = FROZEN

    metric: str = Field(description="The objective's metric.")
    flag: str = Field(description="The flag.")
    share: float = Field(description="Share of the variance that it explains, 0 to 1.")


class FailureCell(BaseModel):
    """Of the trials with these values of one flag, how many ended by one cause."""

    model_config = FROZEN

    flag: str = Field(description="The flag.")
    values: str = Field(description="One value, or a range.")
    trials: int = Field(description="Trials with such a value.")
    feasible: int = Field(description="How many of them are feasible.")
    causes: Mapping[str, int] = Field(description="How many of them ended by each cause.")


class DefaultRun(BaseModel):
    """The default, measured once."""

    model_config = FROZEN

    trial: int | None = Field(description="Its number.")
    role: str = Field(description="baseline, control, or its pair.")
    ended: str = Field(description="When, ISO 8601.")
    value: float | None = Field(description="The first objective; null where it gave none.")


class PairRow(BaseModel):
    """Winner and default, back to back."""

    model_config = FROZEN

    pair: int = Field(description="Its number, from 1.")
    default: float | None = Field(description="The default's value of the first objective.")
    winner: float | None = Field(description="The winner's.")


class RecheckRow(BaseModel):
    """One metric of then and of now: geometric means over the runs."""

    model_config = FROZEN

    who: str = Field(description="winner or default of a gate, trial of a rerun.")
    metric: str = Field(description="The metric.")
    then: float = Field(description="In its unit.")
    now: float = Field(description="In its unit.")


class TrialRow(BaseModel):
    """One trial, in short. All of it: optuna-tuner results STUDY --format json."""

    model_config = FROZEN

    number: int | None = Field(description="Its number.")
    role: str = Field(description="What it is for, where that is not the search.")
    state: str = Field(description="How it ended.")
    cause: str | None = Field(description="Why it is not feasible.")
    reason: Foreign = Field(description="The line that shows it.")
    level: str = Field(description="Where it was scored.")
    duration_s: float | None = Field(description="Seconds from its claim to its end.")
    values: Mapping[str, float | None] = Field(description="By objective.")
    flags: Mapping[str, Value] = Field(description="What it was tried with, beside the fixed flags.")


class Plot(BaseModel):
    """A figure, as plotly draws it."""

    model_config = FROZEN

    id: str = Field(description="Its name, also of its file in plots/.")
    title: str = Field(description="What it shows.")
    caption: str = Field(description="How to read it.")
    plotly: Mapping[str, JsonValue] = Field(description="`data` and `layout` of plotly.")


class Report(BaseModel):
    """The report of one study."""

    model_config = FROZEN

    format: Literal["optuna-tuner report 1"] = Field(
        default="optuna-tuner report 1", description="Version of this document."
    )
    made_by: str = Field(description="The program and its version.")
    written: str = Field(description="When, ISO 8601.")
    study: str = Field(description="The study's name.")
    description: str = Field(description="What its file says of it.")
    state: str = Field(description="How it stands, in words.")
    warnings: tuple[str, ...] = Field(description="What must be known of every figure here first.")
    missing: tuple[str, ...] = Field(description="What the report cannot say, why, and what would change that.")
    summary: Summary = Field(description="The first page.")
    method: tuple[Fact, ...] = Field(description="What was measured, with what, where.")
    design: tuple[Fact, ...] = Field(description="Why it was measured like that.")
    space: tuple[Fact, ...] = Field(description="The flags that were searched, and their values.")
    curves: tuple[Curve, ...] = Field(description="Load curves of best and default.")
    bottleneck: BottleneckFound | None = Field(
        description="Of the recommended trial, else of the default; null where neither was measured."
    )
    pareto_per: Literal["GPU", "server"] = Field(
        description="Whether `pareto` counts throughput by GPU, or by server where no GPU was used."
    )
    pareto: tuple[ParetoPoint, ...] = Field(description="Every load that was measured, of every trial of the search.")
    importance: tuple[ImportanceRow, ...] = Field(description="By fANOVA; empty where too little is known.")
    failures: tuple[FailureCell, ...] = Field(description="Where in the space trials failed, flag by flag.")
    machine_drift: str = Field(description="How the default changed meanwhile; empty where it was measured once.")
    default_runs: tuple[DefaultRun, ...] = Field(description="Every run of the default, in order.")
    pairs: tuple[PairRow, ...] = Field(description="The confirming pairs.")
    recheck: tuple[RecheckRow, ...] = Field(description="Of a gate or a rerun: what it gave then, and now.")
    trials: tuple[TrialRow, ...] = Field(description="All trials, by number.")
    plots: tuple[Plot, ...] = Field(description="The figures.")
    study_file: str = Field(description="The study file, to run it again.")
    commands: tuple[str, ...] = Field(description="What to type to run it again.")
