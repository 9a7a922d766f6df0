#!/usr/bin/env bash
# Install torch into an environment without the CUDA libraries that PyPI's Linux wheel brings.
#
#   requirements/install_torch.sh PYTHON          the version in constraints.txt
#   TORCH_INDEX=URL requirements/install_torch.sh PYTHON   that index decides, e.g.
#       https://download.pytorch.org/whl/cu130 for an NVIDIA GPU
#
# torch's own dependencies come with the package, at the versions of constraints.txt.
set -euo pipefail

python=$1
here=$(cd "$(dirname "$0")" && pwd)
wanted=$(grep -E '^torch==' "$here/constraints.txt")
cpu_index=https://download.pytorch.org/whl/cpu

install() { "$python" -m pip install --quiet --no-deps "$@"; }
installed() { "$python" -c 'from importlib.metadata import version as v; print(v("torch"))' 2>/dev/null; }
brings_cuda() {
    "$python" -c 'from importlib.metadata import requires
raise SystemExit(not any(r.startswith(("nvidia-", "cuda-")) for r in requires("torch") or []))'
}

if [ -n "${TORCH_INDEX:-}" ]; then
    install --index-url "$TORCH_INDEX" "$wanted"
    exit
fi
have=$(installed || true)
[ "${have%%+*}" = "${wanted#torch==}" ] && exit

echo "Installing the CPU build of $wanted"
install "$wanted+cpu" 2>/dev/null && exit                 # an index you configured has it
install --index-url "$cpu_index" "$wanted" && exit
install "$wanted"                                         # PyPI: without CUDA except on Linux
if brings_cuda; then
    "$python" -m pip uninstall --quiet --yes torch
    echo "No CPU build of $wanted was found: $cpu_index cannot be reached, and the" \
        "default index offers only the build with CUDA (gigabytes). Set TORCH_INDEX to an" \
        "index that has the CPU build, or to https://pypi.org/simple to take the CUDA one." >&2
    exit 1
fi
