"""Which names the engines have at `/metrics` for what we look at: server_metrics.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import cast

from optuna_tuner.own_data import read_yaml
from optuna_tuner.prometheus import Names, parts, read
from optuna_tuner.values import Metrics


@cache
def names_of() -> Mapping[str, Names]:
    """By engine."""
    text = files("optuna_tuner.engines").joinpath("server_metrics.yaml").read_text(encoding="utf-8")
    return cast("Mapping[str, Names]", read_yaml(text))


def read_page(engine: str, page: str) -> Metrics:
    """What a page of an engine says, by our names."""
    return read(page, names_of()[engine])


def read_any_page(page: str) -> Metrics:
    """The same of whichever engine wrote the page; nothing for one that is not known."""
    writers = (engine for engine, names in names_of().items() if any(f"\n{name}" in page for name in parts(names)))
    return next((read_page(engine, page) for engine in writers), {})
