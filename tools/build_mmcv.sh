#!/usr/bin/env bash
# Installs mmcv with its compiled ops, which mmdet needs, beside the torch of a Python:
#   bash tools/build_mmcv.sh                       into the active python3
#   bash tools/build_mmcv.sh PYTHON                into another one
#   bash tools/build_mmcv.sh PYTHON mmcv==2.1.0    upstream's mmcv, not the fork's
# A wheel that fits is taken from the wheel folder or from pip's own PIP_FIND_LINKS;
# otherwise it is compiled (about 10 minutes on 2 cores) and kept in the wheel folder.
# Read: LBBT_WHEELS (the wheel folder; default: ~/.cache/lbbt_mm/wheels), MAX_JOBS
# (compilers at a time), CXX, FORCE_CUDA=1 (ops for a GPU that is not in this machine).
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # called by sh
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$here/_install_env.sh"

case ${1:-} in -h | --help)
    sed -n '2,9s/^# \{0,1\}//p' "$here/build_mmcv.sh"
    exit 0
    ;;
esac
python=${1:-python3}
wanted=${2:-$(sed -n 's/^\(onedl-mmcv==[^ ]*\).*/\1/p' "$here/../requirements/constraints.txt")}
[[ $wanted == *==* ]] || fail "Expected DISTRIBUTION==VERSION, such as mmcv==2.1.0; got '$wanted'."
distribution=${wanted%==*} version=${wanted#*==}
title="mmcv's ops"

# ------------------------------------------------------------ what is asked for
facts=()
while IFS= read -r line; do facts+=("$line"); done \
    < <("$python" "$here/_mmcv_ops.py" inspect "$distribution" 2>/dev/null </dev/null || true)
[[ -n ${facts[0]:-} ]] || fail \
    "'$python' does not run. Name the Python whose torch mmcv shall fit: bash tools/build_mmcv.sh .venv/bin/python"
[[ ${facts[0]} == ok ]] || fail \
    "mmcv's ops are compiled against torch, but in '$python' ${facts[0]}." \
    "Install torch first: $python -m pip install 'torch<2.14' torchvision"
torch=${facts[1]} tag=${facts[2]} device=${facts[3]} scripts=${facts[4]}
headers=${facts[5]} jobs=${facts[6]} others=${facts[7]:-}

if [[ $distribution == onedl-mmcv ]]; then
    IFS=. read -r major minor _ <<<"$torch"
    release=$((major * 1000 + minor))
    ((release < 2014)) || fail \
        "onedl-mmcv $version cannot be compiled with torch $torch: from 2.14 on, torch's headers need C++20, and it compiles with C++17." \
        "Install an older torch first: $python -m pip install 'torch<2.14' torchvision"
    ((release >= 2004)) || fail \
        "onedl-mmcv $version needs torch 2.4 or newer; found torch $torch." \
        "Install a newer torch, or stay on the original packages: docs/compatibility.md"
fi
[[ -z $others ]] || fail \
    "$others is installed, which has the same import name as $distribution: one would be written over the other." \
    "Uninstall it first ($python -m pip uninstall ${others%% *}), or use an environment of its own."

if [[ $device != cpu && -z ${CUDA_HOME:-${CUDA_PATH:-}} && ! -d /usr/local/cuda ]] &&
    ! command -v nvcc >/dev/null; then
    echo "torch sees a GPU but there is no nvcc: mmcv's ops will work on the CPU only."
    device=cpu
fi
if [[ $device == cpu ]]; then # mmcv must not see the GPU either, or it asks for nvcc
    unset FORCE_CUDA
    export CUDA_VISIBLE_DEVICES=
fi

fits() { # [WHEEL]: prints why it does not fit; no WHEEL: what is installed
    "$python" "$here/_mmcv_ops.py" check "$distribution" "$version" "$device" "$@" 2>&1 </dev/null
}

install() { # WHEEL WHERE-FROM
    run_pip "$python" install --no-deps --no-index --force-reinstall "$1"
    echo "      $distribution $version with ops for torch $torch, $2"
}

# --------------------------------------------------------- is there one already?
if fits >/dev/null; then
    echo "      $distribution $version with ops for torch $torch is installed; nothing to do"
    exit 0
fi
folder=${LBBT_WHEELS:-${XDG_CACHE_HOME:-$HOME/.cache}/lbbt_mm/wheels}/torch$torch-$tag-$device
if ! mkdir -p "$folder" || ! work=$(mktemp -d "$folder/building.XXXXXX"); then
    fail "Cannot write to the wheel folder $folder." \
        "Name another one: LBBT_WHEELS=FOLDER bash tools/build_mmcv.sh $python"
fi
trap 'rm -rf "$work"' EXIT
log=$folder/build.log
: >"$log"

kept=$(compgen -G "$folder/${distribution//-/_}-$version-*.whl" | head -n 1 || true)
if [[ -n $kept ]]; then
    if reason=$(fits "$kept"); then
        install "$kept" "compiled before ($folder)"
        exit 0
    fi
    echo "      $kept: ${reason##*$'\n'}"
fi
# pip itself looks into PIP_FIND_LINKS: it knows folders, pages and tags.
mkdir "$work/found"
"$python" -m pip --disable-pip-version-check download -q --no-index --no-deps \
    --no-cache-dir --only-binary :all: -d "$work/found" "$wanted" </dev/null >>"$log" 2>&1 || true
found=$(compgen -G "$work/found/*.whl" || true)
if [[ -n $found ]]; then
    if reason=$(fits "$found"); then
        install "$found" "from PIP_FIND_LINKS"
        exit 0
    fi
    echo "      ${found##*/} in PIP_FIND_LINKS: ${reason##*$'\n'}"
fi

# ------------------------------------------------------------------------ build
compiler=${CXX:-c++}
command -v "${compiler%% *}" >/dev/null || fail \
    "Compiling mmcv's ops needs a C++ compiler; '$compiler' is not there." \
    "On Debian and Ubuntu, 'apt-get install g++' adds one; CXX names another."
[[ $headers == headers ]] || fail \
    "Compiling mmcv's ops needs Python's headers; there is no Python.h in $headers." \
    "On Debian and Ubuntu, 'apt-get install python3-dev' adds them."
export MAX_JOBS=${MAX_JOBS:-$jobs} MMCV_WITH_OPS=1
echo "      compiling $distribution $version for torch $torch ($tag, $device), $MAX_JOBS files at a time:" \
    "about 10 minutes on 2 cores, once per machine"
# Without isolation, because mmcv must see the torch it is to fit; without the cache,
# because pip would keep the wheel without regard to that torch. Without a build
# constraint, which newer releases of pip refuse then. ninja's program is looked for on
# PATH; without it, one file is compiled after the other.
run_pip "$python" install setuptools wheel packaging ninja
PIP_BUILD_CONSTRAINT='' PATH="$scripts:$PATH" run_pip "$python" wheel -v --no-build-isolation --no-cache-dir \
    --no-deps --no-binary "$distribution" --wheel-dir "$work/built" "$wanted"
built=$(compgen -G "$work/built/*.whl" || true)
reason=$(fits "$built") || fail \
    "The wheel was built, but ${reason##*$'\n'}; it is not kept. Everything that was said is in $log."
kept=$folder/${built##*/}
mv "$built" "$kept" # within one file system: never half a wheel
install "$kept" "compiled in $((SECONDS / 60)) min $((SECONDS % 60)) s, kept in $folder"
