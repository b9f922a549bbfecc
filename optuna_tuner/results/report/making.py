"""From a study to its report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from shlex import quote
from typing import cast

from optuna.trial import FrozenTrial

from optuna_tuner import __version__
from optuna_tuner.contracts import Benchmark, Kinds
from optuna_tuner.plugins import make
from optuna_tuner.results.best import value_of
from optuna_tuner.results.export.heading import engine_version
from optuna_tuner.results.importance import FEWEST_TRIALS, importance_of
from optuna_tuner.results.rechecked import rows
from optuna_tuner.results.report import plots
from optuna_tuner.results.report.benchmark import benchmark_warnings, not_measured
from optuna_tuner.results.report.bottleneck import bottleneck_found
from optuna_tuner.results.report.document import Curve, ImportanceRow, RecheckRow, Report, TrialRow
from optuna_tuner.results.report.efficiency import Launches, Price, pareto, power_w
from optuna_tuner.results.report.failures import failure_map
from optuna_tuner.results.report.load import curve_of, curves_of
from optuna_tuner.results.report.method import design, method, space
from optuna_tuner.results.report.noise import pair_rows, runs_of_default
from optuna_tuner.results.report.plots import Findings
from optuna_tuner.results.report.summary import summary
from optuna_tuner.results.trials import TrialView
from optuna_tuner.results.views import AT_REST, StudyView
from optuna_tuner.results.why import Why
from optuna_tuner.results.wording import span
from optuna_tuner.spec.writing import to_yaml
from optuna_tuner.store.records import AttemptKind
from optuna_tuner.store.store import Store
from optuna_tuner.values import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What a report is made of. `told` is Optuna's history of the study, from which importance is known.

    `why` is what the search believes of single flags.
    """

    study: StudyView
    model: Model
    kinds: Kinds
    written: datetime
    told: Sequence[FrozenTrial] = ()
    price: Price | None = None
    why: Why | None = None


def report(material: Material) -> Report:
    """The whole report, of a study in any state; what it cannot say it names."""
    study = material.study
    launches = Launches(study, material.model, material.kinds)
    version = engine_version(study, study.best.trial or study.baseline, launches.engine)
    found = Findings(
        curves=_curves(study),
        pareto_per="GPU" if launches.by_gpu else "server",
        pareto=pareto(study, launches),
        importance=_importance(material),
        failures=failure_map(study),
    )
    return Report(
        made_by=f"optuna-tuner {__version__}",
        written=material.written.isoformat(timespec="seconds"),
        study=study.name,
        description=study.spec.description,
        state=f"{study.state.value}, {study.spent} of {study.budget} trials in {span(study.elapsed_s)}",
        warnings=tuple(_warnings(study)),
        missing=tuple(_missing(material, launches, found)),
        summary=summary(study, launches, material.price, material.why),
        method=method(study, version, material.price),
        design=design(study),
        space=space(study.spec.space),
        curves=found.curves,
        bottleneck=bottleneck_found(study),
        pareto_per=found.pareto_per,
        pareto=found.pareto,
        importance=found.importance,
        failures=found.failures,
        machine_drift=study.machine_drift,
        default_runs=runs_of_default(study),
        pairs=pair_rows(study),
        recheck=tuple(RecheckRow(**row._asdict()) for row in rows(study)),
        trials=tuple(_row(study, trial) for trial in study.trials),
        plots=plots.all_of(study, found),
        study_file=to_yaml(study.spec),
        commands=_commands(study),
    )


def told_of(store: Store, study: StudyView) -> Sequence[FrozenTrial]:
    """Optuna's history of a study."""
    storage = store.optuna_storage()
    return store.weathered(lambda: storage.get_all_trials(storage.get_study_id_from_name(study.name), deepcopy=False))


def _curves(study: StudyView) -> tuple[Curve, ...]:
    best, base, goals = study.best.trial, study.baseline, study.spec.goals
    if study.spec.is_benchmark:
        return curves_of(base, goals, is_best=base.feasible) if base else ()
    found = [curve_of(best, goals, is_best=True)] if best else []
    if base and (best is None or base.attempt_id != best.attempt_id):
        found.append(curve_of(base, goals, is_best=False))
    return tuple(curve for curve in found if curve)


def _importance(material: Material) -> tuple[ImportanceRow, ...]:
    objectives = material.study.spec.goals.objectives
    return tuple(
        ImportanceRow(metric=objective.metric, flag=flag, share=share)
        for place, objective in enumerate(objectives)
        for flag, share in importance_of(material.told, place).shares.items()
    )


def _row(study: StudyView, trial: TrialView) -> TrialRow:
    return TrialRow(
        number=trial.number,
        role=trial.role,
        state=trial.state.value,
        cause=trial.cause.value if trial.cause else None,
        reason=trial.repeats or trial.reason,
        level=trial.level,
        duration_s=None if trial.duration_s is None else round(trial.duration_s, 3),
        values={each.metric: value_of(trial, place, each) for place, each in enumerate(study.spec.goals.objectives)},
        flags=dict(trial.params),
    )


def _warnings(study: StudyView) -> Iterator[str]:
    """What must be known of every figure first."""
    if study.spec.notice:
        yield study.spec.notice
    if study.spec.is_benchmark:
        yield from benchmark_warnings(study)
        return
    if study.state not in AT_REST:
        ended = f"{study.spent} of {study.budget} trials have ended"
        yield f"The study is {study.state.value}: {ended}. All of this may change."
    if study.ended_because:
        yield f"It was ended: {study.ended_because}"
    if study.best.trial is None:
        yield "No trial is feasible: nothing here may be deployed as it is."
    elif study.is_unconfirmed:
        yield "Not confirmed: the gain is that of one run each, and the best of many runs is mostly lucky."
    if study.baseline and study.baseline.metrics and not study.baseline.feasible:
        broken = [name for name, excess in study.baseline.constraints.items() if excess > 0]
        yield f"The engine's default itself does not keep {' and '.join(broken)}."


def _missing(material: Material, launches: Launches, found: Findings) -> Iterator[str]:
    """What the report cannot say, why, and what would change that."""
    study, best = material.study, material.study.best.trial
    if study.spec.is_benchmark:
        loads = cast("Benchmark", make(material.kinds, "benchmarks", study.spec.benchmark)).loads()
        yield from not_measured(study, loads)
    else:
        yield from _missing_of_search(study, found)
    if best and not any(len(curve.rows) > 1 for curve in found.curves):
        yield "The limit of the load, and its knee: one load was measured; name several, or let it be searched."
    if best and not launches.gpus(best):
        used = "the server used no GPU" if launches.command(best) else "how many GPUs the server has is not known here"
        yield f"Figures by GPU, and a cost: {used}."
    elif best:
        yield from _missing_of_gpus(best, material.price)
    if study.trials and not found.pareto:
        yield "The Pareto front of tokens/s/user against throughput: it needs output_throughput_tok_s and tpot_ms.mean."


def _missing_of_gpus(best: TrialView, price: Price | None) -> Iterator[str]:
    if power_w(best) is None:
        yield "The energy of a token: NVML did not tell what the GPUs draw (optuna-tuner[gpu] on the worker's machine)."
    if price is None:
        yield "The cost of a million tokens: give the price of a GPU with --gpu-price."


def _missing_of_search(study: StudyView, found: Findings) -> Iterator[str]:
    best = study.best.trial
    if study.baseline is None:
        yield "The gain: the default was not measured (baseline: false)."
    elif not study.comparison.gains:
        yield f"The gain. {study.comparison.text}"
    if study.is_unconfirmed:
        yield f"A verdict: optuna-tuner confirm {quote(study.name)} measures best and default again, back to back."
    if best and best.kind is not AttemptKind.BASELINE and not study.machine_drift:
        yield "Noise and drift: the default was measured once; baseline_every or confirm measures it again."
    if not found.importance:
        yield f"Importance of the flags: it needs {FEWEST_TRIALS} trials that ran to their end with different results."


def _commands(study: StudyView) -> tuple[str, ...]:
    name = quote(study.name)
    steps = ["optuna-tuner plan study.yaml", "optuna-tuner run study.yaml", f"optuna-tuner report {name} -o report"]
    if study.is_unconfirmed:
        steps.insert(2, f"optuna-tuner confirm {name}")
    if study.best.trial:
        steps.append(f"optuna-tuner export {name} --to shell -o serve.sh")
    return tuple(steps)
