# Sourced by the dist_*.sh and slurm_*.sh scripts: how they start processes.

# launch PROCESSES SCRIPT ARGUMENTS...: run SCRIPT in PROCESSES processes; the last command.
launch() {
    local processes=$1
    shift
    local python=${PYTHON:-python}
    has_torch
    local nodes=${NNODES:-1}
    if [ -z "${PORT:-}" ]; then
        PORT=29500
        # Several nodes must agree on a port; one node may take any.
        if [ "$nodes" -eq 1 ]; then
            PORT=$("$python" -c 'import socket; s = socket.socket()
s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
        fi
    fi
    # Without a GPU, processes that each take all cores slow one another down by
    # far more than their number. (With GPUs torchrun's default, 1, is right.)
    if [ -z "${OMP_NUM_THREADS:-}" ] && ! has_gpu "$@"; then
        local threads=$(($(nproc 2>/dev/null || sysctl -n hw.ncpu) / processes)) # or a Mac's
        export OMP_NUM_THREADS=$((threads > 0 ? threads : 1))
    fi
    # In place of this shell, so that a signal reaches it; its processes follow it, and
    # know it by this shell's number.
    LBBT_MM_PARENT=$$ PYTHONPATH="$here/..${PYTHONPATH:+:$PYTHONPATH}" \
        exec "$python" -m torch.distributed.run \
        --nnodes="$nodes" \
        --node_rank="${NODE_RANK:-0}" \
        --master_addr="${MASTER_ADDR:-127.0.0.1}" \
        --master_port="$PORT" \
        --nproc_per_node="$processes" \
        "$@"
}

# has_torch: end with a sentence where the interpreter cannot train.
has_torch() {
    local python=${PYTHON:-python}
    if ! command -v "$python" >/dev/null; then
        echo "$0: error: the interpreter $python does not exist: activate the" \
            "environment (source .venv/bin/activate), or set PYTHON." >&2
        exit 2
    fi
    if ! "$python" -c 'import importlib.util as u, sys
sys.exit(any(u.find_spec(n) is None for n in ("torch", "mmengine")))' >/dev/null; then
        echo "$0: error: $(command -v "$python") has no torch or no mmengine: activate" \
            "the environment (source .venv/bin/activate), or set PYTHON." >&2
        exit 2
    fi
}

# Whether the processes will see a GPU; importing torch to ask would take seconds.
has_gpu() {
    case " $* " in *" --device cpu "* | *" --device=cpu "*) return 1 ;; esac
    [ "${CUDA_VISIBLE_DEVICES:-all}" != "-1" ] &&
        command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q GPU
}

# launch_slurm PARTITION JOB_NAME SCRIPT ARGUMENTS...: run SCRIPT in a slurm job.
launch_slurm() {
    local partition=$1 job_name=$2
    shift 2
    if ! command -v srun >/dev/null; then
        echo "$0: error: srun is not here: call this on a login node of a Slurm" \
            "cluster, or use tools/dist_${0##*slurm_} on one machine." >&2
        exit 2
    fi
    local gpus=${GPUS:-8}
    local gpus_per_node=${GPUS_PER_NODE:-8}
    ((gpus_per_node <= gpus)) || gpus_per_node=$gpus

    # SRUN_ARGS holds several words on purpose.
    # shellcheck disable=SC2086
    PYTHONPATH="$here/..${PYTHONPATH:+:$PYTHONPATH}" \
        exec srun -p "$partition" \
        --job-name="$job_name" \
        --gres=gpu:"$gpus_per_node" \
        --ntasks="$gpus" \
        --ntasks-per-node="$gpus_per_node" \
        --cpus-per-task="${CPUS_PER_TASK:-5}" \
        --kill-on-bad-exit=1 \
        ${SRUN_ARGS:-} \
        "${PYTHON:-python}" -u "$@"
}
