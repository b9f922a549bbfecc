#!/usr/bin/env bash
# optuna-tuner: study my study, trial 2 (the best), measured on 2026-01-02
# Engine: llama_cpp (no version named); model: tiny
# Machine: node-a, 2 CPU cores; deployed with slurm
# This run, at concurrency=8: output_throughput_tok_s 800 tok/s; ttft_ms.p99 180 ms (ttft_ms.p99 <= 200 is kept)
# Gain: Best (trial 2) over the engine's default (trial 0): output_throughput_tok_s 800 tok/s against 500 tok/s
#   (60.0 % better). One run each: a single measurement, not confirmed by repeats.
# Start it: bash THIS_FILE. Ask it: curl http://127.0.0.1:8000/v1/models
# Read its log: docker logs --follow my-study-trial-2. End it: docker rm --force my-study-trial-2
# Only this machine can reach it. For others export it with --host 0.0.0.0: it asks nobody for a key.
set -eu
exec docker run \
  --name=my-study-trial-2 \
  --detach \
  --restart=unless-stopped \
  --init \
  --publish=127.0.0.1:8000:8000 \
  --mount=type=bind,source=/models/tiny,target=/models/tiny,readonly \
  --mount=type=volume,source=optuna-tuner-cache,target=/root/.cache \
  --env=PYTHONUNBUFFERED=1 \
  --env=NVIDIA_VISIBLE_DEVICES=void \
  --ipc=private \
  --shm-size=16g \
  --pids-limit=32768 \
  --cap-drop=ALL \
  --security-opt=no-new-privileges \
  --log-driver=json-file \
  --log-opt=max-size=100m \
  --log-opt=max-file=2 \
  --no-healthcheck \
  --entrypoint=/app/llama-server \
  ghcr.io/ggml-org/llama.cpp:server \
  --model /models/tiny/model.gguf \
  --alias tiny \
  --host 0.0.0.0 \
  --port 8000 \
  --metrics \
  --props \
  --slots \
  --no-cont-batching \
  --ctx-size 8192 \
  --flash-attn on \
  --parallel 8
