"""Where this package keeps what it makes on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_data_path

HOME_VARIABLE = "OPTUNA_TUNER_HOME"
STORAGE_VARIABLE = "OPTUNA_TUNER_STORAGE"
QUARANTINE = ".quarantine"


def home() -> Path:
    """The folder of everything: database, artifacts, models, tools, locks. `OPTUNA_TUNER_HOME` moves it."""
    chosen = os.environ.get(HOME_VARIABLE)
    return Path(chosen).expanduser() if chosen else user_data_path("optuna-tuner")


def default_storage() -> str:
    """Database URL used when none is given: `OPTUNA_TUNER_STORAGE`, else SQLite in the home folder."""
    return os.environ.get(STORAGE_VARIABLE) or f"sqlite:///{home() / 'studies.db'}"


def artifacts_folder() -> Path:
    """One folder a study, and in it one a trial's attempt."""
    return home() / "artifacts"


def models_folder() -> Path:
    """Models that were made here."""
    return home() / "models"


def tools_folder() -> Path:
    """Tools in environments of their own, such as genai-bench."""
    return home() / "tools"


def catalogues_folder() -> Path:
    """Catalogues of engine versions and forks that do not come with the package: ENGINE/VERSION.json."""
    return home() / "catalogues"


def locks_folder() -> Path:
    """Lock files of this host: ports, GPUs, cores."""
    return home() / "locks"


def machine_file() -> Path:
    """A random name, written once: with it, two machines whose hosts have one name are two."""
    return home() / "machine-id"


def servers_folder() -> Path:
    """One folder for each local server that runs on this host, or whose end nobody has confirmed yet."""
    return home() / "servers"


def server_lock(device: str) -> Path:
    """Lock file that a server's supervisor holds while the server may still use the device."""
    return locks_folder() / f"{device}.server.lock"


def quarantine_file(gpu: str) -> Path:
    """Why and since when nobody may use this GPU; not there for a healthy one."""
    return locks_folder() / f"{gpu}{QUARANTINE}"
