"""A resolved space as a study file: commented, so that who has it knows what each line is for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from string import Template

import yaml

from optuna_tuner.catalog.catalogue import Effect
from optuna_tuner.presets.resolving import Entry, Setup, Space
from optuna_tuner.presets.tiers import ALWAYS, TIERS, tiers_of
from optuna_tuner.spec.writing import SCHEMA_LINE
from optuna_tuner.values import Scalar

TRIALS = {1: 30, 2: 60, 3: 80}  # of a tier: some for each flag, and those that only look around
_LOAD = """\
# The load. Each level is measured on the same warm server.
benchmark:
  kind: genai_bench
  scenario: D(1024,256)
  concurrency: [8, 32, 128]
  requests: 400
"""
_GUARD = """\
# Who may answer otherwise is asked some prompts first, and held against the default's answers.
quality: {}"""
_GOALS = """\
goals:
  objectives:
    - {metric: output_throughput_tok_s, direction: maximize}
  constraints:
    - {metric: ttft_ms.p99, at_most: 1000}
    - {metric: tpot_ms.p99, at_most: 50}
"""
_AGAIN = """\
# Beside these trials: the default every ten, which shows the machine's drift; at the end the best three again, then
# winner and default in five pairs, back to back. That gives the verdict.
baseline_every: 10
confirm: {top: 3, pairs: 5}
"""


def study_text(setup: Setup, tier: int, space: Space, model: str, command: str) -> str:
    """A whole study file; `command` is what makes it again."""
    tiers = tiers_of(setup.engine)
    path = model or tiers.default_model
    head = [
        SCHEMA_LINE,
        f"# {tiers.is_}, version {setup.version}, slots of {_gpus(setup)}. Tier {tier}: {TIERS[tier]}.",
        f"# Made by: {command}",
        f"name: {setup.engine.replace('_', '-')}",
        "description: As many tokens a second as the promise on the first token allows.",
    ]
    frame = Template(tiers.frame).substitute(version=setup.version, model=_flow(path), name=_flow(_name(path)))
    budget = f"budget: {{trials: {TRIALS[tier]}}}\n"
    parts = ["\n".join(head), "", frame.rstrip(), "", _LOAD, fragment_text(space), _GOALS, budget, _AGAIN]
    return "\n".join(parts).rstrip("\n") + "\n"


def fragment_text(space: Space) -> str:
    """The sections `space`, `first` and `quality`, to paste into a study file."""
    parts = ["\n".join(_space(space))]
    if space.first:
        parts.append("\n".join(_first(space)))
    if any(entry.flag.effect is Effect.QUALITY for entry in space.entries):
        parts.append(_GUARD)
    return "\n\n".join(parts) + "\n"


def _space(space: Space) -> Iterator[str]:
    yield "space:"
    for entry in space.entries:
        yield f"  # {_sentence(entry)}"
        domain = entry.parameter.model_dump(mode="json", exclude_defaults=True)
        condition = {"when": domain.pop("when")} if "when" in domain else {}
        yield f"  {entry.name}: {_flow({**domain, **condition})}"
    yield from (f"  # Not here: {name}: {reason}" for name, reason in space.left_out.items())


def _sentence(entry: Entry) -> str:
    changes = {Effect.QUALITY: "; changes the answers", Effect.PRODUCT: "; changes what clients are promised"}
    told = "" if "answers" in entry.is_ else changes.get(entry.flag.effect, "")
    return entry.is_[0].upper() + entry.is_[1:] + told


def _first(space: Space) -> Iterator[str]:
    yield "# Tried after the engine's own default, before the search chooses."
    yield "first:"
    for known in space.first:
        yield from (f"  # {known.is_[0].upper()}{known.is_[1:]}", f"  # ({known.source})")
        yield f"  - {_flow(dict(known.sets))}"


def command_line(setup: Setup, tier: int, model: str, beside: Sequence[str]) -> str:
    """The command that makes the same study file again."""
    words = ["optuna-tuner init --preset", setup.engine, *(["--tier", str(tier)] if tier != ALWAYS else [])]
    words += ["--engine-version", setup.version, *(["--gpus", str(setup.gpus)] if setup.gpus != 1 else [])]
    words += [*(["--model", model] if model else []), *(f"--with {name}" for name in beside)]
    return " ".join(words)


def _name(path: str) -> str:
    """What clients call the model: the last word of its path."""
    return path.rstrip("/").rpartition("/")[2].removesuffix(".gguf").lower() or "model"


def _gpus(setup: Setup) -> str:
    return "one GPU" if setup.gpus == 1 else f"{setup.gpus} GPUs"


def _flow(value: Mapping[str, object] | Scalar) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=float("inf"), allow_unicode=True)
    return str(text).removesuffix("...\n").strip()
