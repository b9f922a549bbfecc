#!/usr/bin/env bash
# optuna-tuner: study my study, trial 2 (the best), measured on 2026-01-02
# Engine: llama_cpp (no version named); model: tiny
# Machine: node-a, 2 CPU cores; deployed with slurm
# This run, at concurrency=8: output_throughput_tok_s 800 tok/s; ttft_ms.p99 180 ms (ttft_ms.p99 <= 200 is kept)
# Gain: Best (trial 2) over the engine's default (trial 0): output_throughput_tok_s 800 tok/s against 500 tok/s
#   (60.0 % better). One run each: a single measurement, not confirmed by repeats.
# Start it: bash THIS_FILE. Ask it: curl http://127.0.0.1:8000/v1/models
# Only this machine can reach it. For others export it with --host 0.0.0.0: it asks nobody for a key.
set -eu
export PYTHONUNBUFFERED=1
exec /app/llama-server \
  --model /models/tiny/model.gguf \
  --alias tiny \
  --host 127.0.0.1 \
  --port 8000 \
  --metrics \
  --props \
  --slots \
  --no-cont-batching \
  --ctx-size 8192 \
  --flash-attn on \
  --parallel 8
