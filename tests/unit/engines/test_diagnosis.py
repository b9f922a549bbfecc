"""Messages that no machine without a GPU can produce, as they stand in the engines' sources, and the reading order."""

import pytest

from optuna_tuner.engines.llama_cpp import LlamaCpp, LlamaCppOptions
from optuna_tuner.engines.sglang import Sglang, SglangOptions
from optuna_tuner.engines.vllm import Vllm, VllmOptions
from optuna_tuner.values import Cause

LLAMA_CPP = LlamaCpp(LlamaCppOptions())
SGLANG = Sglang(SglangOptions())
VLLM = Vllm(VllmOptions())
VLLM_PREFIX = "(EngineCore pid=12) ERROR 11-21 01:29:02 [core.py:1510] "
SGLANG_PREFIX = "[2026-11-21 01:29:02 TP0] "
OUT_OF_MEMORY = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("ValueError: No available memory for the cache blocks. Try increasing", Cause.OUT_OF_MEMORY_POOL),
        (("ValueError: Free memory on device cuda:0 (3.1/79.1 GiB) on startup is less than desired GPU memory "
         "utilization (0.92, 72.8 GiB)."), Cause.DEVICE_BUSY),
        ("RuntimeError: CUDA out of memory occurred when warming up sampler with 1024 dummy requests.",
         Cause.OUT_OF_MEMORY_HEADROOM),
        ("AssertionError: Error in memory profiling. Initial free memory 3", Cause.DEVICE_BUSY),
        (OUT_OF_MEMORY, Cause.OUT_OF_MEMORY_POOL),
        ("NotImplementedError: Pipeline parallelism is not supported for this model.", Cause.BAD_COMBINATION),
        ("RuntimeError: something odd", Cause.CRASHED),
    ],
)  # fmt: skip
def test_vllm_messages(line: str, cause: Cause) -> None:
    wrapped = "RuntimeError: Engine core initialization failed. See root cause above."
    found = VLLM.diagnose(f"INFO starting\n{VLLM_PREFIX}{line}\nTraceback\n{wrapped}\n", 1)
    assert (found.cause, found.evidence) == (cause, line)


def test_values_that_vllms_configuration_does_not_take_are_told_with_their_names() -> None:
    log = """\
pydantic_core._pydantic_core.ValidationError: 2 validation errors for SchedulerConfig
max_num_batched_tokens
  Input should be greater than or equal to 1 [type=greater_than_equal, input_value=0, input_type=int]
    For further information visit https://errors.pydantic.dev/2.14/v/greater_than_equal
max_num_seqs
  Input should be greater than or equal to 1 [type=greater_than_equal, input_value=0, input_type=int]
"""
    found = VLLM.diagnose(log, 1)
    bound = "Input should be greater than or equal to 1 [type=greater_than_equal, input_value=0, input_type=int]"
    assert found.cause is Cause.BAD_FLAG
    assert found.evidence == f"max_num_batched_tokens: {bound}; max_num_seqs: {bound}"


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("RuntimeError: Not enough memory. Please try to increase --mem-fraction-static. Current value: 0.5",
         Cause.OUT_OF_MEMORY_POOL),
        ("Exception: Capture cuda graph failed: CUDA out of memory. Tried to allocate 1 GiB",
         Cause.OUT_OF_MEMORY_HEADROOM),
        ("Exception: Capture cuda graph failed: invalid configuration", Cause.BAD_COMBINATION),
        ("ValueError: The memory capacity is unbalanced. Some GPUs may be occupied by other processes.",
         Cause.DEVICE_BUSY),
        ("AssertionError: chunked_prefill_size must be divisible by page_size", Cause.BAD_COMBINATION),
        ("launch_server.py: error: unrecognized arguments: --cuda-graph-max-bs 8", Cause.BAD_FLAG),
    ],
)  # fmt: skip
def test_sglang_messages(line: str, cause: Cause) -> None:
    found = SGLANG.diagnose(f"{SGLANG_PREFIX}Load weight begin.\n{SGLANG_PREFIX}{line}\n", 1)
    assert (found.cause, found.evidence) == (cause, line)


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("error: invalid argument: --no-such", Cause.BAD_FLAG),
        ('error while handling argument "--cache-type-k": Unsupported cache type: q9', Cause.BAD_FLAG),
        ("llama_init_from_model: V cache quantization requires flash_attn", Cause.BAD_COMBINATION),
        ("ggml_backend_cuda_buffer_type_alloc_buffer: cudaMalloc failed: out of memory", Cause.OUT_OF_MEMORY_POOL),
    ],
)
def test_llama_cpp_messages(line: str, cause: Cause) -> None:
    found = LLAMA_CPP.diagnose(f"0.00.000.682 I srv init: initializing ...\n0.00.015.632 E {line}\n", 1)
    assert (found.cause, found.evidence) == (cause, line)


def test_memory_that_runs_out_before_the_server_is_ready_is_told_from_memory_that_runs_out_under_load() -> None:
    starting = f"capture_model\n{OUT_OF_MEMORY}"
    assert VLLM.diagnose(starting, 1).cause is Cause.OUT_OF_MEMORY_HEADROOM
    assert VLLM.diagnose(f"Application startup complete.\n{starting}", 1).cause is Cause.OUT_OF_MEMORY_RUNTIME
    decode = "The server is fired up and ready to roll!\nDecode out of memory. Try to lower your batch size."
    assert SGLANG.diagnose(decode, -9).cause is Cause.OUT_OF_MEMORY_RUNTIME


def test_pressure_on_the_kv_cache_is_no_failure() -> None:
    log = "The server is fired up and ready to roll!\nKV cache pool is full. Retract requests. #retracted_reqs: 3"
    assert SGLANG.diagnose(log, 0).cause is Cause.CRASHED


def test_a_killed_server_ran_out_of_memory_only_where_the_log_says_so() -> None:
    assert VLLM.diagnose("", 137).cause is Cause.CRASHED
    assert "137" in VLLM.diagnose("", 137).evidence
    assert VLLM.diagnose("Out of memory: Killed process 12 (VLLM)", 137).cause is Cause.OUT_OF_MEMORY_RUNTIME


def test_a_refusal_after_the_server_was_ready_does_not_blame_the_flags() -> None:
    assert VLLM.diagnose("Application startup complete.\nValueError: odd request", 1).cause is Cause.CRASHED


def test_exit_code_2_with_a_usage_text_is_a_bad_flag() -> None:
    assert SGLANG.diagnose("usage: launch_server.py [-h]\nsomething is wrong with --x", 2).cause is Cause.BAD_FLAG


@pytest.mark.parametrize(
    "line",
    [
        "requests.exceptions.HTTPError: 429 Client Error: Too Many Requests for url: https://hub/model",
        "ModuleNotFoundError: No module named 'vllm'",
        "RuntimeError: No CUDA GPUs are available",
        "OSError: [Errno 28] No space left on device",
    ],
)
def test_the_machines_faults_are_the_machines(line: str) -> None:
    assert VLLM.diagnose(line, 1).cause is Cause.MACHINE


def test_a_caught_import_error_in_a_warning_is_no_cause() -> None:
    log = "WARNING 11-21 05:08:22 [x.py:1] Failed to import from vllm._C: ImportError('libcuda')\nValueError: real"
    assert VLLM.diagnose(log, 1).evidence == "ValueError: real"


def test_evidence_is_bounded() -> None:
    assert len(VLLM.diagnose("ValueError: " + "x" * 10_000, 1).evidence) == 500
