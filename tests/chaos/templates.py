"""A study that is made once and copied for each case: SQLite's file, or PostgreSQL's CREATE DATABASE ... TEMPLATE."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from raw_rows import RawDatabase, connect
from real_databases import server
from stage import Stage


@dataclass(frozen=True, slots=True)
class Template:
    """A study that nobody has worked on."""

    folder: Path
    storage: str
    study_id: str

    def copy(self, name: str) -> Stage:
        """A stage of its own with one GPU and the same study."""
        folder = self.folder / name
        folder.mkdir()
        if self.storage.startswith("sqlite"):
            shutil.copy(self.storage.removeprefix("sqlite:///"), folder / "studies.db")
            return Stage(folder=folder, gpus=1)
        fresh = f"tuner_case_{uuid4().hex}"
        self._say(f"CREATE DATABASE {fresh} TEMPLATE {self._name} STRATEGY FILE_COPY")
        return Stage(folder=folder, gpus=1, storage=f"{self.storage.rpartition('/')[0]}/{fresh}")

    def drop(self, stage: Stage) -> None:
        """Take it away again."""
        if not self.storage.startswith("sqlite"):
            self._say(f"DROP DATABASE {stage.storage.rpartition('/')[2]} WITH (FORCE)")
        shutil.rmtree(stage.folder)

    @property
    def _name(self) -> str:
        return self.storage.rpartition("/")[2]

    def _say(self, statement: str) -> None:
        with closing(connect(f"{self.storage.rpartition('/')[0]}/postgres", patience_s=60)) as connection:
            connection.execute(statement)


@contextmanager
def template(kind: str, folder: Path, trials: int, **changes: object) -> Iterator[Template]:
    """Make the study, in a database of this kind; the server runs as long as the context lasts."""
    with nullcontext() if kind == "sqlite" else server(kind) as running:
        place = folder / "template"
        place.mkdir()
        storage = f"sqlite:///{place}/studies.db" if running is None else running.new_database()
        Stage(folder=place, gpus=1, storage=storage).study(trials, **changes)
        with closing(RawDatabase(storage)) as database:
            (study,) = database.ask("SELECT id FROM tuner_study")
        yield Template(folder, storage, str(study["id"]))
