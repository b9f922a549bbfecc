#!/bin/bash
#SBATCH --job-name=optuna-tuner
#SBATCH --nodes=1 --ntasks=1 --no-requeue
#SBATCH --time=08:00:00
#SBATCH --signal=B:TERM@180
# A whole worker inside an allocation: sbatch --gres=gpu:2 examples/slurm_worker.sh study.yaml
# The study's deployer is `local`: servers are processes of this node, on the GPUs that Slurm gave the job. Three minutes
# before its time is over Slurm sends SIGTERM: the server is taken down, and its trial goes back to the queue.
exec optuna-tuner run "$@"
