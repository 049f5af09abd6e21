#!/usr/bin/env bash
# Evaluate on several GPUs, or in several processes on a machine without GPUs:
#   tools/dist_test.sh CONFIG CHECKPOINT PROCESSES [options of tools/test.py]
# Honours NNODES, NODE_RANK, MASTER_ADDR, PORT (default: a free one on one node),
# OMP_NUM_THREADS and PYTHON.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # called by sh
set -euo pipefail
if [ $# -lt 3 ] || ! [[ $3 =~ ^[1-9][0-9]*$ ]]; then
    echo "usage: $0 CONFIG CHECKPOINT PROCESSES [options of tools/test.py]" >&2
    exit 2
fi
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
config=$1 checkpoint=$2 processes=$3
shift 3
source "$here/_dist_env.sh"
launch "$processes" "$here/test.py" "$config" "$checkpoint" --launcher pytorch "$@"
