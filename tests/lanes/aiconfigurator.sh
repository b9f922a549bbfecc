#!/usr/bin/env bash
# The real aiconfigurator: what it predicts, and what it cannot, in a study of vLLM. A minute on an idle machine; no GPU.
#
#   tests/lanes/aiconfigurator.sh      it is installed first, unless OPTUNA_TUNER_AICONFIGURATOR names one
set -euo pipefail
cd "$(dirname "$0")/../.."
BIN=${BIN:-.venv/bin}

[ -n "${OPTUNA_TUNER_AICONFIGURATOR:-}" ] || "$BIN/optuna-tuner" doctor --install aiconfigurator
"$BIN/pytest" -n 0 tests/integration/test_real_aiconfigurator.py
