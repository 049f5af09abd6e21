#!/usr/bin/env bash
# Train on a slurm cluster:
#   tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [options of tools/train.py]
# Honours GPUS (8), GPUS_PER_NODE (8), CPUS_PER_TASK (5), SRUN_ARGS and PYTHON.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # called by sh
set -euo pipefail
if [ $# -lt 4 ]; then
    echo "usage: $0 PARTITION JOB_NAME CONFIG WORK_DIR [options of tools/train.py]" >&2
    exit 2
fi
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
partition=$1 job_name=$2 config=$3 work_dir=$4
shift 4
source "$here/_dist_env.sh"
launch_slurm "$partition" "$job_name" "$here/train.py" "$config" --work-dir="$work_dir" --launcher=slurm "$@"
