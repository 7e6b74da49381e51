# shellcheck shell=bash
# What every job does around its one command: folders on the node's own disk, signals, a requeue, cleaning up.
# The job scripts source it from the root of the clone, where Slurm starts them (`medssl launch` sees to it).
#
#   around COMMAND…   runs the command, and ends this shell with its exit code. Two of them mean "not finished":
#     75    a checkpoint was written, go on later
#     143   stopped by the signal that we passed on, before it could say so
# A script may set `resumes=no`, and define `keep`: it copies what has to survive off the node, however the command ended.

# shellcheck disable=SC2034  # the job scripts use it
read -ra medssl <<<"${MEDSSL:-medssl}"  # another command can stand in for it: MEDSSL="python -m medssl"
most_restarts=30
resumes=yes  # no: what ran out of time would run out of it again

job=$SLURM_JOB_ID
[ -z "${SLURM_ARRAY_TASK_ID:-}" ] || job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
scratch=${MEDSSL_SCRATCH:-/tmp/${USER:=$(id -un)}/medssl}/$job
pid="" asked="" code=143

prepare() {
  trap clean EXIT
  rm -rf -- "$scratch"  # from an attempt of this very job that was killed
  mkdir -p "$scratch"
  chmod 700 "$scratch"
  export MEDSSL_JOB_SCRATCH=$scratch  # Prism's scratch folder too: there is one of them, and it is deleted here
  local name folder
  for name in TMPDIR IPYTHONDIR JUPYTER_RUNTIME_DIR NUMBA_CACHE_DIR WANDB_{,CACHE_,CONFIG_,DATA_,ARTIFACT_}DIR; do
    folder=${name,,} folder=${folder%dir}  # TMPDIR is tmp, WANDB_CACHE_DIR wandb_cache: named as in train/disk.py
    export "$name=$scratch/${folder%_}"
    mkdir "${!name}"
  done
  local venv=${MEDSSL_VENV:-.venv}
  # shellcheck disable=SC1091  # made by pip or uv
  [ ! -f "$venv/bin/activate" ] || source "$venv/bin/activate"
}

clean() {
  trap '' USR2 TERM INT  # a second signal does not cut the copying short
  trap - EXIT
  keep || echo "$job: not everything could be copied" >&2
  rm -rf -- "$scratch" || { sleep 1; rm -rf -- "$scratch"; }  # a process that was just killed may still have written
}

keep() { :; }

pass_on() {  # Slurm's signals reach this shell; the command gets SIGTERM, at which it saves a checkpoint and ends
  asked=${asked:-$1}
  [ -z "$pid" ] || kill -TERM "$pid" 2>/dev/null || true
}

around() {
  trap 'pass_on USR2' USR2  # by --signal=B:USR2@180: three minutes of the job's time are left
  trap 'pass_on TERM' TERM  # preempted, or cancelled
  prepare
  if [ -z "$asked" ]; then
    echo "$job on $(hostname -s), start $((${SLURM_RESTART_COUNT:-0} + 1)), scratch $scratch: $*"
    "$@" &  # in the background, since a shell that waits for a foreground program runs no trap
    pid=$!
    [ -z "$asked" ] || pass_on "$asked"
    while kill -0 "$pid" 2>/dev/null; do wait "$pid" || true; done  # each signal ends a wait before its time
    code=0
    wait "$pid" || code=$?
  fi
  clean
  if goes_on; then
    echo "$job is not finished (exit code $code): back into the queue"
    scontrol requeue "$job" || echo "it could not be requeued; send it again, and it goes on from its checkpoint" >&2
  fi
  exit "$code"
}

goes_on() {
  [ "$code" = 75 ] || { [ "$code" = 143 ] && [ -n "$asked" ]; } || return 1
  [ "$resumes" = yes ] || [ "$asked" = TERM ] || return 1
  # As long as it runs it is ours to requeue. No more when Slurm ends it: after scancel, or where it requeues by itself.
  local state
  state=$(squeue -h -j "$job" -t all -o %T) || state=RUNNING
  [ "$state" = RUNNING ] || return 1
  [ "${SLURM_RESTART_COUNT:-0}" -lt "$most_restarts" ] || { echo "started $most_restarts times: no more" >&2; return 1; }
}
