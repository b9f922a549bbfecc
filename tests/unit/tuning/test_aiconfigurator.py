"""The program that is asked: what becomes of its answers, and of those that never come."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest
from predictors import DENSE, LOG, answering, program, rows

from optuna_tuner.errors import EnvironmentFaultError
from optuna_tuner.tuning.aiconfigurator import Question, predictions

QUESTION = Question(
    model="Qwen/Qwen3-32B",
    system="h100_sxm",
    gpus=4,
    backend="vllm",
    input_tokens=1024,
    output_tokens=256,
    ttft_ms=1000,
    tpot_ms=50,
)
WRITES = 'given = dict(word[2:].split("=", 1) for word in sys.argv[1:] if "=" in word)\nf = given["save-dir"]\n'


def fault(path: Path, limit_s: float = 60) -> str:
    with pytest.raises(EnvironmentFaultError) as caught:
        predictions(path, QUESTION, limit_s)
    return str(caught.value).replace(str(path), "PROGRAM")


def test_its_table_is_read(tmp_path: Path) -> None:
    path, _ = answering(tmp_path, DENSE)
    assert predictions(path, QUESTION) == rows(DENSE)
    assert [(each.tp, each.gpus, each.requests, each.step_tokens) for each in rows(DENSE)] == [
        (2, 2, 128, 2174),
        (4, 4, 240, 2286),
        (1, 1, 20, 1043),
    ]


def test_what_it_says_last_of_a_failure_is_told_without_the_marks_of_its_log(tmp_path: Path) -> None:
    last = f"{LOG}Backend vllm is not supported for system nope."
    path = program(tmp_path, f'print("much")\nprint("{last}")\nsys.exit(2)')
    assert fault(path) == (
        "PROGRAM ended with exit code 2: Backend vllm is not supported for system nope; "
        "leave out prior to go on without it"
    )


def test_a_long_last_line_is_cut_and_what_moves_a_cursor_is_left_out(tmp_path: Path) -> None:
    path = program(tmp_path, 'print("\\x1b[2J" + "x" * 9000, file=sys.stderr)\nsys.exit(1)')
    assert "x" * 200 in fault(path)
    assert len(fault(path)) < 500
    assert "\x1b" not in fault(path)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("", "PROGRAM predicted nothing; it said last: nothing;"),
        (
            f'{WRITES}os.makedirs(f)\nopen(f + "/best_config_topn.csv", "w").write("tp,pp\\n")',
            "PROGRAM predicted nothing;",
        ),
        (
            f'{WRITES}os.makedirs(f)\nopen(f + "/best_config_topn.csv", "w").write("tp,pp\\n1,1\\n")',
            "its best_config_topn.csv cannot be read: no column 'num_total_gpus'",
        ),
    ],
    ids=["no table", "no rows", "other columns"],
)
def test_an_answer_that_is_none_is_told(tmp_path: Path, body: str, said: str) -> None:
    assert said in fault(program(tmp_path, body))


def test_one_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    child = tmp_path / "child"
    body = 'import subprocess\nchild = subprocess.Popen(["sleep", "300"])\nprint("thinking", flush=True)\n'
    path = program(tmp_path, f"{body}pathlib.Path({str(child)!r}).write_text(str(child.pid))\ntime.sleep(300)")
    assert fault(path, limit_s=5).startswith("PROGRAM did not end within 5 s, and was ended; it said last: thinking;")
    until = time.monotonic() + 10
    while psutil.pid_exists(int(child.read_text())) and time.monotonic() < until:
        time.sleep(0.05)
    pid = int(child.read_text())
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_one_that_cannot_be_started_is_told(tmp_path: Path) -> None:
    path = program(tmp_path, "")
    path.write_text("#!/nowhere/python\n")
    assert "cannot be started: No such file or directory" in fault(path)
