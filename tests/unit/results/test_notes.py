from __future__ import annotations

from dataclasses import replace

from optuna_tuner.results.dashboard.notes import FOOTER, is_ours, study_note, trial_note
from optuna_tuner.results.markdown import code, plain, table
from optuna_tuner.results.views import StudyView


def test_the_study_note_says_best_gain_flags_command_and_causes(study: StudyView) -> None:
    note = study_note(study, "vllm serve tiny --max-num-seqs 256")
    for part in (
        "# sample",
        "**done**, 10 of 10 trials: 6 feasible",
        "Best (trial 8) over the engine",
        "60.0 % better",
        "| metric | default (trial 0) | best (trial 8) |",
        "| max\\_num\\_seqs | engine's own | 256 |",
        "| dtype | bfloat16 | bfloat16 (same) |",
        "```text\nvllm serve tiny --max-num-seqs 256\n```",
        "| out\\_of\\_memory\\_pool | 1 |",
        FOOTER,
    ):
        assert part in note


def test_a_study_without_a_command_has_no_section_for_it(study: StudyView) -> None:
    assert "## Command" not in study_note(study, "")


def test_a_trial_note_names_each_constraint_and_whether_it_was_kept(study: StudyView) -> None:
    note = trial_note(study, study.trials[3])
    assert "**infeasible**: slo. It took 1 min 00 s on node-a, slot slot-0." in note
    assert "| ttft\\_ms.p99 \\<= 200 | BROKEN | +350.0 % |" in note
    assert "| concurrency=8 (scored) | 950 tok/s | 900 ms |" in note


def test_a_failed_trial_quotes_its_reason_and_gives_advice(study: StudyView) -> None:
    note = trial_note(study, study.trials[4])
    assert "```text\nValueError: No available memory for the cache blocks.\n```" in note
    assert "Weights or KV cache do not fit" in note
    assert "| server runs | BROKEN | not measured |" in note


def test_a_trial_whose_kv_cache_was_full_says_so(study: StudyView) -> None:
    note = trial_note(study, replace(study.trials[3], kv_cache_retractions=3))
    assert "it was full: 3 requests lost their place in it" in note
    assert "KV cache" not in trial_note(study, study.trials[3])


def test_a_second_try_is_said_to_be_one(study: StudyView) -> None:
    assert "Try 2 of these parameters." in trial_note(study, study.trials[7])


def test_what_a_server_wrote_cannot_become_markup(study: StudyView) -> None:
    evil = "```\n<script>alert(1)</script>\n[click](javascript:alert(1))\n```"
    note = trial_note(study, replace(study.trials[4], reason=evil))
    assert f"````text\n{evil}\n````" in note
    assert plain("a|b [x](y) <img> `c`\nd") == "a\\|b \\[x\\](y) \\<img\\> \\`c\\` d"
    assert code("x") == "```text\nx\n```"
    assert table(("a",), []) == ""


def test_a_users_own_note_is_recognised() -> None:
    assert is_ours("")
    assert is_ours(f"anything\n\n{FOOTER}")
    assert not is_ours("my own words")
