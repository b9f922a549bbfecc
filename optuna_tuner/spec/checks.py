"""Checks of a study file that need more than one of its fields, or the installed plugins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet

from optuna_tuner.contracts import Benchmark
from optuna_tuner.errors import Fault
from optuna_tuner.spec.catalogued import findings
from optuna_tuner.spec.draft import Draft
from optuna_tuner.spec.effects import check_effects
from optuna_tuner.spec.faults import one_of, show
from optuna_tuner.spec.first import check_first
from optuna_tuner.spec.flags import check_flags, check_when
from optuna_tuner.spec.goals import goal_misfits
from optuna_tuner.spec.most_load import SEARCHES, check_load_search
from optuna_tuner.spec.parts import Plugins
from optuna_tuner.spec.prior_check import check_prior
from optuna_tuner.spec.rules import RuleError, evaluate, names
from optuna_tuner.spec.shapes import did_you_mean
from optuna_tuner.spec.space import Choice, Parameter, Switch, flag_name
from optuna_tuner.spec.study import Rule
from optuna_tuner.spec.yaml_nodes import Path
from optuna_tuner.values import Scalar

NO_SHARE = "a gain over the best needs a single objective; leave it out, or keep one objective"
LARGEST_GRID_AXIS = 10_000  # values of one parameter; a grid of more is no grid that anybody waits for


def check(draft: Draft, plugins: Plugins) -> Iterator[Fault]:
    """Everything that is wrong between the sound pieces of a study file."""
    yield from plugins.unknown
    yield from plugins.faults
    yield from check_flags(draft, plugins.engine)
    yield from check_when(draft)
    catalogue = plugins.engine.catalogue() if plugins.engine is not None else None
    if catalogue is not None:
        yield from (
            draft.tree.fault(each.path, each.message, at_key=each.at_key) for each in findings(draft, catalogue)
        )
    if plugins.deployer is not None and isinstance(draft.tree.value, dict):
        yield from (draft.tree.fault(path, message) for path, message in plugins.deployer.misfits(draft.tree.value))
    yield from _check_start(draft, plugins)
    yield from _check_client(draft, plugins)
    if plugins.benchmark is not None:
        yield from _check_metrics(draft, plugins.benchmark, draft.parts["benchmark"].kind)
    yield from _check_goals(draft)
    for index, rule in draft.rules.items():
        yield from _check_rule(draft, ("rules", index, "forbid"), rule)
    yield from check_first(draft)
    yield from _check_search(draft)
    if plugins.benchmark is not None and plugins.benchmark.searched() is not None:
        yield from check_load_search(draft)
    yield from check_effects(draft)
    yield from check_prior(draft, plugins.benchmark)


def _check_start(draft: Draft, plugins: Plugins) -> Iterator[Fault]:
    """Whether what is to be started can be, and nothing else is."""
    if plugins.engine is None or plugins.deployer is None:
        return
    if plugins.engine.runs_already and not plugins.deployer.runs_already:
        yield draft.tree.fault(("engine", "kind"), "is not started: it needs deployer: {kind: running, url: ...}")
    if plugins.deployer.runs_already and not plugins.engine.runs_already:
        yield draft.tree.fault(("engine", "kind"), "must be openai: with this deployer nothing is started")


def _check_client(draft: Draft, plugins: Plugins) -> Iterator[Fault]:
    """Whether the load client can run where the deployer would have it."""
    if plugins.deployer is None or plugins.benchmark is None or not plugins.deployer.hosts_clients:
        return
    why = plugins.benchmark.bound_here()
    if why is not None:
        message = f"cannot run in the cluster (deployer.load_client): {why}"
        yield draft.tree.fault(("benchmark", "kind"), message)


def _check_metrics(draft: Draft, benchmark: Benchmark, kind: str) -> Iterator[Fault]:
    delivered = benchmark.metrics()
    for place, metric in draft.metrics.items():
        if metric not in delivered:
            message = f"the benchmark {kind} does not deliver {show(metric)}{_metric_hint(metric, delivered)}"
            yield draft.tree.fault(place, message)


def _metric_hint(metric: str, delivered: AbstractSet[str]) -> str:
    """The nearest name; the statistic is what is mostly forgotten."""
    if metric in SEARCHES:
        return f"; a search for it does: {SEARCHES[metric]}"
    longer = sorted(name for name in delivered if name.startswith((f"{metric}.", f"{metric}_")))
    if longer:
        return f"; did you mean {one_of(map(show, longer))}?"
    return did_you_mean(metric, sorted(delivered)) or f"; it has {', '.join(sorted(delivered))}"


def _check_goals(draft: Draft) -> Iterator[Fault]:
    objectives = [metric for place, metric in draft.metrics.items() if place[1] == "objectives"]
    for misfit in goal_misfits(objectives, draft.constraints, draft.request_slo):
        yield draft.tree.fault(("goals", *misfit.path), misfit.message)


def _check_rule(draft: Draft, path: Path, rule: Rule) -> Iterator[Fault]:
    fixed = draft.fixed_flags()
    declared = {flag_name(name) for name in draft.declared}
    try:
        spoken = names(rule.forbid)
    except RuleError as error:
        yield draft.tree.fault(path, str(error))
        return
    if not spoken:
        yield draft.tree.fault(path, "names no flag; a rule speaks of flags in space or in engine.flags")
    for name in sorted(spoken - declared - fixed.keys()):
        hint = did_you_mean(name, declared | fixed.keys())
        yield draft.tree.fault(path, f"{name} is neither in space nor in engine.flags{hint}")
    sound = {flag_name(name): parameter for name, parameter in draft.space.items()}
    if spoken and spoken <= sound.keys() | fixed.keys():
        yield from _try(draft, path, rule, [{**fixed, **_corner(sound, end)} for end in (0, -1)])
        if spoken <= fixed.keys() - declared and _holds(rule, fixed):
            yield draft.tree.fault(path, "holds for the fixed flags alone: every configuration would be rejected")


def _try(draft: Draft, path: Path, rule: Rule, corners: list[Mapping[str, Scalar]]) -> Iterator[Fault]:
    """Evaluate a rule at two corners of the space: what is compared with what does not depend on the values."""
    for corner in corners:
        try:
            said = evaluate(rule.forbid, corner)
        except RuleError as error:
            yield draft.tree.fault(path, f"cannot be evaluated: {error}")
            return
        except ArithmeticError:
            continue
        if not isinstance(said, bool):
            yield draft.tree.fault(path, "is no condition: it gives a value, not true or false")
            return


def _holds(rule: Rule, values: Mapping[str, Scalar]) -> bool:
    try:
        return evaluate(rule.forbid, values) is True
    except (RuleError, ArithmeticError):
        return False


def _corner(space: Mapping[str, Parameter], end: int) -> Mapping[str, Scalar]:
    """A configuration with every parameter at its first (0) or last (-1) value."""
    return {
        name: parameter.values()[end]
        if isinstance(parameter, Choice | Switch)
        else (parameter.low, parameter.high)[end]
        for name, parameter in space.items()
    }


def _check_search(draft: Draft) -> Iterator[Fault]:
    """What the sampler and the pruner cannot do."""
    objectives = draft.tree.at(("goals", "objectives"))
    several = isinstance(objectives, list) and len(objectives) > 1
    if draft.pruner.kind not in {"none", "racing"} and several:
        message = "this pruner needs a single objective; take racing, leave it out, or keep one objective"
        yield draft.tree.fault(("pruner", "kind"), message)
    if several and draft.tree.at(("budget", "plateau")) is not None:
        yield draft.tree.fault(("budget", "plateau"), NO_SHARE)
    if several and draft.tree.at(("confirm", "simplify")):
        yield draft.tree.fault(("confirm", "simplify"), NO_SHARE)
    if draft.sampler.kind != "grid":
        return
    for name, parameter in draft.space.items():
        size = parameter.size()
        if size is None:
            yield draft.tree.fault(("space", name), "the grid sampler needs a step here; add step, or use choices")
        elif size > LARGEST_GRID_AXIS:
            message = f"has {size} values, too many for the grid sampler; give it a larger step"
            yield draft.tree.fault(("space", name), message)
