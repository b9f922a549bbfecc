from pathlib import Path

from optuna_tuner.engines.llama_cpp import LlamaCpp, LlamaCppOptions
from optuna_tuner.engines.vllm import Vllm, VllmOptions
from optuna_tuner.values import Endpoint

MATERIAL = Path(__file__).parents[2] / "material" / "engines"
NOBODY = Endpoint(url="http://127.0.0.1:1", model="tiny")


def test_vllm_tells_its_configuration_in_its_log() -> None:
    told = Vllm(VllmOptions()).effective_config(NOBODY, (MATERIAL / "vllm-serving.log").read_text(encoding="utf-8"))
    expected = {
        "dtype": "float32",
        "enable_chunked_prefill": True,
        "enable_prefix_caching": True,
        "enforce_eager": True,
        "kv_cache_dtype": "auto",
        "max_model_len": 4096,
        "tensor_parallel_size": 1,
    }
    assert expected.items() <= told.items()


def test_what_names_a_place_and_what_is_nested_is_no_setting() -> None:
    told = Vllm(VllmOptions()).effective_config(NOBODY, (MATERIAL / "vllm-serving.log").read_text(encoding="utf-8"))
    assert (
        not {"host", "port", "model", "tokenizer", "served_model_name", "kernel_config", "quantization"} & told.keys()
    )


def test_vllms_own_arguments_are_told_too() -> None:
    log = (
        "(APIServer pid=1) INFO 11-21 05:09:36 [api_utils.py:286] non-default args: {'port': 1, 'max_num_seqs': 64}\n"
        "(APIServer pid=1) INFO 11-21 05:09:36 [scheduler.py:307] Chunked prefill is enabled with "
        "max_num_batched_tokens=2048.\n"
    )
    told = Vllm(VllmOptions()).effective_config(NOBODY, log)
    assert told == {"max_num_batched_tokens": 2048, "max_num_seqs": 64}


def test_a_cut_line_tells_nothing() -> None:
    assert Vllm(VllmOptions()).effective_config(NOBODY, "non-default args: {'port': 1, 'max_n}") == {}
    assert LlamaCpp(LlamaCppOptions()).effective_config(NOBODY, 'resolved parameters: {"threads": 1,') == {}


def test_the_embedded_server_tells_what_it_resolved() -> None:
    log = (MATERIAL / "llama-cpp-serving.log").read_text(encoding="utf-8")
    told = LlamaCpp(LlamaCppOptions()).effective_config(NOBODY, log)
    assert {"threads": 1, "threads_batch": 1, "parallel": 4, "flash_attn": "auto"}.items() <= told.items()
