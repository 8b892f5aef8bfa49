#!/bin/sh
# The servers that benchmarks/serve.py compares with, in an environment of their own: build/peers-venv. Called by the benchmark when absent.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
"$python" -m venv build/peers-venv
# shellcheck disable=SC2086 - several flags
build/peers-venv/bin/pip install --quiet --disable-pip-version-check ${PIP_FLAGS:-} \
    fastapi 'uvicorn[standard]' orjson litserve bentoml 'ray[serve]'
# what computes must be the same everywhere
same=$(grep -E '^(onnxruntime|numpy|tokenizers)==' constraints.txt | tr '\n' ' ')
# shellcheck disable=SC2086 - several requirements
build/peers-venv/bin/pip install --quiet --disable-pip-version-check ${PIP_FLAGS:-} $same
touch build/peers-venv/.installed
command -v wrk >/dev/null || {
    [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null && apt-get install -y -qq --no-install-recommends wrk >/dev/null ||
        echo "wrk is not installed; it is the client of this benchmark"
}
