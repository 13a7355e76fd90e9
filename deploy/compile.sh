#!/bin/sh
# Build the wheel with the request path compiled to C (pyproject.toml says which modules); needs a C compiler and a minute or two.
# Usage, in the repository's root: deploy/compile.sh FOLDER TOOLS      (TOOLS: where the compiler's environment is kept)
set -eu
folder=$1 tools=$2
command -v "${CC:-cc}" > /dev/null || { echo "deploy/compile.sh: no C compiler (${CC:-cc}); install one, such as Debian's gcc" >&2; exit 2; }
source=$(mktemp -d)
trap 'rm -rf "$source"' EXIT
UV_PROJECT_ENVIRONMENT=$tools uv sync --quiet --frozen --no-default-groups --group build --no-install-project --python "${PYTHON:-python3}"
# A copy: the compiler leaves its libraries beside the sources, where they would be imported in their place.
cp -R pyproject.toml README.md LICENSE contracts proxy stream billing_api dashboards embedded sim cli "$source"
HATCH_BUILD_HOOK_ENABLE_MYPYC=1 uv build --quiet --wheel --no-build-isolation --python "$tools/bin/python" --out-dir "$folder" "$source"
