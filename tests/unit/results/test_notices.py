"""What people are told when a study has ended, and that their addresses stay secret."""

from __future__ import annotations

from dataclasses import replace

import pytest

from optuna_tuner.errors import EnvironmentFaultError, StoreError
from optuna_tuner.results.notices import VARIABLE, channel, notice_of, notice_of_failure
from optuna_tuner.results.views import StudyView


def test_a_notice_says_how_it_ended_and_what_to_deploy(study: StudyView) -> None:
    notice = notice_of(study)
    assert notice.title == f"sample: {study.state.value}"
    assert study.comparison.text in notice.text
    assert "Flags: enable_prefix_caching=true, " in notice.text


def test_a_study_that_was_ended_says_why_and_a_simulated_one_that_it_is(study: StudyView) -> None:
    ended = replace(study, ended_because="5 trials in a row: node_lost", spec=study.spec)
    assert "It was ended: 5 trials in a row: node_lost" in notice_of(ended).text


def test_a_failure_says_what_it_was() -> None:
    notice = notice_of_failure("sample", StoreError("the database is away"))
    assert (notice.title, notice.text) == ("sample: ended with an error", "the database is away")


def test_nobody_asked_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert channel() is None


def test_an_address_that_is_none_is_named_by_its_place_and_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("apprise")
    monkeypatch.setenv(VARIABLE, "json://127.0.0.1:9/ secret-token")
    with pytest.raises(EnvironmentFaultError) as caught:
        channel()
    assert "address 2 of OPTUNA_TUNER_NOTIFY is none that apprise understands" in str(caught.value)
    assert "secret-token" not in str(caught.value)
