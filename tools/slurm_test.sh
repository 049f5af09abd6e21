#!/usr/bin/env bash
# Evaluate on a slurm cluster:
#   tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [options of tools/test.py]
# Honours GPUS (8), GPUS_PER_NODE (8), CPUS_PER_TASK (5), SRUN_ARGS and PYTHON.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # called by sh
set -euo pipefail
if [ $# -lt 4 ]; then
    echo "usage: $0 PARTITION JOB_NAME CONFIG CHECKPOINT [options of tools/test.py]" >&2
    exit 2
fi
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
partition=$1 job_name=$2 config=$3 checkpoint=$4
shift 4
source "$here/_dist_env.sh"
launch_slurm "$partition" "$job_name" "$here/test.py" "$config" "$checkpoint" --launcher=slurm "$@"
