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
# The 24 runs of the core ablation, eight at once; arguments go to `medssl prism ablate`. A run whose result says "ok" is
# not run again, any other is. Results: $MEDSSL_OUT, else runs/prism.
#
#   medssl launch prism-ablate       or by hand, in the clone: mkdir -p logs && sbatch course/betty/job_ablate_core24.sh
set -euo pipefail
source course/betty/around.sh

number=$(printf %02d "$SLURM_ARRAY_TASK_ID")
out=$out/run_$number
if grep -qs '"status": *"ok"' "$out/result.json"; then
  echo "run $number has ended well before: nothing to do"
  exit 0
fi

around "${medssl[@]}" prism ablate --run "$SLURM_ARRAY_TASK_ID" --out "$out" "$@"
