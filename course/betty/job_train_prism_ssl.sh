#!/bin/bash
#SBATCH --job-name=prism-train
#SBATCH --partition=dgx-b200
#SBATCH --gpus=1
#SBATCH --cpus-per-task=16
#SBATCH --mem=256G
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR2@180
#SBATCH --output=logs/%x_%j.out
# One Prism pretraining; arguments are those of `medssl prism train`. Preempted or out of time, it writes a checkpoint,
# queues again and goes on. Checkpoints and results: checkpoint.folder of its config.
#
#   medssl launch prism-train --config prism.toml
#   or by hand, in the clone: mkdir -p logs && sbatch course/betty/job_train_prism_ssl.sh prism.toml
set -euo pipefail
source course/betty/around.sh

around "${medssl[@]}" prism train "$@"
