#!/usr/bin/env bash
# Train on several GPUs, or in several processes on a machine without GPUs:
#   tools/dist_train.sh CONFIG PROCESSES [options of tools/train.py]
# Honours NNODES, NODE_RANK, MASTER_ADDR, PORT (default: a free one on one node),
# OMP_NUM_THREADS and PYTHON.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # called by sh
set -euo pipefail
if [ $# -lt 2 ] || ! [[ $2 =~ ^[1-9][0-9]*$ ]]; then
    echo "usage: $0 CONFIG PROCESSES [options of tools/train.py]" >&2
    exit 2
fi
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
config=$1 processes=$2
shift 2
source "$here/_dist_env.sh"
launch "$processes" "$here/train.py" "$config" --launcher pytorch "$@"
