"""`optuna-tuner compare`: two trials on stdout, in the format that was asked for."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import yaml
from click.testing import Result

Invoke = Callable[..., Result]


def test_a_table_has_warnings_figures_and_flags(invoke: Invoke) -> None:
    done = invoke("compare", "sample/baseline", "sample")
    assert done.exit_code == 0
    assert done.stdout.startswith("One run on a side: without repeats nobody knows")
    assert "sample/0" in done.stdout
    assert "sample/8" in done.stdout
    assert "max_num_seqs" in done.stdout
    assert "Circumstances" not in done.stdout


def test_with_all_what_is_the_same_is_there_too(invoke: Invoke) -> None:
    assert "Circumstances" in invoke("compare", "sample/baseline", "sample", "--all").stdout


def test_every_format_says_the_same(invoke: Invoke) -> None:
    said = {
        form: invoke("compare", "sample/0", "sample/8", "-o", form).stdout for form in ("json", "yaml", "md", "html")
    }
    assert json.loads(said["json"]) == yaml.safe_load(said["yaml"])
    assert said["md"].startswith("# sample/0 and sample/8\n")
    assert said["html"].startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sample/winner", "sample"), '"winner" is no trial; write STUDY, STUDY/best, STUDY/baseline or STUDY/NUMBER'),
        (("sample", "sample/99"), "has no trial 99"),
        (("sample", "sample/4"), 'trial 4 of study "sample" has no figures to compare'),
        (("sample",), "Missing argument 'SECOND'"),
    ],
)
def test_what_cannot_be_compared_is_told(invoke: Invoke, words: tuple[str, ...], said: str) -> None:
    done = invoke("compare", *words)
    assert (done.exit_code != 0, done.stdout) == (True, "")
    assert said in done.stderr
