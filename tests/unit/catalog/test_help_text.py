from __future__ import annotations

from collections.abc import Mapping

import pytest

from optuna_tuner.catalog import shelf
from optuna_tuner.catalog.asking.help_text import flags
from optuna_tuner.catalog.catalogue import Flag, FlagType
from optuna_tuner.engines.embedded.launcher import parser

# As vLLM prints, in words of our own.
ARGPARSE = """usage: serve [model] [options]

Serves a model.
  Use `--help=all` to show all flags.

positional arguments:
  model                 The model. (default: None)

options:
  --headless            No server. (default: False)
  -h, --help            show this help message and exit

Cache:
  Where things are kept.

  --block-size BLOCK_SIZE
                        Tokens of one block. Where none is given the
                        backend chooses. (default: None)
  --memory MEMORY, --device-memory MEMORY
                        The part of the memory.

                        A second paragraph. (default: 0.92)
  --kind {auto,float16,fp8}
                        "auto" takes the model's, {really}. (default: auto)
  --kept, --no-kept, -k
                        Whether it is kept. (default: True)
  --sizes SIZES [SIZES ...]
                        All sizes. (default: [])
  --tensor-parallel-size TP_SIZE, --tp-size TP_SIZE
                        How many. (default: 1)
  --config CONFIG, -cc CONFIG
                        Should either be a valid JSON string or JSON keys
                        passed individually. (default: Config(level=1,
                        passes=None))
  --level {0,1,2}       How much. (default: 2)
  --old OLD             [DEPRECATED] Use --new instead. (default: None)
  --url URL             See
                        --kind. (default: http://127.0.0.1:8000/)
  --probe-failure-limit-before-it-counts PROBE_FAILURE_LIMIT_BEFORE_IT_COUNTS
                        How often. (default: Limit.NEVER)
"""
# As SGLang prints: argparse without the defaults.
BARE = """usage: launch_server.py [-h] --model-path MODEL_PATH

options:
  -h, --help            show this help message and exit
  --model-path MODEL_PATH, --model MODEL_PATH
                        The path.
  --tensor-parallel-size TP_SIZE, --tp-size TP_SIZE
                        How many.
  --on                  Whether.
"""
# As llama.cpp prints, in words of our own.
LLAMA = """----- common params -----

-h,    --help, --usage                  print usage and exit
-t,    --threads N                      how many threads (default: -1)
                                        (env: LLAMA_ARG_THREADS)
-tb,   --threads-batch N                how many threads for prompts (default: same as --threads)
-ngl,  --gpu-layers, --n-gpu-layers N   layers on the GPU, 'auto' or 'all' (default: auto)
                                        (env: LLAMA_ARG_N_GPU_LAYERS)
-fa,   --flash-attn [on|off|auto]       which ('on', 'off', or 'auto', default: 'auto')
-kvo,  --kv-offload, -nkvo, --no-kv-offload
                                        whether to move the cache (default: enabled)
--cpu-strict <0|1>                      strictly (default: 0)
--temp, --temperature N                 temperature (default: 0.80, 0.0 = always the same)
-ctk,  --cache-type-k TYPE              number format of K
                                        allowed values: f32, f16, q8_0
                                        (default: f16)
--origins LIST                          who may ask (default: here, there)
--range START END                       from and to
--no-host                               without host memory
-dt,   --defrag N                       tidying up (DEPRECATED)
--draft N                               the argument has been removed. use --spec-draft

----- server params -----

--reuse-port                            share the port (default: disabled)
"""


def read(text: str) -> Mapping[str, Flag]:
    return {flag.name: flag for flag in flags(text)}


def test_every_flag_of_a_python_program_is_read_and_nothing_else() -> None:
    assert list(read(ARGPARSE)) == [
        *("headless", "block_size", "memory", "kind", "kept", "sizes", "tp_size", "config", "level", "old", "url"),
        "probe_failure_limit_before_it_counts",
    ]


def test_spellings_choices_and_defaults_are_as_printed() -> None:
    found = read(ARGPARSE)
    assert found["memory"] == Flag(
        name="memory", spellings=("--memory", "--device-memory"), type=FlagType.FLOAT, default=0.92
    )
    assert found["kind"].choices == ("auto", "float16", "fp8")
    assert (found["level"].type, found["level"].choices, found["level"].default) == ("int", (0, 1, 2), 2)
    assert (found["sizes"].many, found["sizes"].default) == (True, [])
    assert (found["block_size"].default, found["block_size"].default_is_known) == (None, True)
    assert found["url"].default == "http://127.0.0.1:8000/"
    assert found["old"].deprecated == "Use --new instead. (default: None)"


def test_a_flag_that_is_as_wide_as_the_column_still_takes_a_word() -> None:
    assert read(ARGPARSE)["probe_failure_limit_before_it_counts"].type == FlagType.TEXT


def test_a_switch_with_a_no_form_is_one_flag() -> None:
    kept = read(ARGPARSE)["kept"]
    assert (kept.spellings, kept.type, kept.negatable, kept.default) == (("--kept", "-k"), "switch", True, True)


def test_the_canonical_name_is_the_one_that_the_value_is_kept_under() -> None:
    assert read(ARGPARSE)["tp_size"].spellings == ("--tp-size", "--tensor-parallel-size")
    assert read(BARE)["model_path"].spellings == ("--model-path", "--model")


def test_a_default_that_is_no_plain_value_or_not_printed_is_not_known() -> None:
    assert (read(ARGPARSE)["config"].type, read(ARGPARSE)["config"].default_is_known) == ("json", False)
    assert not read(ARGPARSE)["probe_failure_limit_before_it_counts"].default_is_known
    assert not any(flag.default_is_known for flag in flags(BARE))


def test_every_flag_of_llama_cpp_is_read_but_those_that_it_refuses() -> None:
    assert list(read(LLAMA)) == [
        *("threads", "threads_batch", "n_gpu_layers", "flash_attn", "kv_offload", "cpu_strict", "temp"),
        *("cache_type_k", "origins", "range", "no_host", "defrag", "reuse_port"),
    ]


def test_what_llama_cpp_says_of_a_flag_is_understood() -> None:
    found = read(LLAMA)
    assert found["n_gpu_layers"].spellings == ("--n-gpu-layers", "--gpu-layers", "-ngl")
    assert found["kv_offload"].spellings == ("--kv-offload", "-kvo"), "the forms that turn it off are none of them"
    assert (found["kv_offload"].negatable, found["kv_offload"].default) == (True, True)
    assert found["flash_attn"].choices == ("on", "off", "auto")
    assert (found["cpu_strict"].choices, found["cpu_strict"].default) == ((0, 1), 0)
    assert (found["temp"].type, found["temp"].default) == ("float", 0.8)
    assert (found["threads"].type, found["threads"].default) == ("int", -1)
    assert found["threads_batch"].default_from == "same as --threads"
    assert found["cache_type_k"].choices == ("f32", "f16", "q8_0")
    assert not found["origins"].default_is_known, "where a list ends cannot be told"
    assert found["range"].many
    assert (found["no_host"].type, found["no_host"].negatable) == ("switch", False)
    assert found["defrag"].deprecated
    assert found["reuse_port"].default is False


@pytest.mark.parametrize("text", ["", "no such option: --help\n", "Traceback (most recent call last):\n  File x\n"])
def test_what_is_no_help_text_has_no_flags(text: str) -> None:
    assert flags(text) == ()


def test_the_catalogue_of_the_embedded_server_is_that_of_its_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    now = {(flag.name, flag.spellings, flag.choices, flag.negatable) for flag in flags(parser().format_help())}
    kept = shelf.load("llama_cpp", "embedded").flags
    assert {(flag.name, flag.spellings, flag.choices, flag.negatable) for flag in kept} == now


def test_the_embedded_server_knows_no_flag_that_the_full_one_does_not() -> None:
    full = shelf.load("llama_cpp", "11549")
    assert [flag.name for flag in shelf.load("llama_cpp", "embedded").flags if full.find(flag.name) is None] == []
