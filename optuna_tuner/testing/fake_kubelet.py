"""The node of a fake cluster: it runs a pod's command as a process of this host, if it knows the image.

A pod has an address of its own on loopback, which takes the place of 0.0.0.0 and of 127.0.0.1 in its command.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import cast
from urllib.error import URLError
from urllib.request import urlopen

from optuna_tuner.clock import now as seconds
from optuna_tuner.testing.fake_objects import Object, Objects, now, part, parts
from optuna_tuner.testing.fake_volumes import mounted, placed
from optuna_tuner.values import Json

_CONTAINER = "optuna_tuner.testing.fake_container"
_PROBE_S = 0.5
_BACK_OFF_S = 10.0
_VARIABLE = re.compile(r"\$\$\(|\$\((\w+)\)")


@dataclass(slots=True)
class Process:
    """One container that was started."""

    shim: subprocess.Popen[bytes]
    log: Path
    out_of_memory: bool = False
    told_at: float | None = None
    ended_at: float | None = None
    tried_at: float = field(default_factory=seconds)


@dataclass(slots=True)
class Kubelet:
    """One node. `images` are those that it has; `up` is False once it is lost.

    `network` is all but the last part of its addresses.
    """

    objects: Objects
    folder: Path
    images: set[str]
    network: str = ""
    up: bool = True
    running: dict[str, Process] = field(default_factory=dict)  # by the pod's uid
    starts: dict[str, int] = field(default_factory=dict)  # likewise, of its container
    _addresses: count[int] = field(default_factory=count)

    def new_address(self) -> str:
        """One that nobody has had for long."""
        return f"{self.network}.{2 + next(self._addresses) % 250}"

    def tend(self, pod: Object) -> bool:
        """Bring a pod a step on; returns whether it is gone for good."""
        if not self.up:
            return False
        process = self.running.get(uid(pod))
        leaves = part(pod, "metadata").get("deletionGracePeriodSeconds")
        if process is None:
            if isinstance(leaves, int):
                return True
            if part(pod, "status")["phase"] == "Pending":
                self._begin(pod)
            return False
        if isinstance(leaves, int):
            _end(process, leaves)
        code = process.shim.poll()
        if code is not None:
            how: Object = {"exitCode": code if code >= 0 else 128 - code, "reason": _reason(process, code)}
            if isinstance(leaves, int) or not _is_kept_up(pod):
                _ended(pod, how)
            else:
                self._start_again(pod, process, how)
            return isinstance(leaves, int)
        self._probe(pod, process)
        return False

    def log(self, pod: Object, *, previous: bool = False) -> bytes:
        """What its container wrote, or the one before it."""
        path = self._log_of(pod, earlier=1 if previous else 0)
        return path.read_bytes() if path.exists() else b""

    def _log_of(self, pod: Object, *, earlier: int = 0) -> Path:
        started = self.starts.get(uid(pod), 1)
        return self.folder / f"{uid(pod)}.{started - earlier}"

    def _start_again(self, pod: Object, process: Process, how: Object) -> None:
        """What ended is started anew after a while, by whoever keeps it up."""
        status = _status(pod)
        if process.ended_at is None:
            process.ended_at = seconds()
            _back_off(status, how)
            _condition(pod, "Ready", "False", "ContainersNotReady")
        elif seconds() - process.ended_at > _BACK_OFF_S:
            self._begin(pod)

    def close(self) -> None:
        """End all that runs."""
        for each in self.running.values():
            each.shim.send_signal(signal.SIGUSR1)
        for each in self.running.values():
            each.shim.wait()

    def _begin(self, pod: Object) -> None:
        [container] = parts(part(pod, "spec"), "containers")
        image = str(container["image"])
        if image not in self.images:
            was = part(part(_status(pod), "state"), "waiting").get("reason")
            message = f'Back-off pulling image "{image}": ErrImagePull: {image}: not found'
            self.objects.tell(pod, "Failed", f'Failed to pull image "{image}": not found')
            _wait(pod, "ImagePullBackOff" if was == "ErrImagePull" else "ErrImagePull", message)
            return
        env, missing = self._environment(pod, container)
        if missing:
            _wait(pod, "CreateContainerConfigError", missing)
            return
        mounts, unmounted = mounted(self.objects, pod, self.folder / f"{uid(pod)}.volumes")
        if unmounted:
            self.objects.tell(pod, "FailedMount", unmounted)
            _wait(pod, "ContainerCreating", "")
            return
        address = self.new_address()
        command = [_own(placed(word, mounts), address) for word in self._command(container, env)]
        if shutil.which(command[0]) is None:
            reason = f'exec: "{command[0]}": executable file not found in $PATH'
            how: Object = {"exitCode": 128, "reason": "StartError", "message": reason}
            if _is_kept_up(pod):
                _back_off(_status(pod), how)
            else:
                _ended(pod, how)
            return
        self._run(pod, command, env, address)

    def _run(self, pod: Object, command: list[str], env: Mapping[str, str], address: str) -> None:
        self.starts[uid(pod)] = self.starts.get(uid(pod), 0) + 1
        log = self._log_of(pod)
        with log.open("wb") as output:
            shim = subprocess.Popen(  # noqa: S603  ours
                [sys.executable, "-m", _CONTAINER, *command], stdout=output, stderr=output, env=env, cwd="/"
            )
        self.running[uid(pod)] = Process(shim=shim, log=log)
        part(pod, "status").update({"phase": "Running", "podIP": address})
        _status(pod).update({"state": {"running": {"startedAt": now()}}, "ready": False, "started": False})
        _condition(pod, "Ready", "False", "ContainersNotReady")

    def _environment(self, pod: Object, container: Object) -> tuple[Mapping[str, str], str]:
        """Its variables; and what is missing for them."""
        env = {"PATH": os.environ["PATH"]}
        for each in parts(container, "env"):
            source = part(part(dict(each), "valueFrom"), "secretKeyRef")
            if not source:
                env[str(each["name"])] = _expanded(str(each["value"]), env)
                continue
            place = ("secrets", str(part(pod, "metadata")["namespace"]), str(source["name"]))
            if place not in self.objects.held:
                return {}, f'secret "{source["name"]}" not found'
            value = part(self.objects.held[place], "data")[str(source["key"])]
            env[str(each["name"])] = b64decode(str(value)).decode()
        return env, ""

    def _command(self, container: Object, env: Mapping[str, str]) -> list[str]:
        words = [word for name in ("command", "args") for word in cast("list[str]", container.get(name) or [])]
        return [_expanded(word, env) for word in words]

    def _probe(self, pod: Object, process: Process) -> None:
        """Once it has answered it is never asked again, as with a real startup probe."""
        [container] = parts(part(pod, "spec"), "containers")
        asked = part(part(container, "startupProbe" if "startupProbe" in container else "readinessProbe"), "httpGet")
        if _status(pod)["started"] or seconds() - process.tried_at < _PROBE_S:
            return
        if not asked:  # ready as soon as it runs
            _status(pod).update({"ready": True, "started": True})
            _condition(pod, "Ready", "True", "")
            return
        process.tried_at = seconds()
        try:
            urlopen(f"http://{part(pod, 'status')['podIP']}:{asked['port']}{asked['path']}", timeout=_PROBE_S).close()
        except (URLError, OSError):
            return
        _status(pod).update({"ready": True, "started": True})
        _condition(pod, "Ready", "True", "")


def uid(thing: Object) -> str:
    """What an object is known by, whatever its name."""
    return str(part(thing, "metadata")["uid"])


def _own(word: str, address: str) -> str:
    """A pod's own addresses are one."""
    return address if word == "127.0.0.1" else word.replace("0.0.0.0", address)  # noqa: S104  compared


def is_ready(pod: Object) -> bool:
    """Whether its Service leads to it."""
    known = parts(part(pod, "status"), "conditions")
    return any((each["type"], each["status"]) == ("Ready", "True") for each in known)


def _end(process: Process, grace_s: int) -> None:
    if process.told_at is None:
        process.told_at = seconds()
        process.shim.send_signal(signal.SIGTERM)
    elif seconds() - process.told_at > grace_s:
        process.shim.send_signal(signal.SIGUSR1)


def _reason(process: Process, code: int) -> str:
    if process.out_of_memory:
        return "OOMKilled"
    return "Error" if code else "Completed"


def _ended(pod: Object, how: Mapping[str, Json]) -> None:
    _status(pod).update({"state": {"terminated": dict(how)}, "ready": False})
    part(pod, "status").setdefault("reason", None)
    part(pod, "status")["phase"] = "Failed" if how["exitCode"] else "Succeeded"
    _condition(pod, "Ready", "False", "PodFailed")


def _is_kept_up(pod: Object) -> bool:
    return part(pod, "spec").get("restartPolicy") == "Always"


def _back_off(status: Object, how: Object) -> None:
    message = "back-off 10s restarting failed container"
    waiting: Json = {"waiting": {"reason": "CrashLoopBackOff", "message": message}}
    status.update({"state": waiting, "lastState": {"terminated": how}, "ready": False, "started": False})
    status["restartCount"] = int(str(status["restartCount"])) + 1


def _expanded(text: str, env: Mapping[str, str]) -> str:
    """With the values of variables in the place of `$(NAME)`; a doubled dollar stays one."""
    return _VARIABLE.sub(lambda found: env.get(found[1], found[0]) if found[1] else "$(", text)


def _wait(pod: Object, reason: str, message: str) -> None:
    _status(pod)["state"] = {"waiting": {"reason": reason, "message": message}}


def _status(pod: Object) -> Object:
    """Of its one container."""
    status = part(pod, "status")
    [container] = parts(part(pod, "spec"), "containers")
    if not status.get("containerStatuses"):
        known: Json = {"name": container["name"], "ready": False, "started": False, "state": {}, "restartCount": 0}
        status["containerStatuses"] = [known]
    return parts(status, "containerStatuses")[0]


def _condition(pod: Object, kind: str, status: str, reason: str, message: str = "") -> None:
    set_condition(pod, {"type": kind, "status": status, "reason": reason, "message": message})


def set_condition(thing: Object, condition: Mapping[str, Json]) -> None:
    """Of a pod or a Job."""
    status = part(thing, "status")
    others = [each for each in parts(status, "conditions") if each["type"] != condition["type"]]
    status["conditions"] = [*others, dict(condition)]
