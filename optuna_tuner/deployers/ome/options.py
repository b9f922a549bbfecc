"""What a study may say of `deployer: {kind: ome}`."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import ClassVar, Literal, Self

from pydantic import BaseModel, Field, JsonValue, field_validator, model_validator

from optuna_tuner.deployers.cluster_options import ClusterOptions
from optuna_tuner.deployers.kubernetes_parts import STRICT
from optuna_tuner.deployers.kubernetes_patch import LABELLED, OF_ALL, OURS, Guarded, merged, patch_problem
from optuna_tuner.deployers.kubernetes_words import LabelValue, OwnLabelKey, Subdomain
from optuna_tuner.deployers.ome import presets
from optuna_tuner.deployers.ome.benchmark_options import BenchmarkJobOptions
from optuna_tuner.deployers.ome.shapes import CONTAINER, MODEL, PORT, RUNTIME, at, problems
from optuna_tuner.spec.misfits import Misfit, refuse
from optuna_tuner.values import Json

MADE = f"{OURS}made"  # the label of models and runtimes that the tuner made
ORIGIN = f"{OURS}origin"  # an annotation: of which preset
_RUNNER = "spec.engine.runner"
SERVICE = Guarded(
    sample={
        "apiVersion": "ome.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "name", "namespace": "namespace", **LABELLED},
        "spec": {
            "model": {"name": "model", "kind": MODEL},
            "runtime": {"name": "runtime", "kind": RUNTIME},
            "engine": {
                "minReplicas": 1,
                "maxReplicas": 1,
                **LABELLED,
                "runner": {"name": CONTAINER, "image": "image", "command": ["command"], "args": ["args"]},
            },
        },
    },
    stands_on={
        **OF_ALL,
        "spec.model": "clusterbasemodel_config",
        "spec.runtime": "clusterservingruntime_config",
        **dict.fromkeys((f"spec.{each}" for each in ("decoder", "predictor", "kedaConfig")), ""),
        **dict.fromkeys((f"spec.engine.{each}" for each in ("minReplicas", "maxReplicas", "leader", "worker")), ""),
        "spec.engine.labels.kept": "",
        **dict.fromkeys((f"{_RUNNER}.{each}" for each in ("name", "command", "args")), ""),
        f"{_RUNNER}.image": "clusterservingruntime_config",
        f"{_RUNNER}.ports": "port",
    },
)


class Resource(BaseModel):
    """An object of the whole cluster that servers need: a preset, one of the study's own, or one that is there."""

    model_config = STRICT
    kind: ClassVar[str]

    preset: str | None = Field(default=None, description="One that comes with the package: optuna-tuner ome presets.")
    name: Subdomain | None = Field(
        default=None,
        description="Of the object; default: the preset's own. Alone it names one that is there, and is never made.",
    )
    spec: Mapping[str, JsonValue] | None = Field(
        default=None, description="All that the object says, in the place of a preset; with a name."
    )
    overrides: Mapping[str, JsonValue] = Field(
        default_factory=dict,
        description="Merged into the preset's spec: mappings field by field, lists of a pod by their names, other "
        "lists as a whole; null takes a field away.",
        examples=[{"storage": {"path": "/mnt/models/llama"}}],
    )
    labels: Mapping[OwnLabelKey, LabelValue] = Field(default_factory=dict, description="Labels of the object.")
    annotations: Mapping[OwnLabelKey, str] = Field(default_factory=dict, description="Annotations of the object.")

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        refuse(self._contradictions())
        if self.preset is not None and self.preset not in presets.names(self.kind):
            refuse([Misfit(("preset",), self._unknown(self.preset))])
        refuse(Misfit((self._said_in, *path), message) for path, message in self._spec_problems())
        return self

    def _contradictions(self) -> list[Misfit]:
        found = []
        if self.preset is None and self.spec is None and self.name is None:
            found.append(Misfit((), "say which: a preset, a name and a spec, or the name of one that is there"))
        if self.preset is not None and self.spec is not None:
            found.append(Misfit(("spec",), "there is a preset: change it with overrides"))
        if self.spec is not None and self.name is None:
            found.append(Misfit(("spec",), "needs a name"))
        if self.overrides and self.preset is None:
            found.append(Misfit(("overrides",), "there is no preset that they could change"))
        if self.preset is None and self.spec is None:
            said = [name for name, value in (("labels", self.labels), ("annotations", self.annotations)) if value]
            found += [Misfit((name,), "what is only named is never made or changed") for name in said]
        return found

    def _unknown(self, preset: str) -> str:
        known = presets.names(self.kind)
        near = get_close_matches(preset, known, n=1)
        guess = f"; did you mean {near[0]}?" if near else ""
        other = f" (it is a {presets.load(preset).kind})" if preset in presets.names() else ""
        return f'no {self.kind} has the preset "{preset}"{other}; there are {", ".join(known)}{guess}'

    @property
    def _said_in(self) -> str:
        return "spec" if self.preset is None else "overrides"

    def _spec_problems(self) -> list[Misfit]:
        whole = self.whole
        return [] if whole is None else list(problems(self.kind, whole))

    @property
    def whole(self) -> Mapping[str, Json] | None:
        """The object's spec; None for one that is only named."""
        if self.preset is None:
            return self.spec
        return merged(presets.load(self.preset).spec, self.overrides)

    @property
    def called(self) -> str:
        """The object's name."""
        return self.name or presets.load(self.preset or "").name

    @property
    def manifest(self) -> Mapping[str, Json] | None:
        """The object as it is made; None for one that is only named."""
        if self.whole is None:
            return None
        origin = f"preset {self.preset}" if self.preset else "a study"
        metadata: Json = {
            "name": self.called,
            "labels": {**self.labels, MADE: "yes"},
            "annotations": {**self.annotations, ORIGIN: origin},
        }
        return {"apiVersion": "ome.io/v1beta1", "kind": self.kind, "metadata": metadata, "spec": dict(self.whole)}


class ModelConfig(Resource):
    """The model that OME fetches to its nodes."""

    kind: ClassVar[str] = MODEL

    @property
    def claims(self) -> Mapping[str, Json]:
        """What one of this name that is there must say. Where and how a site keeps a preset's model is its own."""
        if self.whole is None or self.preset is None:
            return self.whole or {}
        return merged({"storage": {"storageUri": at(self.whole, "storage", "storageUri")}}, self.overrides)


class RuntimeConfig(Resource):
    """The container in which OME serves it."""

    kind: ClassVar[str] = RUNTIME

    @property
    def claims(self) -> Mapping[str, Json]:
        """What one of this name that is there must say: all, since figures depend on it."""
        return self.whole or {}


class OmeOptions(ClusterOptions):
    """Options of `deployer: {kind: ome}`."""

    clusterbasemodel_config: ModelConfig = Field(
        description="The ClusterBaseModel that is served.", examples=[{"preset": "llama-3-2-1b"}]
    )
    clusterservingruntime_config: RuntimeConfig = Field(
        description="The ClusterServingRuntime: image, GPUs, volumes, probes.",
        examples=[{"preset": "vllm-llama-small", "overrides": {"modelSizeRange": {"max": "20B"}}}],
    )
    command: Literal["engine", "runtime"] = Field(
        default="engine",
        description="Whose command is run. engine: the engine's whole command line, as with every other deployer; "
        "runtime: the runtime's own, with the arguments of the engine's from the first that begins with -- behind it.",
    )
    gpus: int | None = Field(
        default=None, ge=0, le=64, description="GPUs of each server; default: what the runtime's spec says."
    )
    port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description=f"Port on which the runtime's probes ask; default: the first that its spec names, else {PORT}.",
    )
    benchmark_job: BenchmarkJobOptions | None = Field(
        default=None,
        description="genai-bench runs as OME's own BenchmarkJob, with what that can be told; a load_client knows all.",
        examples=[{"claim": "results", "reader_image": "python:3.12-slim"}],
    )
    model_ready_s: float = Field(
        default=7200, ge=0, description="So long is waited, before the first trial, for OME to have fetched the model."
    )
    patch: Mapping[str, JsonValue] = Field(
        default_factory=dict,
        description="Strategic merge patch of the InferenceService, for everything else; what the tuner stands on may "
        "not change.",
        examples=[{"spec": {"engine": {"nodeSelector": {"gpu": "h100"}}}}],
    )

    @field_validator("patch")
    @classmethod
    def _touches_nothing_of_ours(cls, patch: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
        problem = patch_problem(patch, SERVICE)
        if problem:
            raise ValueError(problem)
        return patch

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.load_client is not None and self.benchmark_job is not None:
            refuse([Misfit(("benchmark_job",), "there is a load_client: keep one of them")])
        return self

    @property
    def runner(self) -> Mapping[str, Json]:
        """The server's container, as the runtime's spec says it; empty for a runtime that is only named."""
        found = at(self.clusterservingruntime_config.whole or {}, "engineConfig", "runner")
        return found if isinstance(found, dict) else {}

    @property
    def gpus_each(self) -> int:
        """GPUs of one server."""
        if self.gpus is not None:
            return self.gpus
        said = at(self.runner, "resources", "limits", self.gpu_resource)
        return int(str(said)) if str(said).isdigit() else 0

    @property
    def listens_at(self) -> int:
        """The port in the pod."""
        ports = self.runner.get("ports")
        first = ports[0] if isinstance(ports, list) and ports else None
        said = first.get("containerPort") if isinstance(first, dict) else None
        return self.port or (said if isinstance(said, int) else PORT)
