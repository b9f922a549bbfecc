"""A command that leads from a port here to a server elsewhere.

It is a process of this host under the local deployer's supervisor: it has a port of its own, and ends with its worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from optuna_tuner import home
from optuna_tuner.deployers.local import Local
from optuna_tuner.deployers.local_request import LocalOptions
from optuna_tuner.values import Endpoint, Handle, Launch, Model, Slot, State, Status

_GRACE_S = 2.0
_LABEL = "tunnel"


class Tunnel:
    """The tunnels of one worker, one a server. Every method may raise DeployerError."""

    def __init__(self, words: Sequence[str], inherit_env: Sequence[str]) -> None:
        self._words = words
        self._local = Local(LocalOptions(cwd="/", inherit_env=tuple(inherit_env)))
        self._open: dict[str, Handle] = {}

    def endpoint(self, handle: Handle, place: Mapping[str, str]) -> Endpoint | None:
        """The end of it that is here; it is opened where it is not, with these words in the place of theirs."""
        if handle.name not in self._open:
            self._open[handle.name] = self._start(handle, place)
        return self._local.endpoint(self._open[handle.name])

    def state(self, handle: Handle) -> State | None:
        """That the server is lost to us, where its tunnel has ended; None while it stands, or was not opened."""
        tunnel = self._open.get(handle.name)
        if tunnel is None or self._local.state(tunnel).status in {Status.RUNNING, Status.STARTING}:
            return None
        said = self._local.log(tunnel).strip().splitlines()[-1:] or ["without a word"]
        return State(status=Status.LOST, detail=f"the tunnel to it ended: {said[0]}")

    def close(self, handle: Handle) -> None:
        """End it, whoever of this host opened it."""
        own = self._open.pop(handle.name, None)
        if own:
            self._local.stop(own, _GRACE_S)
        for tunnel in self._local.find({_LABEL: handle.name}):
            self._local.stop(tunnel, _GRACE_S)

    def _start(self, handle: Handle, place: Mapping[str, str]) -> Handle:
        argv = tuple(_replaced(word, place) for word in self._words)
        model = Model(name=str(handle.ref["model"]), path="", tokenizer="")
        launch = Launch(argv=argv, model=model)
        slot = Slot(name=_LABEL, host="")
        request = self._local.render(launch, f"{handle.name}-tunnel", {_LABEL: handle.name}, slot)
        return self._local.start(request, Path(home.servers_folder()))


def _replaced(word: str, told: Mapping[str, str]) -> str:
    for name, value in told.items():
        word = word.replace(name, value)
    return word
