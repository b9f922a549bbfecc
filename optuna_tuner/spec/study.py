"""The study file as a whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationInfo, field_validator, model_validator

from optuna_tuner.spec.confirm import NEEDS_BASELINE as CONFIRM_NEEDS_BASELINE
from optuna_tuner.spec.confirm import Confirm
from optuna_tuner.spec.goals import Goals
from optuna_tuner.spec.misfits import Misfit, refuse
from optuna_tuner.spec.prior import Prior
from optuna_tuner.spec.quality import NEEDS_BASELINE, Quality
from optuna_tuner.spec.recheck import Gate, Rerun, recheck_misfits
from optuna_tuner.spec.sampler import Pruner, Sampler
from optuna_tuner.spec.space import LARGEST, STRICT, Parameter, flag_name, params_of, written_in
from optuna_tuner.values import Params, Scalar

EMPTY_SPACE = (
    "is empty: name a flag to search; or, to measure the default alone, set budget.trials to 1 and leave out confirm, "
    "baseline_every, warm_start, prior and first"
)


class Part(BaseModel):
    """An engine, a deployer or a benchmark: its kind, and the options that this kind's plugin declares."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    kind: str = Field(description="Which plugin; see optuna-tuner plugins.")

    @property
    def options(self) -> Mapping[str, JsonValue]:
        """Everything but the kind; checked against the plugin's own Options."""
        return self.model_extra or {}

    @property
    def like(self) -> str:
        """The engine that this one only simulates, where it says so; empty for one that is what it is called."""
        return str(self.options.get("like") or "")

    @property
    def flags_of(self) -> str:
        """The engine whose flags these are."""
        return self.like or self.kind


class ModelSpec(BaseModel):
    """The model to serve."""

    model_config = STRICT

    name: str = Field(description="What clients call it.", examples=["llama-3-1-8b"], min_length=1)
    path: str | None = Field(
        default=None, description='Folder, hub id, or "builtin" for the small model that is made on this machine.'
    )
    tokenizer: str | None = Field(default=None, description="Folder or hub id of the tokenizer; default: the path.")


class Rule(BaseModel):
    """A combination that is known to be wrong: it is rejected before anything is launched."""

    model_config = STRICT

    forbid: str = Field(description="A condition on parameters, for example: max_num_batched_tokens < max_num_seqs")
    because: str = Field(default="", description="Shown with each trial that the rule rejects.")


class WarmStart(BaseModel):
    """Older studies in the same database, whose best configurations are tried first.

    Each is carried over flag by flag: by its name in the version of this study, with the nearest value that the space
    has; a flag that has no place there is left to the engine. It is done once, when the study is made; `plan` shows
    what would be tried, and what changed on the way.
    """

    model_config = STRICT

    studies: tuple[str, ...] = Field(min_length=1, strict=False, description="Names of studies of the same engine.")
    best: int = Field(default=3, ge=1, le=100, description="So many configurations of each.")


class Budget(BaseModel):
    """When the study is done: whichever comes first."""

    model_config = STRICT

    trials: int = Field(default=20, ge=1, le=1_000_000, description="Configurations, the baseline among them.")
    plateau: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="The search ends when the trials left could bring less than this, as a share of the best: 0.01 is "
        "1 %. Only for one objective.",
    )
    wall_time_s: float | None = Field(default=None, gt=0, description="Seconds of one run; no trial starts later.")
    gpu_time_s: float | None = Field(default=None, gt=0, description="GPU seconds of all trials together.")


class Limits(BaseModel):
    """How long each phase of one trial may take, and how much the machine may fail."""

    model_config = STRICT

    queue_s: float = Field(
        default=86400, gt=0, description="For a cluster to give the server a machine; then it is the machine's fault."
    )
    startup_s: float = Field(
        default=1800, gt=0, description="From the start of the server, on its machine, to its first answer."
    )
    warm_up_s: float = Field(default=300, gt=0, description="For the requests that are not measured.")
    quality_s: float = Field(default=600, gt=0, description="For the answers to all prompts of `quality`.")
    benchmark_s: float = Field(default=3600, gt=0, description="For all load levels together.")
    teardown_s: float = Field(default=60, gt=0, description="From SIGTERM to SIGKILL.")
    tries: int = Field(default=3, ge=1, le=10, description="How often a configuration is tried when the machine fails.")
    same_fault: int = Field(
        default=5, ge=2, le=1000, description="So many trials in a row that the machine fails alike end the study."
    )
    success_rate: float = Field(default=0.99, gt=0, le=1, description="Share of requests that must complete, 0 to 1.")
    watch_every_s: float = Field(
        default=1,
        ge=0,
        le=60,
        description="Seconds between two looks at the server's `/metrics`, processes and GPUs while it is measured, "
        "for the bottleneck; 0: none.",
    )
    lease_s: float = Field(
        default=900, ge=3, allow_inf_nan=False, description="A worker unheard of for so long is dead to the others."
    )


class StudySpec(BaseModel):
    """All that a user asks for in one file."""

    model_config = STRICT

    name: str = Field(pattern=r"^[\w .:+-]{1,100}$", description="1 to 100 letters, digits, spaces, or any of _.:+-")
    description: str = Field(default="", description="For people.")
    model: ModelSpec
    engine: Part
    deployer: Part = Field(default_factory=lambda: Part(kind="local"))
    benchmark: Part
    space: Mapping[str, Parameter]
    first: tuple[Mapping[str, Scalar], ...] = Field(
        default=(),
        strict=False,
        description="Configurations that are tried after the baseline, before the sampler chooses.",
        examples=[[{"max_num_seqs": 256}]],
    )
    warm_start: WarmStart | None = Field(default=None, description="What older studies found is tried first.")
    prior: Prior | None = Field(default=None, description="What a program predicts to be best is tried first.")
    rules: tuple[Rule, ...] = Field(default=(), strict=False)
    goals: Goals
    quality: Quality | None = Field(default=None, description="Which flags may change more than the speed; see below.")
    sampler: Sampler = Field(default_factory=Sampler)
    pruner: Pruner = Field(default_factory=Pruner)
    budget: Budget = Field(default_factory=Budget)
    limits: Limits = Field(default_factory=Limits)
    baseline: bool = Field(default=True, description="Trial 0 is the engine's own default: the fixed flags alone.")
    baseline_every: int = Field(
        default=0,
        ge=0,
        le=LARGEST,
        description="Trials between two measurements of the default, which show the machine's drift; 0: only trial 0.",
    )
    confirm: Confirm | None = Field(
        default=None, description="What is measured again when the search is over, for a verdict; see below."
    )
    gate: Gate | None = Field(default=None, description="Written by `optuna-tuner gate`; see below.")
    rerun: Rerun | None = Field(default=None, description="Written by `optuna-tuner rerun`; see below.")
    tags: Mapping[str, Scalar] = Field(default_factory=dict, description="Your own, for the record.")

    @field_validator("space")
    @classmethod
    def _one_spelling(cls, space: Mapping[str, Parameter]) -> Mapping[str, Parameter]:
        """Flags with underscores; two spellings of one flag are refused."""
        kept: dict[str, tuple[str, Parameter]] = {}
        for written, parameter in space.items():
            name = written if parameter.env else flag_name(written)
            if name in kept:
                refuse([Misfit((written,), f'the same flag as "{kept[name][0]}"; keep one of them')])
            kept[name] = (written, parameter)
        return {name: parameter for name, (_, parameter) in kept.items()}

    @field_validator("first")
    @classmethod
    def _as_in_the_space(
        cls, first: tuple[Mapping[str, Scalar], ...], before: ValidationInfo
    ) -> tuple[Mapping[str, Scalar], ...]:
        return tuple(written_in(before.data.get("space", {}), each) for each in first)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not self.space and not self._only_the_default:
            refuse([Misfit(("space",), EMPTY_SPACE)])
        if not self.baseline:
            asked = [NEEDS_BASELINE] * (self.quality is not None)
            asked += [f"confirm {CONFIRM_NEEDS_BASELINE}"] * (self.confirm is not None)
            asked += [f"baseline_every {CONFIRM_NEEDS_BASELINE}"] * (self.baseline_every > 0)
            refuse([Misfit(("baseline",), each) for each in asked])
        refuse(recheck_misfits(self.gate, self.rerun, len(self.first), self.goals, confirmed=bool(self.confirm)))
        if self.warm_start is not None and self.name in self.warm_start.studies:
            place = self.warm_start.studies.index(self.name)
            refuse([Misfit(("warm_start", "studies", place), "is this study itself; name an older one")])
        return self

    @property
    def _only_the_default(self) -> bool:
        """Whether nothing else than the default is to be measured, and that once."""
        again = self.confirm is not None or self.baseline_every > 0
        sources = self.warm_start is not None or self.prior is not None
        return self.baseline and self.budget.trials == 1 and not (again or sources or self.first)

    @property
    def is_benchmark(self) -> bool:
        """Whether it measures one configuration, without a search."""
        return not self.space

    @property
    def notice(self) -> str:
        """What must be known of every figure of this study first; empty for real servers and their search."""
        like, said = self.engine.like, [each.notice for each in (self.gate, self.rerun) if each is not None]
        if like:
            said.append(f"SIMULATED: a model of {like} answered, no GPU; no figure here is a real server's.")
        return " ".join(said)

    @property
    def first_params(self) -> tuple[Params, ...]:
        """The configurations of `first`; what they do not name is left to the engine, as in the baseline."""
        return tuple(params_of(self.space, each) for each in self.first)

    @property
    def fixed_flags(self) -> Mapping[str, Scalar]:
        """The flags that every trial has, by name with underscores: `engine.flags`."""
        flags = self.engine.options.get("flags")
        found = flags if isinstance(flags, dict) else {}
        return {flag_name(name): value for name, value in found.items() if isinstance(value, bool | int | float | str)}

    def values(self, params: Params) -> Mapping[str, Scalar]:
        """All that the rules may speak of in one configuration: fixed flags, sampled flags, sampled variables."""
        return {**self.fixed_flags, **values_of(params)}

    def space_hash(self) -> str:
        """The same for studies whose trials can be compared: the same question, asked in the same way.

        What counts: model, engine, benchmark, space, the rules' conditions, goals and quality, as they are written, in
        any order of keys. What does not: name, description, tags, deployer, sampler, pruner, budget, limits, baseline,
        baseline_every, confirm, gate, rerun, first, warm_start, prior and the rules' reasons; they may change when a
        study is resumed.
        """
        counted = {"model", "engine", "benchmark", "space", "goals", "quality"}
        question = self.model_dump(mode="json", include=counted, exclude_defaults=True)
        question["rules"] = sorted(rule.forbid for rule in self.rules)
        return hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()


def values_of(params: Params) -> Mapping[str, Scalar]:
    """Sampled flags and variables as rules may speak of them: numbers where a variable's text is one."""
    return {**params.flags, **{name: _number(text) for name, text in params.env.items()}}


def _number(text: str) -> Scalar:
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return text
