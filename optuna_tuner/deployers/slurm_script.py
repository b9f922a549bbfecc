"""The script that runs one server inside a job. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from shlex import join, quote
from zlib import crc32

from optuna_tuner.deployers.slurm_options import SlurmOptions
from optuna_tuner.errors import DeployerError
from optuna_tuner.values import Launch

TICKET, LOG = ".ticket", ".log"
SERVES = "optuna-tuner: serves on "  # what follows is NODE:PORT; before this line the server has not begun
SAYS = "optuna-tuner: "
_REFUSED = re.compile(r"(?:\x1b\[\d+m)?(?:FATAL:   |ERROR  : )(.*)")  # Apptainer's own words, 1.4
_LOOK_EVERY_S = 10
_GRACE_S = 60

_BEGIN = """\
#!/bin/bash
# One server of one trial. It runs as long as its ticket lies in the folder.
folder=$(cd -- {folder} && pwd) || exit
ticket=$folder/{ticket}
wanted() {{ [ -e "$ticket" ] || {{ sleep 5; [ -e "$ticket" ]; }}; }}
wanted || {{ echo '{says}nobody wants this server any more'; exit 1; }}
"""
_MODULES = """\
type module >/dev/null 2>&1 || . /etc/profile
module load {modules} || exit
"""
_PORT = """\
command -v {program} >/dev/null || {{ echo {not_found}; exit 127; }}
host={bind} port={first} tried=0
while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
  (( port = port < {high} ? port + 1 : {low}, ++tried <= {high} - {low} )) || {{ echo '{says}no free port'; exit 1; }}
done
"""
_GUARD = """\
( ( while sleep {every_s}; do kill -0 $$ || exit; wanted || break; done
    kill -TERM $$; sleep {grace_s}; kill -KILL -- -$$ ) </dev/null >/dev/null 2>&1 & )
echo "{serves}$SLURMD_NODENAME:$port"
exec {command}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Where a job's server is."""

    node: str
    port: int


def script_of(launch: Launch, name: str, options: SlurmOptions) -> str:
    """The whole script; the values of secrets are not in it. Raises DeployerError for what no script can say."""
    words = command_of(launch, options)
    for text in (*words, *launch.env, *launch.env.values()):
        if "\0" in text:
            raise DeployerError("a NUL character cannot stand in an argument or in an environment variable")
    return "".join(
        (
            _BEGIN.format(folder=quote(options.folder), ticket=quote(name + TICKET), says=SAYS),
            surroundings(launch, options),
            _port(words[0], name, options),
            _GUARD.format(every_s=_LOOK_EVERY_S, grace_s=_GRACE_S, serves=SERVES, command=_command(words)),
        )
    )


def surroundings(launch: Launch, options: SlurmOptions) -> str:
    """What the script does before the server's command: modules, variables, working folder."""
    return "".join(
        (
            _MODULES.format(modules=join(options.modules)) if options.modules else "",
            *(f"export {variable(key)}={quote(value)}\n" for key, value in _environment(launch).items()),
            f"cd -- {quote(options.cwd)} || exit\n" if options.cwd else "",
        )
    )


def command_of(launch: Launch, options: SlurmOptions) -> Sequence[str]:
    """The server's command, in its container where there is one. Raises DeployerError for a container without image."""
    box = options.apptainer
    if box is None:
        return launch.argv
    image = box.image or (f"docker://{launch.image}" if launch.image else None)
    if image is None:
        raise DeployerError("the container has no image: say engine.image or deployer.apptainer.image")
    binds = tuple(word for bind in box.binds for word in ("--bind", bind))
    return (box.program, "exec", *(("--nv",) if box.gpus else ()), *binds, image, *launch.argv)


def served(log: str) -> Served | None:
    """What the script said of where its server is; None where it has not come so far."""
    found = re.search(rf"^{SERVES}(\S+):(\d+)$", log, re.MULTILINE)
    return Served(node=found[1], port=int(found[2])) if found else None


def said_by_apptainer(log: str) -> str | None:
    """Why it could not start the server: no image, nothing to bind, no such command in it. None where it did."""
    lines = [line for line in log.replace("\x1b[0m", "").splitlines() if line.strip()]
    refused = _REFUSED.match(lines[-1]) if lines else None
    return refused[1] if refused else None


def said_by_server(log: str) -> str:
    """The log without the script's own line."""
    return re.sub(rf"^{SERVES}\S+:\d+\n", "", log, count=1, flags=re.MULTILINE)


def _environment(launch: Launch) -> Mapping[str, str]:
    return {"PYTHONUNBUFFERED": "1", **launch.env}


def variable(name: str) -> str:
    """A script can set no other; `inherit_env` and secrets are bound to the same names."""
    if not re.fullmatch(r"[A-Za-z_]\w*", name):
        raise DeployerError(f'"{name}" cannot be the name of an environment variable')
    return name


def _port(program: str, name: str, options: SlurmOptions) -> str:
    low, high = options.ports
    return _PORT.format(
        program=quote(program),
        not_found=quote(f"{SAYS}command not found: {program}"),
        bind=quote(options.bind),
        first=low + crc32(name.encode()) % (high - low + 1),
        low=low,
        high=high,
        says=SAYS,
    )


def _command(words: Sequence[str]) -> str:
    return " ".join(map(_word, words))


def _word(word: str) -> str:
    """Quoted, with the address in the place of `{host}` and `{port}`."""
    parts = re.split(r"(\{host\}|\{port\})", word)
    told = {"{host}": '"$host"', "{port}": '"$port"'}
    return "".join(told.get(part) or quote(part) for part in parts if part) or "''"
