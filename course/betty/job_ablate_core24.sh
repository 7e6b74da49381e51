#!/bin/bash
#SBATCH --job-name=prism-ablate
#SBATCH --partition=dgx-b200
#SBATCH --gpus=1
#SBATCH --cpus-per-task=16
#SBATCH --mem=256G
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR2@180
#SBATCH --output=logs/%x_%A_%a.out
#SBATCH --array=0-23%8
# The 24 runs of the core ablation, eight at once; arguments are those of `medssl prism ablate`. A run that has ended
# well with this config is over at once; a failed or cut one is taken up again. `medssl launch prism-heads` sends the two
# runs of that study with it: --array=0,1 and --study heads.
#
#   medssl launch prism-ablate --config prism.toml
#   or by hand, in the clone: mkdir -p logs && sbatch course/betty/job_ablate_core24.sh prism.toml
set -euo pipefail
source course/betty/around.sh

around "${medssl[@]}" prism ablate --run "$SLURM_ARRAY_TASK_ID" "$@"
