"""What a study file may say about an engine, whichever it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationInfo, field_validator

from optuna_tuner.catalog import shelf
from optuna_tuner.catalog.catalogue import Catalogue
from optuna_tuner.engines.argv import Spelling
from optuna_tuner.values import Scalar


class Secret(BaseModel):
    """A value that is never written down: only the variable that holds it is named."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    env: str = Field(description="Environment variable of the worker that holds the value.", examples=["HF_TOKEN"])


class EngineOptions(BaseModel):
    """Options that all engines share."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    spell: ClassVar[Callable[[str | None], Spelling]]  # the spelling of a version, or of the newest one for None

    version: str | None = Field(
        default=None,
        description="The engine's version: the study's flags are held against its own; default: the image's tag.",
        examples=["0.33.0"],
    )
    image: str | None = Field(default=None, description="Container image, for deployers that use one.")
    command: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="Program and first arguments in place of the engine's own.",
        examples=[["/venv/bin/vllm", "serve"]],
    )
    flags: Mapping[str, Scalar | tuple[Scalar, ...] | dict[str, JsonValue]] = Field(
        default_factory=dict, description="Fixed flags, by any of their names; the space overrides them."
    )
    env: Mapping[str, str] = Field(default_factory=dict, description="Environment variables of the server.")
    secrets: Mapping[str, Secret] = Field(
        default_factory=dict, description="Environment variables of the server that hold secrets, by reference."
    )

    @field_validator("env", mode="before")
    @classmethod
    def _as_text(cls, given: object) -> object:
        if not isinstance(given, Mapping):
            return given
        return {name: str(value) if isinstance(value, int | float) else value for name, value in given.items()}

    @field_validator("flags")
    @classmethod
    def _one_name_each(cls, given: Mapping[str, object], before: ValidationInfo) -> Mapping[str, object]:
        seen: dict[str, str] = {}
        spelling = cls.spelling_of(before.data)
        for flag in given:
            name = spelling.canonical(flag)
            if name in spelling.reserved:
                raise ValueError(f"{flag} is set by the tuner itself")
            if name in seen:
                raise ValueError(f"{flag} and {seen[name]} are the same flag")
            seen[name] = flag
        return given

    @classmethod
    def version_of(cls, options: Mapping[str, object]) -> str | None:
        """The engine's version as the study names it, by itself or in the image's tag."""
        return str(options.get("version") or "") or shelf.tagged_version(str(options.get("image") or ""))

    @classmethod
    def spelling_of(cls, options: Mapping[str, object]) -> Spelling:
        """How the engine's version wants its flags written, as far as the options tell."""
        return cls.spell(cls.version_of(options))

    @cached_property
    def named_version(self) -> str | None:
        """The same of these options."""
        return self.version_of({"version": self.version, "image": self.image, "command": self.command})

    @cached_property
    def spelling(self) -> Spelling:
        """The same of these options."""
        return self.spelling_of(dict(self))

    def catalogue(self, kind: str) -> Catalogue | None:
        """The flags of exactly the version that the study names; None where that is not known."""
        return shelf.find(kind, self.named_version) if self.named_version else None

    def variables(self, sampled: Mapping[str, str]) -> Mapping[str, str]:
        """The server's environment: the fixed one overridden by the sampled one."""
        return dict(sorted({**self.env, **sampled}.items()))

    def secret_names(self) -> Mapping[str, str]:
        """For each of the server's secret variables, the worker's variable that holds it."""
        return {name: secret.env for name, secret in self.secrets.items()}
