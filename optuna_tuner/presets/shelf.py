"""Study files to start from: some come as they are, others are made for an engine's version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from optuna_tuner.catalog import shelf
from optuna_tuner.errors import NotFoundError
from optuna_tuner.presets.resolving import Setup, items_of, resolve, resolve_items
from optuna_tuner.presets.tiers import ALWAYS, NEUTRAL, engines, tiers_of
from optuna_tuner.presets.writing import command_line, fragment_text, study_text
from optuna_tuner.values import Scalar

_SUFFIX = ".yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a preset is to be made for. `facts` is what is known of the model: by the names that rules use."""

    tier: int = ALWAYS
    version: str = ""  # the newest one that is known
    gpus: int = 1
    model: str = ""
    beside: tuple[str, ...] = ()  # of NEUTRAL
    engine: str = ""  # of a preset that belongs to none
    facts: Mapping[str, Scalar] | None = None

    def setup(self, engine: str) -> Setup:
        """The same for one engine. Raises NotFoundError where its version is not known."""
        version = self.version or shelf.versions(engine)[-1]
        known = shelf.load(engine, version).version
        return Setup(engine=engine, version=known, gpus=self.gpus, model=self.facts or {})


def preset_names() -> tuple[str, ...]:
    """All presets that are whole study files, sorted."""
    return tuple(sorted((*engines(), *_whole())))


def preset_text(name: str, wanted: Wanted | None = None) -> str:
    """The study file of one preset, or the sections of a neutral one, with comments.

    Raises NotFoundError, which names the known presets or versions.
    """
    wanted = wanted or Wanted()
    if name in NEUTRAL:
        return _neutral_text(name, wanted)
    if name in engines():
        setup = wanted.setup(name)
        space = resolve(setup, wanted.tier, wanted.beside)
        command = command_line(setup, wanted.tier, wanted.model, wanted.beside)
        return study_text(setup, wanted.tier, space, wanted.model, command)
    if name not in _whole():
        raise NotFoundError(f'no preset "{name}"; there are {", ".join((*preset_names(), *NEUTRAL))}')
    return (_folder() / f"{name}{_SUFFIX}").read_text(encoding="utf-8")


def is_made(name: str) -> bool:
    """Whether a preset is made for a version; the others come as they are."""
    return name in engines() or name in NEUTRAL


def summary(name: str) -> str:
    """What a preset is, in one sentence."""
    if name in NEUTRAL:
        return f"{name} in each engine's own flags: for --with, or to paste"
    if name in engines():
        return f"{tiers_of(name).is_}, in three tiers, made for its version"
    comments = [line.lstrip("# ") for line in preset_text(name).splitlines() if line.startswith("# ")]
    return next(line for line in comments if "$schema" not in line)


def _neutral_text(name: str, wanted: Wanted) -> str:
    if wanted.engine not in engines():
        known = ", ".join(engines())
        raise NotFoundError(f"{name} is no study by itself: name its engine, one of {known}, or use --with {name}")
    return fragment_text(resolve_items(wanted.setup(wanted.engine), items_of(name, wanted.engine)))


def _whole() -> tuple[str, ...]:
    return tuple(entry.name.removesuffix(_SUFFIX) for entry in _folder().iterdir() if entry.name.endswith(_SUFFIX))


def _folder() -> Traversable:
    return files("optuna_tuner.presets") / "files"
