"""What a search for the most load needs of the rest of a study file, and what does not go with it."""

from __future__ import annotations

from collections.abc import Iterator

from optuna_tuner.errors import Fault
from optuna_tuner.metrics import SUSTAINED
from optuna_tuner.spec.draft import Draft

SEARCHES = {  # what a study file says to have each of these metrics
    "sustained_concurrency": "concurrency: {search: max, low: 1, high: 256}",
    "sustained_rate_req_s": "request_rate: {search: max, low: 1, high: 64}",
}
NEEDS_SLO = (
    "the benchmark looks for the most load, but within what? add a constraint that each load must keep, "
    "for example {metric: ttft_ms.p99, at_most: 1000}"
)
NO_MEAN = "a search for the most load is scored at the load that it found: leave level out"
NO_PRUNER = (
    "a pruner compares trials at equal load levels, and each search has levels of its own: leave it out; "
    "the search itself is short where a trial is behind"
)


def check_load_search(draft: Draft) -> Iterator[Fault]:
    """For a study whose benchmark searches."""
    written = draft.tree.at(("goals", "constraints"))
    unread = len(written if isinstance(written, list) else []) > len(draft.constraints)  # a fault of its own
    if not unread and all(each.metric in SUSTAINED for each in draft.constraints.values()):
        yield draft.tree.fault(("goals",), NEEDS_SLO)
    if draft.tree.at(("goals", "level")) == "mean":
        yield draft.tree.fault(("goals", "level"), NO_MEAN)
    if draft.pruner.kind != "none":
        yield draft.tree.fault(("pruner", "kind"), NO_PRUNER)
