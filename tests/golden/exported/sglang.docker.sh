#!/usr/bin/env bash
# optuna-tuner: study my study, trial 2 (the best), measured on 2026-01-02
# The study is waiting, not done: its best may change.
# Engine: sglang 0.5.23; model: tiny
# Machine: node-a, 2 GPUs; deployed with docker
# This run, at concurrency=8: output_throughput_tok_s 800 tok/s; ttft_ms.p99 180 ms (ttft_ms.p99 <= 200 is kept)
# Gain: Best (trial 2) over the engine's default (trial 0): output_throughput_tok_s 800 tok/s against 500 tok/s
#   (60.0 % better). One run each: a single measurement, not confirmed by repeats.
# It takes 2 of the GPUs; --gpus '"device=0,1"' would say which.
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
  --gpus=2 \
  --mount=type=bind,source=/models/tiny,target=/models/tiny,readonly \
  '--mount=type=bind,"source=/srv/adapters, new",target=/adapters,readonly' \
  --mount=type=volume,source=optuna-tuner-cache,target=/root/.cache \
  --env=PYTHONUNBUFFERED=1 \
  --user=1000:1000 \
  --network=models \
  --ipc=private \
  --shm-size=512m \
  --memory=64g \
  --memory-swap=64g \
  --pids-limit=32768 \
  --cap-drop=ALL \
  --cap-add=SYS_NICE \
  --security-opt=no-new-privileges \
  --ulimit=memlock=-1:-1 \
  --log-driver=json-file \
  --log-opt=max-size=100m \
  --log-opt=max-file=2 \
  --no-healthcheck \
  --entrypoint=python3 \
  lmsysorg/sglang:v0.5.23 \
  -m sglang.launch_server \
  --model-path /models/tiny \
  --host 0.0.0.0 \
  --port 8000 \
  --served-model-name tiny \
  --disable-radix-cache \
  --mem-fraction-static 0.85 \
  --tp-size 2
