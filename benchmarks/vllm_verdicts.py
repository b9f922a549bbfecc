"""Says of many command lines whether vLLM would take them. Runs in vLLM's own Python; `real_rules.py` starts it.

    /path/to/vllm/environment/bin/python benchmarks/vllm_verdicts.py < lines > verdicts

Each line of input is a JSON list of arguments of `vllm serve`. For each it answers one line of JSON: null where vLLM
makes its whole configuration of them, or why it does not. Nothing is launched. Each is judged in a process of its own,
since vLLM keeps state between configurations.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import select
import sys
from collections.abc import Callable

PATIENCE_S = 120.0
Judge = Callable[[list[str]], str | None]


def make_judge() -> Judge:
    """What judges one command line, with vLLM loaded."""
    arguments = importlib.import_module("vllm.engine.arg_utils")
    parsing = importlib.import_module("vllm.utils.argparse_utils")
    usage = importlib.import_module("vllm.usage.usage_lib").UsageContext.OPENAI_API_SERVER
    parser = arguments.AsyncEngineArgs.add_cli_args(parsing.FlexibleArgumentParser(prog="vllm serve"))

    def judge(argv: list[str]) -> str | None:
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said):
                given = parser.parse_args(argv)
            arguments.AsyncEngineArgs.from_cli_args(given).create_engine_config(usage_context=usage)
        except SystemExit:
            return f"argparse: {said.getvalue().strip().splitlines()[-1]}"
        except Exception as error:  # noqa: BLE001  whatever it raises is its verdict
            return f"{type(error).__name__}: {' '.join(str(error).split())}"
        return None

    return judge


def judged_apart(judge: Judge, argv: list[str]) -> str | None:
    """The verdict of a child process."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        verdict = judge(argv)
        os.write(writing, json.dumps(verdict).encode()[:60_000])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        ready, _, _ = select.select([pipe], [], [], PATIENCE_S)
        answer = pipe.read() if ready else b""
    if not answer:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, 9)
    os.waitpid(child, 0)
    return json.loads(answer) if answer else "no verdict: the process ended or took too long"


def main() -> None:
    """Judge every line."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # vLLM prints to stdout
    judge = make_judge()
    for line in sys.stdin:
        out.write(json.dumps(judged_apart(judge, json.loads(line))) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
