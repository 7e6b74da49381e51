#!/bin/bash
#SBATCH --job-name=notebook
#SBATCH --partition=dgx-b200
#SBATCH --gpus=1
#SBATCH --cpus-per-task=16
#SBATCH --mem=256G
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR2@180
#SBATCH --output=logs/%x_%j.out
# Notebooks on a GPU node: arguments are those of `medssl run`, which starts papermill. What is handed in goes to the
# shared disk ($MEDSSL_OUT, else the clone); the executed notebooks, which are saved again and again, are written on the
# node, and copied at the end, however it ends.
#
#   medssl launch week07 --name you
#   or by hand, in the clone: mkdir -p logs && sbatch course/betty/job_notebook.sh week07 --profile betty
set -euo pipefail
source course/betty/around.sh

out=${MEDSSL_OUT:-$PWD}
executed=$out/notebooks
[ "$out" != "$PWD" ] || executed=$PWD/runs/notebooks
resumes=no
keep() {
  [ -d "$scratch/notebooks" ] || return 0
  mkdir -p "$executed" && cp -r "$scratch/notebooks/." "$executed/" && echo "the executed notebooks: $executed"
}

around "${medssl[@]}" run --out "$out" --executed "$scratch/notebooks" "$@"
