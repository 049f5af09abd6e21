#!/usr/bin/env bash
# Makes the test environment (nothing to do the second time) and runs pytest:
#   bash tools/run_tests.sh                         everything
#   bash tools/run_tests.sh tests/language -k gpt2  arguments go to pytest
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash tools/environment.sh tests
exec .venv/bin/python -m pytest "$@"
