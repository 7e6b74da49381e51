#!/usr/bin/env bash
# The tests on other releases than today's:   tests/versions/run.sh oldest|colab|newest [words for pytest]
#   oldest   the floors of requirements.txt and pyproject.toml, each direct requirement at its lowest
#   colab    torch and numpy as Colab ships them, all else as its set-up cell would fetch it
#   newest   whatever the registry offers today, without the lock
# Each gets an environment of its own, runs/versions/NAME: 6 GB, made anew when the requirements change, `newest` each
# time. It needs uv (pip install uv). `make versions` runs all three.
set -euo pipefail
cd "$(dirname "$0")/../.."
name=${1:?"which one: oldest, colab or newest"}
shift
held=tests/versions/$name.txt
[ -f "$held" ] || { echo "There is no $held; there are: $(cd tests/versions && ls ./*.txt)" >&2; exit 2; }
place=runs/versions/$name
if [ ! -f "$place/.made" ] || [ "$held" -nt "$place/.made" ] || [ requirements.txt -nt "$place/.made" ] ||
    [ starter/pyproject.toml -nt "$place/.made" ] || [ "$name" = newest ]; then
  command -v uv >/dev/null || { echo "This needs uv, which is not installed here: pip install uv" >&2; exit 2; }
  rm -rf -- "$place"
  uv venv --quiet --seed --python 3.11 "$place"
  uv pip install --quiet --python "$place/bin/python" -r requirements.txt --constraint "$held"
  touch "$place/.made"
fi
"$place/bin/python" -m pip list 2>/dev/null | grep -E "^(torch|torchvision|numpy|scipy|scikit-learn|papermill|typer|matplotlib) "
exec "$place/bin/python" -m pytest -rfEs --durations=10 -n "${JOBS:-2}" --dist loadfile "${@:-tests}"
