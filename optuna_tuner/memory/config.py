"""Reading a Hugging Face config: values of the type that is meant, under whichever of its names is there."""

from __future__ import annotations

from collections.abc import Mapping

from optuna_tuner.values import Json

Config = Mapping[str, Json]


class ConfigFault(ValueError):  # noqa: N818  it is about the user's file; `facts` makes a TunerError of it
    """The config lacks something or says it in a way that is not understood."""


def whole(config: Config, *names: str, default: int | None = None) -> int:
    """A whole number under the first of these names that has one. Raises ConfigFault without one and a default."""
    for name in names:
        value = config.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if value is not None and not isinstance(value, list):
            raise ConfigFault(f'"{names[0]}" should be a whole number, not {value!r}')
    if default is None:
        raise ConfigFault(f'the config has no "{names[0]}"')
    return default


def truth(config: Config, name: str, *, default: bool = False) -> bool:
    """A truth value."""
    value = config.get(name)
    return value if isinstance(value, bool) else default


def text(config: Config, *names: str, default: str = "") -> str:
    """A text under the first of these names that has one."""
    return next((value for name in names if isinstance(value := config.get(name), str)), default)


def texts(config: Config, *names: str) -> tuple[str, ...]:
    """All texts of the lists under these names."""
    lists = [value for name in names if isinstance(value := config.get(name), list)]
    return tuple(each for value in lists for each in value if isinstance(each, str))


def numbers(config: Config, name: str) -> tuple[int, ...]:
    """The whole numbers of a list."""
    value = config.get(name)
    return tuple(each for each in value if isinstance(each, int)) if isinstance(value, list) else ()


def inner(config: Config, *names: str) -> Config:
    """The mapping under the first of these names that has one; an empty one otherwise."""
    return next((value for name in names if isinstance(value := config.get(name), dict)), {})
