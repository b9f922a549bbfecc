"""What a prediction needs of the rest of a study file."""

from __future__ import annotations

from collections.abc import Iterator

from optuna_tuner.contracts import Benchmark
from optuna_tuner.errors import Fault
from optuna_tuner.spec.draft import Draft
from optuna_tuner.spec.misfits import Misfit
from optuna_tuner.spec.prior import Prior

PREDICTABLE = ("vllm", "sglang")  # engines whose flags follow from a prediction
NO_MODEL = (
    'needs a model of the hub, or a folder with a config.json: model.path is "builtin", which is made on this machine; '
    "leave prior out"
)


def check_prior(draft: Draft, benchmark: Benchmark | None) -> Iterator[Fault]:
    """Whether the program can be asked about this study."""
    engine = draft.parts.get("engine")
    if draft.prior is None or engine is None:
        return
    if engine.flags_of not in PREDICTABLE:
        message = f"aiconfigurator predicts for {' and '.join(PREDICTABLE)}, not for {engine.flags_of}: leave prior out"
        yield draft.tree.fault(("prior",), message)
    if draft.tree.at(("model", "path")) == "builtin":
        yield draft.tree.fault(("prior",), NO_MODEL)
    if benchmark is not None:
        for misfit in length_misfits(draft.prior, benchmark.mean_tokens()):
            yield draft.tree.fault(("prior", *misfit.path), misfit.message)


def length_misfits(prior: Prior, mean: tuple[int, int] | None) -> Iterator[Misfit]:
    """That nobody says how long requests are."""
    given = {"input_tokens": prior.input_tokens, "output_tokens": prior.output_tokens}
    unsaid = [name for name, tokens in given.items() if tokens is None]
    if unsaid and mean is None:
        yield Misfit((), f"the benchmark has no scenario to tell how long requests are: set {' and '.join(unsaid)}")
