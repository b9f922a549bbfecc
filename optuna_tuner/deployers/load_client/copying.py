"""The files of a load client's pod, brought here while it runs: only what is not here yet, whatever breaks off."""

from __future__ import annotations

import zlib
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict, ValidationError

from optuna_tuner.errors import BenchmarkError
from optuna_tuner.http import client, whole

TIMEOUT_S = 30.0  # of each read
MOST_BYTES = 2 << 30
_CHUNK = 1 << 20


class Told(BaseModel):
    """What the pod tells of its program: size in bytes and time of each file, by its path."""

    model_config = ConfigDict(frozen=True)

    exit_code: int | None
    epoch_s: float
    files: dict[str, tuple[int, int]]


class Copies:
    """The files of one pod in a folder. Raises httpx.HTTPError where the pod does not answer, else BenchmarkError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, tuple[int, int]] = {}
        self._http = client(TIMEOUT_S)

    def close(self) -> None:
        """Let go of the connection."""
        self._http.close()

    def bring(self, url: str) -> Told:
        """Ask the pod that answers there; all that it tells of is then here."""
        with self._http.stream("GET", f"{url}/state") as told:
            answer = whole(told).raise_for_status()
        try:
            state = Told.model_validate_json(answer.content)
        except ValidationError as error:
            raise BenchmarkError(f"what answers at {url} is no load client: {answer.content[:100]!r}") from error
        size = sum(size for size, _ in state.files.values())
        if size > MOST_BYTES:
            raise BenchmarkError(f"the load client wrote {size} bytes; {MOST_BYTES} are the limit")
        # A report lies in a folder of its own: it comes after the log, with which it is read.
        for name, stamp in sorted(state.files.items(), key=lambda each: each[0].count("/")):
            if self._known.get(name) != stamp:
                self._copy(url, name)
                self._known[name] = stamp
        return state

    def _copy(self, url: str, name: str) -> None:
        """What is here is kept where the file there begins with it: logs grow, and connections break."""
        try:
            place = self._place(name)
            have = place.read_bytes() if place.exists() else b""
            asked = {"name": name, "from": str(len(have)), "sum": str(zlib.crc32(have))}
            with self._http.stream("GET", f"{url}/file", params=asked) as answer:
                answer.raise_for_status()
                begin = int(answer.headers["X-From"])
                with place.open("r+b" if begin else "wb") as file:
                    file.seek(begin)
                    for data in answer.iter_bytes(_CHUNK):
                        file.write(data)
        except (OSError, KeyError, ValueError) as error:
            raise BenchmarkError(f"{name} of the load client cannot be kept: {error}") from error

    def _place(self, name: str) -> Path:
        """Raises BenchmarkError for a name that leads out of the folder."""
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise BenchmarkError(f'a load client tells of a file "{name[:80]}"')
        place = self._folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        return place
