"""What is exported starts as it is: a real bash runs it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from dockers import IMAGE, DockerDaemon
from pydantic import JsonValue
from runs import models_at, wait_for
from take_home import MODEL, TWO_CORES, ended_study, export

from optuna_tuner.results.export import Export, Format
from optuna_tuner.values import Params

SAYS = "import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ)]))"
HOSTILE = ("two words", "-x", "--", "$HOME", "`id`", "$(id)", "'", '"', "\\", "a\nb", "", "*", "~", "# no", "a;b", "ü")


def ran(script: str, **env: str) -> subprocess.CompletedProcess[str]:
    surroundings = {"PATH": os.environ["PATH"], "HOME": "/nowhere", **env}
    return subprocess.run(["bash"], input=script, capture_output=True, text=True, check=False, env=surroundings)


def hostile(command: list[JsonValue], **engine: JsonValue) -> str:
    flags: dict[str, JsonValue] = {f"flag{place}": value for place, value in enumerate(HOSTILE)}
    words: dict[str, JsonValue] = {"kind": "fake", "command": command, "flags": flags, **engine}
    params = Params(env={f"HOSTILE{place}": value for place, value in enumerate(HOSTILE)})
    return export(ended_study(words, params, TWO_CORES), Export(form=Format.DOCKER if engine else Format.SHELL))


def expected() -> list[str]:
    return [word for place, value in sorted(enumerate(HOSTILE), key=_flag) for word in (f"--flag{place}", value)]


def _flag(place: tuple[int, str]) -> str:
    return f"flag{place[0]}"


def test_a_shell_script_hands_over_every_word_and_variable_as_it_is() -> None:
    words, env = json.loads(ran(hostile([sys.executable, "-c", SAYS])).stdout)
    assert words == ["--host", "127.0.0.1", "--port", "8000", "--model", "tiny", *expected()]
    assert [env[f"HOSTILE{place}"] for place in range(len(HOSTILE))] == list(HOSTILE)


def test_so_does_a_docker_run(tmp_path: Path) -> None:
    docker = tmp_path / "docker"
    docker.write_text(f"#!{sys.executable}\n{SAYS}\n")
    docker.chmod(0o755)
    done = ran(hostile(["serve"], image="fake:1"), PATH=f"{tmp_path}:{os.environ['PATH']}")
    words, _ = json.loads(done.stdout)
    assert words[words.index("fake:1") :] == [
        "fake:1",
        *("--host", "0.0.0.0", "--port", "8000", "--model", "tiny"),  # noqa: S104  inside the container
        *expected(),
    ]
    for place, value in enumerate(HOSTILE):
        assert f"--env=HOSTILE{place}={value}" in words


def test_a_missing_secret_is_named_before_anything_starts() -> None:
    engine: Mapping[str, JsonValue] = {
        "kind": "vllm",
        "command": [sys.executable, "-c", SAYS],
        "secrets": {"HF_TOKEN": {"env": "MY_TOKEN"}},
    }
    script = export(ended_study(engine, Params(flags={"max_num_seqs": 8}), TWO_CORES), Export(form=Format.SHELL))
    missing = ran(script)
    assert missing.returncode != 0
    assert missing.stdout == ""
    assert "MY_TOKEN: must hold the secret HF_TOKEN" in missing.stderr
    assert json.loads(ran(script, MY_TOKEN="it's $x").stdout)[1]["HF_TOKEN"] == "it's $x"  # noqa: S105, S106  no secret


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[1] / "golden" / "exported").glob("*.sh")), ids=str)
def test_every_script_is_bash(path: Path) -> None:
    assert subprocess.run(["bash", "-n", path], check=False).returncode == 0


@pytest.mark.skipif(shutil.which("docker") is None, reason="no docker command")
def test_a_docker_run_starts_its_container(docker_daemon: DockerDaemon) -> None:
    deployer: dict[str, JsonValue] = {"kind": "docker", **docker_daemon.options}
    engine: Mapping[str, JsonValue] = {"kind": "fake", "image": IMAGE}
    ended = ended_study(engine, Params(flags={"ttft_ms": 5}), TWO_CORES, deployer=deployer)
    port = free_port()
    script = export(ended, Export(form=Format.DOCKER, port=port), replace(MODEL, path="tiny", tokenizer="tiny"))
    try:
        done = ran(script, DOCKER_HOST=docker_daemon.address)
        assert done.returncode == 0, done.stderr
        wait_for(lambda: models_at(port) == ["tiny"])
    finally:
        ran("docker rm --force my-study-trial-2", DOCKER_HOST=docker_daemon.address)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
