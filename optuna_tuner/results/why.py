"""Which flags of the best trial matter, and what more trials could bring: as the search believes, not as measured."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import optuna

from optuna_tuner.results.simplified import simplification_document
from optuna_tuner.results.views import StudyView
from optuna_tuner.search.objection import Objection
from optuna_tuner.search.outlook import outlook
from optuna_tuner.search.problem import Problem
from optuna_tuner.search.reruns import settings
from optuna_tuner.search.simplifying import Simplification
from optuna_tuner.search.worth import Loss, Worths, worths
from optuna_tuner.store.records import AttemptKind
from optuna_tuner.store.store import Store
from optuna_tuner.values import Json

AHEAD = 10  # trials, where none is left of the budget
UNKNOWN = (
    "Nothing can be said of single flags yet: too few servers ran, or the goals have no single positive objective."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """What is believed of one study's best trial. `outlook` is the gain that `trials` more could bring, a share.

    `simplification` is what was measured of leaving flags out.
    """

    number: int | None
    worths: Worths | None
    trials: int
    outlook: float | None
    simplification: Simplification | None = None

    @property
    def needed(self) -> tuple[str, ...]:
        """The fewest flags that keep the gain, the one that is worth most first."""
        return tuple(each.flag for each in self.worths.flags if each.needed) if self.worths else ()

    @property
    def is_too_long(self) -> bool:
        """Whether fewer flags are predicted to be enough."""
        return self.worths is not None and len(self.needed) < len(self.worths.flags)

    @property
    def text(self) -> str:
        """Which flags are enough, in words; empty where nothing can be said."""
        if self.worths is None or not self.worths.flags:
            return ""
        count = len(self.worths.flags)
        if len(self.needed) == count:
            return "Predicted, not measured: none of its flags can be left out."
        kept = ", ".join(self.needed) or "none"
        return f"Predicted, not measured: {len(self.needed)} of {count} flags keep the gain ({kept}); {self._without}."

    @property
    def _without(self) -> str:
        loss = self.worths.loss if self.worths else None
        if loss is None or loss.share <= 0:
            return "the others bring nothing"
        return f"the others bring {100 * loss.share:.1f} % (standard deviation {100 * loss.error:.1f} %)"

    @property
    def ahead(self) -> str:
        """What more trials could bring, in words; empty where nothing can be said."""
        if self.outlook is None:
            return ""
        return f"{self.trials} more trials could bring about {100 * self.outlook:.1f} %."


def read_why(store: Store, view: StudyView, objection: Objection, problem: Problem) -> Why:
    """What is believed now, by what Optuna's history says; `problem` is what the sampler was asked."""
    best, left = view.best.trial, view.budget - view.spent or AHEAD
    if best is None or view.spec.is_benchmark:
        return Why(number=None, worths=None, trials=left, outlook=None)
    number = None if best.kind is AttemptKind.BASELINE else best.number
    margin = settings(view.spec).min_gain

    def read() -> Why:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study = optuna.load_study(study_name=view.name, storage=store.optuna_storage())
        return Why(
            number=number,
            worths=None if number is None else worths(study, problem, objection, number, margin),
            trials=left,
            outlook=outlook(study, problem, objection, left),
            simplification=view.simplification,
        )

    return store.weathered(read)


def why_document(why: Why) -> dict[str, Json]:
    """For JSON and YAML. Key names are stable; losses are shares."""
    flags: list[Json] = [
        {
            "flag": each.flag,
            "value": each.value,
            "default": each.default,
            "needed": each.needed,
            "loss": _loss(each.loss),
        }
        for each in (why.worths.flags if why.worths else ())
    ]
    return {
        "trial": why.number,
        "measured": False,
        "simplification": simplification_document(why.simplification),
        "flags": flags,
        "needed": list(why.needed),
        "loss_without_the_others": _loss(why.worths.loss) if why.worths else None,
        "more_trials": why.trials,
        "they_could_bring": why.outlook,
    }


def _loss(loss: Loss | None) -> Json:
    return None if loss is None else {"share": loss.share, "error": loss.error, "holds": loss.holds}
