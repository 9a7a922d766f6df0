#!/usr/bin/env bash
# Make an environment with what bids_sr needs to run, at the versions of constraints.txt.
#
#   requirements/install_locked.sh FOLDER      pyproject.toml is beside requirements/
#   TORCH_INDEX=URL ...                        see install_torch.sh
#
# Ends with an error if anything was installed that constraints.txt does not hold.
set -euo pipefail

folder=$1
here=$(cd "$(dirname "$0")" && pwd)
python3 -m venv "$folder"
python=$folder/bin/python
"$here/install_torch.sh" "$python"
"$python" -c 'import sys, tomllib
with open(sys.argv[1], "rb") as file:
    print(*tomllib.load(file)["project"]["dependencies"], sep="\n")' \
    "$here/../pyproject.toml" >"$folder/dependencies.txt"
"$python" -m pip install --constraint "$here/constraints.txt" --requirement "$folder/dependencies.txt"
rm "$folder/dependencies.txt"
"$python" "$here/lock.py"
