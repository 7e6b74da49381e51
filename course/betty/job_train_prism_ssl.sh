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
# One Prism pretraining; arguments go to `medssl prism train`. Preempted or out of time, it writes a checkpoint, queues
# again and goes on. Checkpoints and results: $MEDSSL_OUT, else runs/prism.
#
#   medssl launch prism-train        or by hand, in the clone: mkdir -p logs && sbatch course/betty/job_train_prism_ssl.sh
set -euo pipefail
source course/betty/around.sh

around "${medssl[@]}" prism train --out "$out" "$@"
