# Sourced by dist_train.sh and dist_test.sh: what PROCESSES on this machine need.

# launch PROCESSES SCRIPT ARGUMENTS...: run SCRIPT in PROCESSES processes.
launch() {
    local processes=$1
    shift
    local python=${PYTHON:-python}
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
        local threads=$(($(nproc) / processes))
        export OMP_NUM_THREADS=$((threads > 0 ? threads : 1))
    fi
    PYTHONPATH="$here/..${PYTHONPATH:+:$PYTHONPATH}" \
        "$python" -m torch.distributed.run \
        --nnodes="$nodes" \
        --node_rank="${NODE_RANK:-0}" \
        --master_addr="${MASTER_ADDR:-127.0.0.1}" \
        --master_port="$PORT" \
        --nproc_per_node="$processes" \
        "$@"
}

# Whether the processes will see a GPU; importing torch to ask would take seconds.
has_gpu() {
    case " $* " in *" --device cpu "* | *" --device=cpu "*) return 1 ;; esac
    [ "${CUDA_VISIBLE_DEVICES:-all}" != "-1" ] &&
        command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q GPU
}
