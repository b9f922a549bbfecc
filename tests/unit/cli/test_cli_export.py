"""`optuna-tuner export`: to stdout or to a file that is not there yet."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from optuna_tuner.results.export import Format

Invoke = Callable[..., Result]


def test_the_best_goes_to_stdout(invoke: Invoke) -> None:
    done = invoke("export", "sample", "--to", "shell")
    assert done.exit_code == 0
    assert done.stdout.startswith("#!/usr/bin/env bash\n# optuna-tuner: study sample, trial 8 (the best)")
    assert done.stdout.endswith("--max-num-seqs 256\n")
    assert done.stderr == ""


def test_trial_host_port_and_image_are_handed_on(invoke: Invoke) -> None:
    words = ("--to", "json", "--trial", "2", "--host", "0.0.0.0", "--port", "9", "--image", "a:1")  # noqa: S104  words
    document = json.loads(invoke("export", "sample", *words).stdout)
    assert (document["trial"], document["url"], document["image"]) == (2, "http://127.0.0.1:9", "a:1")


def test_a_file_is_written_and_not_overwritten_unasked(invoke: Invoke, tmp_path: Path) -> None:
    file = tmp_path / "serve.sh"
    words = ("export", "sample", "--to", "shell", "-o", str(file))
    first = invoke(*words)
    assert (first.exit_code, first.stdout) == (0, "")
    assert "its first lines say how to start it" in first.stderr
    again = invoke(*words)
    assert again.exit_code == 2
    assert "is there already; --force overwrites it" in again.stderr
    file.write_text("old")
    assert invoke(*words, "--force").exit_code == 0
    assert file.read_text().startswith("#!/usr/bin/env bash")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--to", "docker"), "the study names no image; say which has vllm: --image NAME:TAG"),
        (("--to", "shell", "--trial", "4"), "trial 4 is infeasible: out_of_memory_pool"),
        (("--to", "shell", "--trial", "99"), "has no trial 99; it has 11 trials"),
        (("--to", "shell", "--host", "-x"), '"-x" is no address to listen on'),
        (("--to", "helm"), "'helm' is not one of"),
        ((), "Missing option '--to'"),
    ],
)
def test_what_cannot_be_exported_is_told_and_writes_nothing(
    invoke: Invoke, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    file = tmp_path / "out"
    done = invoke("export", "sample", *words, "-o", str(file))
    assert done.exit_code == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not file.exists()


def test_the_help_names_every_format_and_ends_with_examples(invoke: Invoke) -> None:
    text = invoke("export", "--help").stdout
    assert all(form.value in text for form in Format)
    assert "optuna-tuner export my-study --to shell -o serve.sh && bash serve.sh" in text
