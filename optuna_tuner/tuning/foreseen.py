"""What is known of a study's configurations before its first trial."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice
from random import Random
from typing import cast

from optuna_tuner.contracts import Deployer, Engine, Kinds
from optuna_tuner.plugins import make
from optuna_tuner.search.objection import NOTHING_KNOWN, Objection, first_of, study_rules
from optuna_tuner.spec.space import suggest
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.tuning.gpus import find_gpus, largest_mib
from optuna_tuner.tuning.model import model_paths
from optuna_tuner.tuning.objections import engine_rules, memory_limit
from optuna_tuner.values import Params, Slot

ANY_SLOT = Slot(name="any", host="")  # of which nothing is known, so that no rule speaks of its GPUs
DRAWS = 32  # of one configuration, until nothing is known against it
LOOKED_AT = 200  # random configurations
ENOUGH = 10  # of them are not refused: with fewer, one in twenty, even drawing again often finds nothing


def anywhere(spec: StudySpec, kinds: Kinds) -> Objection:
    """What is known against configurations on every slot. The engine is made when the first one is asked about.

    Asking raises UnknownPluginError where the engine's kind is not installed.
    """

    @cache
    def objection() -> Objection:
        engine = cast("Engine", make(kinds, "engines", spec.engine))
        return first_of(study_rules(spec), engine_rules(engine, model_paths(spec.model), ANY_SLOT))

    def ask(params: Params) -> str | None:
        return objection()(params)

    return ask


def here(spec: StudySpec, kinds: Kinds) -> Objection:
    """The same, and what certainly does not fit into the GPUs that this process may use, where there are any."""
    if not cast("Deployer", make(kinds, "deployers", spec.deployer)).host_bound:
        return anywhere(spec, kinds)
    engine = cast("Engine", make(kinds, "engines", spec.engine))
    limit = memory_limit(engine, model_paths(spec.model), lambda: largest_mib(find_gpus().values()))
    return first_of(anywhere(spec, kinds), limit)


class Dice:
    """Gives parameters values at random, as Optuna's random sampler does; `validate` can do without loading Optuna."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)  # noqa: S311  no secret

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """Any of them; with `log`, small ones as often as large ones."""
        if log:
            return min(high, max(low, round(self.suggest_float(name, low - 0.5, high + 0.5, log=True))))
        return low + step * self._random.randrange((high - low) // step + 1)

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """Any number between them; with a step, the nearest one is taken by who asks."""
        del name, step
        if log:
            return math.exp(self._random.uniform(math.log(low), math.log(high)))
        return self._random.uniform(low, high)

    def suggest_categorical(
        self,
        name: str,  # noqa: ARG002  Optuna's signature
        choices: Sequence[bool | int | float | str | None],
    ) -> bool | int | float | str | None:
        """Any of these."""
        return self._random.choice(choices)


def random_configurations(spec: StudySpec, objection: Objection = NOTHING_KNOWN) -> Iterator[Params]:
    """At random, always the same ones; one that is objected to is drawn again, up to `DRAWS` times."""
    dice = Dice(seed=0)
    while True:
        drawn = [suggest(spec.space, dice)]
        while len(drawn) < DRAWS and objection(drawn[-1]) is not None:
            drawn.append(suggest(spec.space, dice))
        yield drawn[-1]


def refusal_warnings(spec: StudySpec, objection: Objection) -> Iterator[str]:
    """That nearly all configurations, or all, are known not to run, and what most of them break."""
    reasons: list[str] = []
    for place, each in enumerate(islice(random_configurations(spec), LOOKED_AT), start=1):
        reason = objection(each)
        if reason is not None:
            reasons.append(reason)
        elif place - len(reasons) == ENOUGH:  # most studies come no further than this
            return
    kinds = Counter(re.sub(r"[\d.]+", "#", reason) for reason in reasons)
    [(kind, count)] = kinds.most_common(1)
    example = next(reason for reason in reasons if re.sub(r"[\d.]+", "#", reason) == kind)
    yield (
        f"{len(reasons)} of {LOOKED_AT} random configurations are known not to run, "
        f"{count} of them for the same reason: {example}"
    )
