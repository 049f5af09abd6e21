#!/usr/bin/env bash
# From a bare machine to a bridged language model, in one command. Makes .venv, then
# bridges SmolLM2 and its scratch twin on MNIST images with random labels and probes
# both before and after: bash tools/quickstart.sh --help
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # called by sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

case " $* " in # help should not wait for an installation
    *" --help "* | *" -h "*) exec "${LBBT_PYTHON:-python3}" tools/quickstart.py --help ;;
esac
bash tools/environment.sh quickstart
exec .venv/bin/python tools/quickstart.py "$@"
