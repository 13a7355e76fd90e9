#!/bin/sh
# Install the requirements of some extras alone, at exactly the versions and hashes of uv.lock, into a virtual environment.
# Usage, in the repository's root: deploy/install.sh VENV EXTRA…      (the Dockerfile runs it, and so does a test)
set -eu
venv=$1
shift
wanted=$(mktemp) locked=$(mktemp)
trap 'rm -f "$wanted" "$locked"' EXIT
python3 deploy/requirements.py "$@" > "$wanted"
uv export --quiet --frozen --no-default-groups --no-emit-project --format requirements.txt > "$locked"
uv venv --quiet --clear --python "${PYTHON:-python3}" "$venv"
uv pip install --quiet --python "$venv/bin/python" --requirements "$wanted" --constraints "$locked"
