#!/usr/bin/env bash
# Makes the test environment (nothing to do the second time), checks style and types,
# and runs pytest, one process a core:
#   bash tools/run_tests.sh                         everything
#   bash tools/run_tests.sh tests/language -k gpt2  arguments go to pytest, in one process
#   bash tools/run_tests.sh -m 'not slow'           without processes and whole runs
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash tools/environment.sh tests
python=.venv/bin/python
if [[ $# -eq 0 ]]; then
    $python -m ruff check .
    $python -m ruff format --check .
    $python -m codespell_lib
    $python -m mypy
    cores=$(nproc)
    set -- -n $((cores < 8 ? cores : 8)) --dist worksteal
fi
exec $python -m pytest "$@"
