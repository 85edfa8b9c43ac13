#!/usr/bin/env bash
# Measures osteon on a GPU and prints one table, in at most 8 minutes, on a machine that has Python, torch and nothing
# else of it. What is missing is installed with pip into that Python (PYTHON=…, python3 when left out).
#
#   benchmarks/gpu.sh [--wheels FOLDER] [--device cuda:1] [--smallest]
#
# --wheels: take packages from this folder alone; nothing is asked of a registry.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
limit=480
from=()
passed=()
while [ $# -gt 0 ]; do
    case $1 in
        --wheels) from=(--no-index --find-links "$2"); shift 2 ;;
        --limit) limit=$2; shift 2 ;;
        *) passed+=("$1"); shift ;;
    esac
done
mapfile -t missing < <("$python" benchmarks/gpu.py --missing | grep .)
if [ ${#missing[@]} -gt 0 ]; then
    pinned=$(mktemp)
    "$python" -c 'import torch; print("torch==" + torch.__version__)' > "$pinned"  # it stays the one that is there
    timeout 150 "$python" -m pip install --quiet --constraint "$pinned" "${from[@]}" "${missing[@]}" >&2
    rm -f "$pinned"
fi
export PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}"
exec timeout --kill-after=5 "$((limit - SECONDS))" "$python" benchmarks/gpu.py --limit "$((limit - SECONDS))" "${passed[@]}"
