"""From a trial to what limits its server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import cast

from optuna_tuner.own_data import read_yaml
from optuna_tuner.results.bottleneck import Bottleneck, Limit
from optuna_tuner.results.bottleneck.hypotheses import FULL, ORDER
from optuna_tuner.results.bottleneck.sighting import FEWEST_LOOKS, Sighting, sighting
from optuna_tuner.results.trials import TrialView
from optuna_tuner.spec.study import StudySpec

HINTS = {"sglang": "; SGLang tells them with enable_metrics: true in engine.flags"}


@cache
def moves_book() -> Mapping[str, Mapping[str, Sequence[str]]]:
    """moves.yaml: by limit, then by engine; and under `slots` a flag an engine."""
    text = files("optuna_tuner.results.bottleneck").joinpath("moves.yaml").read_text(encoding="utf-8")
    return cast("Mapping[str, Mapping[str, Sequence[str]]]", read_yaml(text))


def bottleneck_of(spec: StudySpec, trial: TrialView) -> Bottleneck | None:
    """What limits the server of a trial at its highest load; None where no load was measured to its end."""
    flags = cast("Mapping[str, str]", moves_book()["slots"])
    seen = sighting(spec, trial, flags.get(spec.engine.flags_of))
    return None if seen is None else judged(seen)


def judged(seen: Sighting) -> Bottleneck:
    """The first hypothesis that holds, with the others that do among its evidence."""
    missing = tuple(_missing(seen))
    found = [each for each in (hypothesis(seen) for hypothesis in ORDER) if each] if _enough(seen) else []
    if not found:
        text = "What was seen does not tell what limits it."
        return Bottleneck(limit=Limit.UNKNOWN, load=str(seen.top.load), text=text, missing=missing)
    first, others = found[0], found[1:]
    also = tuple(f"beside that, {each.limit.value}: {'; '.join(each.evidence)}" for each in others)
    book = moves_book()[first.limit.value]
    moves = (*book["any"], *book.get(seen.engine, ()))
    evidence = (*first.evidence, *also)
    return Bottleneck(
        limit=first.limit, load=str(seen.top.load), text=first.text, evidence=evidence, moves=moves, missing=missing
    )


def _enough(seen: Sighting) -> bool:
    return (seen.seen("looks") or 0.0) >= FEWEST_LOOKS


def _missing(seen: Sighting) -> Iterator[str]:
    """What was not seen of the highest load, and what would change that."""
    looks = int(seen.seen("looks") or 0)
    if not looks:
        yield "The server was not looked at while it worked (limits.watch_every_s)."
        return
    if looks < FEWEST_LOOKS:
        yield f"The server was looked at {looks} times only: let the load last longer."
    if seen.in_server is None:
        yield f"Its queue and KV cache: it gave no figures at /metrics{HINTS.get(seen.engine, '')}."
    elif seen.seen("server_kv_cache_use.max") is None:
        yield "The use of its KV cache: it does not tell."
    if (seen.seen("host_cpu_use.mean") or 0.0) >= FULL and seen.cores is None:
        yield "A quiet machine: the worker's had no CPU time left, which may be other programs' work."
    if seen.seen("server_cpu_cores.mean") is None:
        yield "Its processes: they are on another machine, or in a container."
    if not seen.on_gpu:
        yield "GPUs: none of this server's was seen by NVML here."
    if seen.below is None:
        yield "How it reacts to more load: one load was measured."
