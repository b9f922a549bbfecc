"""Starts `vllm serve` again and again without importing it each time. `real_launches.py` runs it in vLLM's own Python.

    /path/to/vllm/environment/bin/python benchmarks/vllm_launches.py < lines

Each line of input is a JSON object: `argv` of the command line, `env` to add, `log` to write to. Each launch is vLLM's
own `main` in a process of its own, forked from this one after vLLM's modules were imported: a refusal takes a second of
CPU in place of a dozen. One line says that it is ready. Each launch is answered by two: its process, which leads a
session of its own; then its exit code, and the CPU that it took.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import traceback
from collections.abc import Mapping
from typing import Any, NoReturn

# What `vllm serve` imports before it refuses anything; the engine core's process imports for itself.
MODULES = (
    "vllm.entrypoints.cli.main",
    "vllm.entrypoints.cli.serve",
    "vllm.entrypoints.openai.api_server",
    "vllm.v1.engine.async_llm",
)


def serve(order: Mapping[str, Any]) -> NoReturn:
    """Become that command."""
    os.setsid()
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number in (1, 2):
        os.dup2(log, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.update(order["env"])
    sys.argv = ["vllm", *order["argv"][1:]]
    code = 1
    try:
        importlib.import_module("vllm.entrypoints.cli.main").main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001  as an interpreter would end
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)


def main() -> None:
    """Import, then start what each line asks for."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # vLLM prints to stdout
    for module in MODULES:
        importlib.import_module(module)
    out.write(json.dumps({"ready": True}) + "\n")
    out.flush()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            serve(json.loads(line))
        out.write(json.dumps({"pid": child}) + "\n")
        out.flush()
        _, status, used = os.wait4(child, 0)
        cpu_s = used.ru_utime + used.ru_stime
        out.write(json.dumps({"exit": os.waitstatus_to_exitcode(status), "cpu_s": cpu_s}) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
