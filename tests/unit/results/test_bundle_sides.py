"""Bundles on disk as sides of a comparison: what they say is what the study said that they were made of."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from take_home import TWO_CORES, ended_study

from optuna_tuner.errors import BundleError, NotFoundError
from optuna_tuner.results.bundle.as_study import bundle_side
from optuna_tuner.results.bundle.describing import Source
from optuna_tuner.results.bundle.writing import write_study, write_trial
from optuna_tuner.results.side_by_side import Side
from optuna_tuner.results.side_by_side.finding import difference_of
from optuna_tuner.results.side_by_side.sides import side_of
from optuna_tuner.results.views import StudyView
from optuna_tuner.values import Params

NOWHERE = Path("/nowhere")


@pytest.fixture(scope="module")
def study() -> StudyView:
    return ended_study({"kind": "vllm", "version": "0.32.0"}, Params(flags={"max_num_seqs": 256}), TWO_CORES)


@pytest.fixture(scope="module")
def whole(study: StudyView, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "whole"
    sources = [Source(study=study, trial=trial, folder=NOWHERE, handle=None) for trial in study.trials]
    write_study(study, sources, folder)
    return folder


def read(which: Path | str) -> Side:
    found = bundle_side(str(which))
    assert found is not None
    return found


def test_a_bundle_differs_in_nothing_from_the_study_that_it_was_made_of(study: StudyView, whole: Path) -> None:
    for which, named in (
        (whole, "best"),
        (whole / "baseline", "baseline"),
        (whole / "1", "1"),
        (whole / "trial-0", "0"),
    ):
        found = difference_of(side_of(study, named), read(which))
        assert (found.flags, found.circumstances, found.resolved) == ((), (), ())
        assert [(each.metric, each.share) for each in found.metrics] == [
            ("output_throughput_tok_s", 0),
            ("ttft_ms.p99", 0),
        ]


def test_the_bundle_of_a_trial_is_that_trial(study: StudyView, tmp_path: Path) -> None:
    write_trial(Source(study=study, trial=study.trial(0), folder=NOWHERE, handle=None), tmp_path / "one")
    side = read(tmp_path / "one")
    assert (side.name, side.trial.metrics["output_throughput_tok_s"]) == ("my study/0", 500)


def test_what_is_no_bundle_is_a_study_of_the_database(whole: Path, tmp_path: Path) -> None:
    assert bundle_side("my-study/7") is None
    assert bundle_side(str(tmp_path)) is None
    assert bundle_side(str(whole / "raw")) is None
    with pytest.raises(NotFoundError, match="has no trial 9"):
        bundle_side(str(whole / "9"))


def test_trials_of_two_studies_in_one_folder_are_refused(study: StudyView, whole: Path, tmp_path: Path) -> None:
    mixed = shutil.copytree(whole, tmp_path / "mixed")
    other = replace(study, id="another")
    shutil.rmtree(mixed / "trial-2")
    write_trial(Source(study=other, trial=other.trial(2), folder=NOWHERE, handle=None), mixed / "trial-2")
    with pytest.raises(BundleError, match=r"trial-2/run.json: study: is another than that of .*trial-0"):
        bundle_side(str(mixed))


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        ("trial", {"kind": "winner"}, "trial: 'winner' is not a valid AttemptKind"),
        ("trial", {"params": {"trust_remote_code": True}}, "trial.params: trust_remote_code: not in the space"),
        ("times", {"created": "yesterday"}, "times.created: is no moment in ISO 8601: yesterday"),
    ],
)
def test_a_hostile_bundle_is_refused_with_the_field(
    whole: Path, tmp_path: Path, part: str, change: dict[str, object], said: str
) -> None:
    file = shutil.copytree(whole / "trial-1", tmp_path / "bad") / "run.json"
    document = json.loads(file.read_text("utf-8"))
    document[part] |= change
    file.write_text(json.dumps(document))
    with pytest.raises(BundleError, match=f"run.json: {said}"):
        bundle_side(str(file.parent))
