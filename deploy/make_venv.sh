#!/usr/bin/env bash
# Create a virtual environment with pip in it, also where Debian's python3 comes without ensurepip (package python3-venv).
# Usage: deploy/make_venv.sh PYTHON FOLDER
set -euo pipefail
python=$1
folder=$2
if [ -z "$python" ]; then
  echo "error: no Python 3.11 or newer was found. Install one, or name it: make setup PYTHON=/path/to/python3.12" >&2
  exit 1
fi
if "$python" -c 'import ensurepip' 2>/dev/null; then
  "$python" -m venv "$folder"
elif "$python" -m pip --version >/dev/null 2>&1; then
  # pip can install itself into an environment that has none.
  "$python" -m venv --without-pip "$folder"
  "$python" -m pip --quiet --python "$folder/bin/python" install pip
else
  echo "error: $python has neither ensurepip nor pip. On Debian and Ubuntu: apt-get install python3-venv" >&2
  exit 1
fi
