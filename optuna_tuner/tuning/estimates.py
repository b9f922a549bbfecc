"""What the memory model tells the sampler of each configuration: a server that fails often fails by its memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache

from optuna_tuner.contracts import Engine
from optuna_tuner.errors import EnvironmentFaultError
from optuna_tuner.memory import facts
from optuna_tuner.memory.estimate import estimate
from optuna_tuner.memory.gpus import Gpu
from optuna_tuner.memory.layout import Layout, Settings
from optuna_tuner.memory.model import ModelFacts
from optuna_tuner.search.encoding import Configuration, Estimates
from optuna_tuner.spec.space import Parameter, params_of
from optuna_tuner.tuning.gpus import kind_of
from optuna_tuner.tuning.setting import Setting
from optuna_tuner.values import Scalar

UNKNOWN = (0.0, 0.0)
KEPT = 20_000  # configurations: around the best ones the same are asked about again and again


def estimates_of(setting: Setting) -> Estimates:
    """Of a worker's study, on its slot; nothing where the server runs elsewhere, or model or GPUs are not known."""

    def known() -> tuple[ModelFacts, Gpu] | None:
        card = kind_of(setting.slot.gpus) if setting.parts.deployer.host_bound else None
        try:
            return None if card is None else (facts.read(setting.model.path), card)
        except EnvironmentFaultError:
            return None

    return memory_estimates(setting.spec.space, setting.parts.engine, known)


def memory_estimates(
    space: Mapping[str, Parameter], engine: Engine, known: Callable[[], tuple[ModelFacts, Gpu] | None]
) -> Estimates:
    """The share of a GPU that is left for the KV cache, and the logarithm of the tokens that it holds.

    What is known of model and GPU is looked up once, when the first configuration is asked about.
    """
    looked_up = cache(known)

    @cache
    def weighed(layout: Layout, settings: Settings) -> Sequence[float]:
        model, card = looked_up() or (None, None)
        if model is None or card is None:
            return UNKNOWN
        found = estimate(model, card, layout, settings)
        return found.pool_bytes / card.usable, math.log(max(found.kv_tokens, 1))

    @lru_cache(KEPT)
    def told(*values: tuple[str, Scalar]) -> Sequence[float]:
        said = engine.memory(params_of(space, dict(values)))
        return weighed(*said) if said else UNKNOWN

    def ask(configuration: Configuration) -> Sequence[float]:
        return () if looked_up() is None else told(*configuration.items())

    return ask
