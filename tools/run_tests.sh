#!/usr/bin/env bash
# Makes the test environment (nothing to do the second time), checks style and types,
# and runs pytest, one process a core:
#   bash tools/run_tests.sh                         everything
#   bash tools/run_tests.sh tests/language -k gpt2  arguments go to pytest, in one process
#   bash tools/run_tests.sh -m 'not slow'           without processes and whole runs
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # called by sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash tools/environment.sh tests
python=.venv/bin/python
[[ $# -eq 0 ]] || exec $python -m pytest "$@"

$python -m ruff check .
$python -m ruff format --check .
$python -m codespell_lib
# Types beside the tests: mypy is one process and knows nothing of the other cores. What
# it finds is shown at the end.
found=$(mktemp)
$python -m mypy >"$found" 2>&1 &
mypy=$!
trap 'kill $mypy 2>/dev/null || true; rm -f "$found"' EXIT
cores=$(nproc 2>/dev/null || sysctl -n hw.ncpu) status=0 # the latter: a Mac's
$python -m pytest -n $((cores < 8 ? cores : 8)) --dist worksteal || status=$?
wait $mypy || status=$((status > 0 ? status : $?))
echo "mypy: $(tail -n 30 "$found")"
exit "$status"
