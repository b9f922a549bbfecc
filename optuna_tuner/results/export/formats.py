"""From a trial to a file, by format."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from optuna_tuner.contracts import Kinds
from optuna_tuner.errors import ExportError
from optuna_tuner.results.export import Export, Format
from optuna_tuner.results.export.choosing import chosen
from optuna_tuner.results.export.compose import compose
from optuna_tuner.results.export.docker_run import docker_run
from optuna_tuner.results.export.document import document
from optuna_tuner.results.export.helm_values import helm_values
from optuna_tuner.results.export.kubernetes import kubernetes
from optuna_tuner.results.export.ome import ome
from optuna_tuner.results.export.sbatch import sbatch
from optuna_tuner.results.export.shell import shell
from optuna_tuner.results.export.taken import Taken, take
from optuna_tuner.results.export.vllm_config import vllm_config
from optuna_tuner.results.views import StudyView
from optuna_tuner.values import Model

WRITERS: Mapping[Format, Callable[[Taken], str]] = {
    Format.SHELL: shell,
    Format.DOCKER: docker_run,
    Format.COMPOSE: compose,
    Format.KUBERNETES: kubernetes,
    Format.HELM_VALUES: helm_values,
    Format.OME: ome,
    Format.SBATCH: sbatch,
    Format.VLLM_CONFIG: vllm_config,
    Format.JSON: document,
}
IN_IMAGES = frozenset(Format) - {Format.SHELL, Format.VLLM_CONFIG}


def exported(study: StudyView, asked: Export, model: Model, kinds: Kinds) -> str:
    """The whole file, the same whenever it is asked for. Raises ExportError and NotFoundError."""
    if asked.image is not None and asked.form not in IN_IMAGES:
        raise ExportError(f"{asked.form} has no image; leave --image out")
    return WRITERS[asked.form](take(study, chosen(study, asked.trial), asked, model, kinds))
