"""Study files that come with the package, to start from. Each begins with one comment that says what it is."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable

from optuna_tuner.errors import NotFoundError

_SUFFIX = ".yaml"


def preset_names() -> tuple[str, ...]:
    """All presets, sorted."""
    return tuple(sorted(entry.name.removesuffix(_SUFFIX) for entry in _folder().iterdir() if _is_preset(entry)))


def preset_text(name: str) -> str:
    """The study file of one preset, with its comments. Raises NotFoundError, which names the known ones."""
    if name not in preset_names():
        raise NotFoundError(f'no preset "{name}"; there are {", ".join(preset_names())}')
    return (_folder() / f"{name}{_SUFFIX}").read_text(encoding="utf-8")


def _folder() -> Traversable:
    return files("optuna_tuner.spec") / "presets"


def _is_preset(entry: Traversable) -> bool:
    return entry.name.endswith(_SUFFIX)
