"""The embedded server: llama.cpp's own HTTP server, in this process, under llama.cpp's own flag names.

`python -m optuna_tuner.engines.embedded.launcher --model FILE --port 8080` serves until SIGTERM or SIGINT and then
exits 0. Exit code 2: a flag or value is not known. Exit code 1: the server refused to start; llama.cpp's reason stands
on stderr.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, NoReturn

import psutil

from optuna_tuner.engines.embedded import RESOLVED

if TYPE_CHECKING:
    import xllamacpp

CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def usable_threads() -> int:
    """CPU cores that this process may use, less one for the load client; at least one."""
    return max(1, len(os.sched_getaffinity(0)) - 1)


def parser() -> argparse.ArgumentParser:
    """The flags, a subset of llama-server's, with its defaults but for `--threads` and `--cache-ram`."""
    made = argparse.ArgumentParser(prog="optuna-tuner-llama-server", allow_abbrev=False, description=__doc__)
    switch = argparse.BooleanOptionalAction
    made.add_argument("-m", "--model", required=True, help="GGUF file")
    made.add_argument("-a", "--alias", default="model", help="the model's name in requests")
    made.add_argument("--host", default="127.0.0.1")
    made.add_argument("--port", type=int, default=8080)
    made.add_argument("-t", "--threads", type=int, default=usable_threads(), help="threads of the decode phase")
    made.add_argument("-tb", "--threads-batch", type=int, help="threads of the prompt phase; default: --threads")
    made.add_argument("-b", "--batch-size", type=int, default=2048, help="most tokens of one logical batch")
    made.add_argument("-ub", "--ubatch-size", type=int, default=512, help="most tokens of one physical batch")
    made.add_argument("-np", "--parallel", type=_slots, default=4, help="slots: requests that are served at once")
    made.add_argument("-c", "--ctx-size", type=int, default=0, help="tokens of all slots together; 0: the model's own")
    made.add_argument("-ctk", "--cache-type-k", choices=CACHE_TYPES, default="f16")
    made.add_argument("-ctv", "--cache-type-v", choices=CACHE_TYPES, default="f16")
    made.add_argument("-fa", "--flash-attn", choices=("on", "off", "auto"), default="auto")
    made.add_argument("--cont-batching", action=switch, default=True, help="let requests join a running batch")
    made.add_argument("--kv-unified", action=switch, default=False, help="one cache for all slots")
    made.add_argument("--cache-prompt", action=switch, default=True, help="reuse the cache of a common prefix")
    made.add_argument("--cache-ram", type=int, default=256, help="MiB of prompts kept beside the slots; 0: none")
    made.add_argument("--threads-http", type=int, default=-1, help="threads that answer HTTP; -1: chosen by llama.cpp")
    made.add_argument("--poll", type=int, default=50, help="0 to 100: how much waiting threads spin")
    return made


def _slots(text: str) -> int:
    """A whole number of at least 1: llama.cpp would start with no slot, and answer nobody."""
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return count


def common_params(chosen: argparse.Namespace) -> xllamacpp.CommonParams:
    """The flags as llama.cpp's own parameter object, with every read-only endpoint on."""
    import xllamacpp  # noqa: PLC0415  an extra

    params = xllamacpp.CommonParams()
    params.model.path = chosen.model
    params.model_alias = {chosen.alias}
    params.hostnames, params.port = [chosen.host], chosen.port
    params.endpoint_metrics = params.endpoint_props = params.endpoint_slots = True
    params.ui = params.fit_params = False  # fitting to a device's memory only doubles the time to fail
    params.cpuparams.n_threads = chosen.threads
    params.cpuparams_batch.n_threads = chosen.threads_batch or chosen.threads
    params.cpuparams.poll = params.cpuparams_batch.poll = chosen.poll
    params.n_batch, params.n_ubatch = chosen.batch_size, chosen.ubatch_size
    params.n_parallel, params.n_ctx = chosen.parallel, chosen.ctx_size
    params.cache_type_k = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{chosen.cache_type_k.upper()}")
    params.cache_type_v = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{chosen.cache_type_v.upper()}")
    flash = {"on": "ENABLED", "off": "DISABLED", "auto": "AUTO"}[chosen.flash_attn]
    params.flash_attn_type = getattr(xllamacpp.llama_flash_attn_type, f"LLAMA_FLASH_ATTN_TYPE_{flash}")
    params.cont_batching, params.kv_unified = chosen.cont_batching, chosen.kv_unified
    params.cache_prompt, params.cache_ram_mib = chosen.cache_prompt, chosen.cache_ram
    params.n_threads_http = chosen.threads_http
    return params


def serve(chosen: argparse.Namespace) -> NoReturn:
    """Serve until asked to stop, then end the process with exit code 0; with 1 where llama.cpp does not start."""
    import xllamacpp  # noqa: PLC0415  an extra

    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # before any thread exists: only sigwait below gets them
    _refuse_more_memory_than_there_is()
    params = common_params(chosen)
    sys.stderr.write(RESOLVED + json.dumps(_resolved(chosen, params)) + "\n")
    sys.stderr.flush()
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as error:
        raise SystemExit(f"error: llama.cpp did not start: {error}") from error
    signal.sigwait(STOP_SIGNALS)
    sys.stderr.write(f"stopped listening on {server.listening_address}\n")
    sys.stderr.flush()
    os._exit(0)  # closing the server would wait until every open stream has ended, and there is nothing to save


def _refuse_more_memory_than_there_is() -> None:
    """Make an allocation that cannot work fail at once, also where the kernel promises memory that it does not have."""
    total, (_, hard) = psutil.virtual_memory().total, resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (total if hard == resource.RLIM_INFINITY else min(total, hard), hard))


def _resolved(chosen: argparse.Namespace, params: xllamacpp.CommonParams) -> dict[str, bool | int | str]:
    named = {name: value for name, value in vars(chosen).items() if name not in {"model", "alias", "host", "port"}}
    return named | {"threads": params.cpuparams.n_threads, "threads_batch": params.cpuparams_batch.n_threads}


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Parse the flags and serve."""
    chosen = parser().parse_args(argv)
    if find_spec("xllamacpp") is None:
        raise SystemExit("error: No module named xllamacpp: pip install 'optuna-tuner[embedded]'")
    serve(chosen)


if __name__ == "__main__":
    main()
