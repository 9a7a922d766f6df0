#!/bin/sh
# Take out of an environment what running bids_sr never reads. For images only: afterwards
# nothing can be installed or compiled there.
#
#   container/slim.sh /opt/venv
#
# What stays, and how large it is: docs/how-to/run-in-containers.md. That nothing was taken which is
# needed is what the image's target `test` is for.
set -eu
venv=$1
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
before=$(du -sm "$venv" | cut -f1)

# Transformer networks of nnU-Net need these four; torchvision cannot even be imported
# with torch's build for CPUs, so there they are dead weight. A build for GPUs keeps them.
"$venv/bin/python" -c 'import torchvision' 2>/dev/null ||
    "$venv/bin/python" -m pip uninstall --quiet --yes timm torchvision huggingface_hub hf-xet

# torch: its own C++ tests, what is needed to compile against it, and the compilers' tools.
# torch_shm_manager stays: processes share tensors through it.
rm -rf "$site/torch/test" "$site/torch/include" "$site/torch/share"
find "$site/torch/bin" -type f ! -name torch_shm_manager -delete
find "$site/torch" -name '*.a' -delete

# The tests of every package, with their data.
find "$site" -depth -type d \( -name tests -o -name test \) ! -path "$site/bids_sr/*" \
    -exec rm -rf {} +

# Last, what installs packages.
"$venv/bin/python" -m pip uninstall --quiet --yes setuptools pip
echo "$venv: $before MB, now $(du -sm "$venv" | cut -f1) MB"
