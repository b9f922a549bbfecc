"""An image for Apptainer, where there is one: Debian 12 has none, tests/lanes/apptainer.sh gets it."""

from __future__ import annotations

import io
import shutil
import tarfile

import pytest
from dockers import links, programs
from pydantic import JsonValue


@pytest.fixture(scope="session")
def container(tmp_path_factory: pytest.TempPathFactory) -> JsonValue:
    """The deployer's option: a container of nothing but this machine's own programs."""
    if shutil.which("apptainer") is None:
        pytest.skip("no Apptainer here: tests/lanes/apptainer.sh")
    image = tmp_path_factory.mktemp("image")
    with tarfile.open(fileobj=io.BytesIO(links())) as tar:
        tar.extractall(image, filter="fully_trusted")  # noqa: S202  our own
    for folder in ("dev", "proc", "etc", "var/tmp"):
        (image / folder).mkdir(parents=True)
    for file in ("passwd", "group"):
        (image / "etc" / file).touch()
    return {"image": str(image), "binds": list(programs()), "gpus": False}
