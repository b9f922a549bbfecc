#!/usr/bin/env bash
# The real guidellm and `vllm bench serve`: what every benchmark promises, against a server that misbehaves; then all load
# clients side by side against one with known times. Minutes on an idle machine.
#
#   VLLM=/path/to/vllm tests/lanes/load-clients.sh      guidellm and genai-bench are installed first where they are missing
set -euo pipefail
cd "$(dirname "$0")/../.."
BIN=${BIN:-.venv/bin}

"$BIN/optuna-tuner" doctor --install guidellm
"$BIN/optuna-tuner" doctor --install genai-bench
export OPTUNA_TUNER_VLLM=${VLLM:?the path of a vllm}
"$BIN/pytest" -n 0 -m load_clients tests/contracts/test_benchmarks.py
"$BIN/python" benchmarks/clients.py --only-agreement
