#!/usr/bin/env bash
# optuna-tuner: study my study, trial 2 (the best), measured on 2026-01-02
# Engine: vllm 0.32.0; model: tiny
# Machine: node-a, 2 GPUs; deployed with local
# This run, at concurrency=8: output_throughput_tok_s 800 tok/s; ttft_ms.p99 180 ms (ttft_ms.p99 <= 200 is kept)
# Gain: Best (trial 2) over the engine's default (trial 0): output_throughput_tok_s 800 tok/s against 500 tok/s
#   (60.0 % better). One run each: a single measurement, not confirmed by repeats.
# It takes 2 GPUs of this machine; CUDA_VISIBLE_DEVICES says which.
# Start it: bash THIS_FILE. Ask it: curl http://127.0.0.1:8000/v1/models
# Only this machine can reach it. For others export it with --host 0.0.0.0: it asks nobody for a key.
set -eu
HF_TOKEN="${MY_TOKEN:?must hold the secret HF_TOKEN}"
export HF_TOKEN
export PYTHONUNBUFFERED=1
export VLLM_LOGGING_LEVEL=INFO
export VLLM_USE_FLASHINFER_SAMPLER=1
exec vllm serve /models/tiny \
  --host 127.0.0.1 \
  --port 8000 \
  --served-model-name tiny \
  --dtype bfloat16 \
  --no-enable-prefix-caching \
  --hf-overrides '{"rope":"it'"'"'s"}' \
  --max-num-seqs 256 \
  --tensor-parallel-size 2
