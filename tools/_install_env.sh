# shellcheck shell=bash
# Sourced by environment.sh and build_mmcv.sh: pip with progress, steps, and errors
# that say what to do. Who sources it sets `log`, and `steps` or `title`, before that.
# shellcheck disable=SC2154

columns=80
if [[ -t 1 ]]; then
    tty=1
    read -r _ columns < <(stty size </dev/tty 2>/dev/null || echo 0 80) || true
else
    tty=
fi

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

# 3.11.7, or nothing if it does not run or is not CPython.
python_version() {
    "$1" -c 'import platform as p; p.python_implementation() == "CPython" and print(p.python_version())' \
        2>/dev/null </dev/null || true
}

step_begin=$SECONDS
step_number=0

step() { # TITLE: says what comes next; `steps` is how many there are
    step_number=$((step_number + 1))
    step_begin=$SECONDS
    title="[$step_number/$steps] $1"
    printf '%s\n' "$title"
}

done_in() { printf '      done in %d s\n' $((SECONDS - step_begin)); }

# Turns pip's wall of text into one line that changes (terminal), or into a few
# lines: big downloads, and a sign of life every half minute (a log).
follow() {
    local line status='' compiled='' shown=$SECONDS elapsed
    local -a tick=()
    ((BASH_VERSINFO[0] >= 4)) && tick=(-t 2) # older ones cannot tell it from the end
    while true; do
        if IFS= read -r ${tick[@]+"${tick[@]}"} line; then
            line=${line#"${line%%[![:space:]]*}"}
            case $line in
                *.metadata*) continue ;;
                'Collecting '*) status="looking up ${line#Collecting }" ;;
                'Downloading '* | 'Using cached '* | 'Processing '*) status=$line ;;
                'Building wheel for '*': started') status=${line%% (*} ;;
                '['[0-9]*/[0-9]*'] '*) # ninja, after each file
                    compiled=" ${line%%]*}]"
                    status="compiled$compiled"
                    ;;
                'Installing collected packages: '*)
                    line=${line//[^,]/}
                    status="unpacking $((${#line} + 1)) packages"
                    ;;
                *) continue ;;
            esac
            status=${status%% (from *}
            [[ -n $tty ]] || case $status in
                # 20 MB and more
                Downloading*[2-9][0-9].?' MB'* | Downloading*[0-9][0-9][0-9].?' MB'* | unpacking*)
                    printf '      %s\n' "$status"
                    ;;
            esac
        elif (($? <= 128)); then
            break
        fi
        elapsed=$((SECONDS - step_begin))
        if [[ -n $tty ]]; then
            printf '\r\033[K      %.*s  %d s' $((columns > 40 ? columns - 16 : 24)) "$status" "$elapsed"
        elif ((SECONDS - shown >= 30)); then
            printf '      ...%s %d s\n' "$compiled" "$elapsed"
            shown=$SECONDS
        fi
    done
    [[ -z $tty ]] || printf '\r\033[K'
}

run_pip() { # PYTHON ARGUMENTS...: pip, followed; stops with its last lines if it fails
    local code=0 python=$1
    shift
    printf '\n== pip %s\n' "$*" >>"$log"
    PYTHONUNBUFFERED=1 PIP_PROGRESS_BAR=off "$python" -m pip \
        --disable-pip-version-check --no-input "$@" </dev/null 2>&1 | tee -a "$log" | follow ||
        code=${PIPESTATUS[0]}
    if [[ $code != 0 ]]; then
        echo "pip's last lines:" >&2
        tail -n 15 "$log" | sed 's/^/    /' >&2
        fail "$title: failed (pip's exit status $code; everything that it said is in $log)." \
            "Call the same command again to go on from here: what is installed stays."
    fi
}
