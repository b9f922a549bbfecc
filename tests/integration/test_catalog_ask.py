from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from optuna_tuner.catalog.asking.ask import from_command, from_image
from optuna_tuner.clock import Deadline
from optuna_tuner.errors import CatalogError

PROGRAM = """#!{python}
import argparse, os, sys
parser = argparse.ArgumentParser()
parser.add_argument("--version", action="version", version="abacus 1.2.3")
parser.add_argument("--rows", type=int, choices=[1, 2])
parser.add_argument("--saw-" + "-".join(name.lower() for name in os.environ if "TOKEN" in name))
parser.parse_args()
"""
DOCKER = """#!{python}
import sys
print("\\n".join(sys.argv), file=open("{log}", "a"))
words = sys.argv[sys.argv.index("image:1"):] if "image:1" in sys.argv else []
print("0.9.1" if "-c" in words else "usage: x\\n\\noptions:\\n  --rows ROWS  How many.")
sys.exit(3 if "{fails}" and "run" in sys.argv else 0)
"""


def program(folder: Path, text: str, name: str = "abacus", **words: str) -> str:
    file = folder / name
    file.write_text(text.format(python=sys.executable, **words))
    file.chmod(0o755)
    return str(file)


@pytest.fixture
def patience() -> Deadline:
    return Deadline.after(60)


def test_a_command_is_asked_for_its_flags_and_its_version(tmp_path: Path, patience: Deadline) -> None:
    found = from_command([program(tmp_path, PROGRAM)], "abacus", deadline=patience)
    assert (found.engine, found.version) == ("abacus", "1.2.3")
    assert found.by_name["rows"].choices == (1, 2)
    assert found.source == {"command": f"{tmp_path}/abacus --help"}


def test_a_command_sees_no_secret(tmp_path: Path, patience: Deadline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert list(from_command([program(tmp_path, PROGRAM)], "abacus", "1", patience).names()) == ["rows", "saw_"]


def test_a_command_that_is_not_there_is_named(patience: Deadline) -> None:
    with pytest.raises(CatalogError, match="no-such-engine cannot be started: No such file"):
        from_command(["no-such-engine"], "vllm", "1", patience)


def test_a_command_that_fails_is_told_with_what_it_complained_of(tmp_path: Path, patience: Deadline) -> None:
    broken = program(tmp_path, "#!{python}\nraise SystemExit('no GPU')\n")
    with pytest.raises(CatalogError, match="exit code 1: no GPU"):
        from_command([broken], "vllm", "1", patience)


def test_a_command_that_prints_no_help_is_told(tmp_path: Path, patience: Deadline) -> None:
    with pytest.raises(CatalogError, match="printed no help text"):
        from_command([program(tmp_path, "#!{python}\nprint('hello')\n")], "vllm", "1", patience)


def test_a_command_that_hangs_is_ended(tmp_path: Path) -> None:
    hangs = program(
        tmp_path,
        "#!{python}\nimport os, time\nopen('{pid}', 'w').write(str(os.getpid()))\ntime.sleep(600)\n",
        pid=str(tmp_path / "pid"),
    )
    with pytest.raises(CatalogError, match="does not end in time"):
        from_command([hangs], "vllm", "1", Deadline.after(3))
    if (tmp_path / "pid").exists():
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_command_that_never_stops_printing_is_ended(tmp_path: Path, patience: Deadline) -> None:
    with pytest.raises(CatalogError, match="prints too much"):
        from_command([program(tmp_path, "#!{python}\nwhile True: print('-' * 65536)\n")], "vllm", "1", patience)


def test_an_image_is_asked_without_a_network_in_a_container_that_goes(
    tmp_path: Path, patience: Deadline, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, DOCKER, "docker", log=str(tmp_path / "log"), fails="")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = from_image("image:1", "sglang", deadline=patience)
    assert (found.version, list(found.names())) == ("0.9.1", ["rows"])
    said = (tmp_path / "log").read_text().splitlines()
    assert said.count("--rm") == said.count("none") == 2
    assert said[said.index("--network") + 1] == "none"
    assert said[-4:] == ["image:1", "-m", "sglang.launch_server", "--help"]


def test_a_container_that_fails_is_removed(tmp_path: Path, patience: Deadline, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, DOCKER, "docker", log=str(tmp_path / "log"), fails="yes")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(CatalogError, match="exit code 3"):
        from_image("image:1", "vllm", "1", patience)
    said = (tmp_path / "log").read_text().splitlines()
    assert said[-3:] == ["rm", "--force", said[said.index("--name") + 1]]


def test_without_docker_what_is_missing_is_said(
    tmp_path: Path, patience: Deadline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CatalogError, match="docker cannot be started: No such file or directory; is it installed"):
        from_image("image:1", "vllm", "1", patience)


@pytest.mark.parametrize("image", ["", "--privileged"])
def test_what_is_no_image_is_refused(image: str) -> None:
    with pytest.raises(CatalogError, match="is no image"):
        from_image(image, "vllm", "1")
