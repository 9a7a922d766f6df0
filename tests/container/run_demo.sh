#!/usr/bin/env bash
# Run the demo dataset in an image as a careful site would: no network, an unknown user, a
# read-only root, no capabilities, 64 MB of shared memory, 4 GB of memory, input read-only.
#
#   tests/container/run_demo.sh docker bids_sr:latest
#   CONTAINER_OPTIONS="--cgroups=disabled" tests/container/run_demo.sh podman localhost/bids_sr
set -euo pipefail

engine=$1
image=$2
folder=$(mktemp -d)
trap 'chmod -R u+w "$folder"; rm -rf "$folder"' EXIT
mkdir "$folder/out" "$folder/demo"
chmod 777 "$folder" "$folder/out" "$folder/demo"

careful() {
    # shellcheck disable=SC2086
    "$engine" run --rm --network none --user 12345:12345 --read-only --tmpfs /tmp:mode=1777 \
        --cap-drop ALL --security-opt no-new-privileges --shm-size 64m --memory 4g \
        ${CONTAINER_OPTIONS:-} "$@"
}

careful -v "$folder/demo:/demo" --entrypoint bids_sr-tools "$image" demo /demo/dataset
careful -v "$folder/demo/dataset/bids:/data:ro" -v "$folder/out:/out" \
    "$image" /data /out participant --sloppy --nprocs 2 --mem 3500
careful -v "$folder/out:/out" -v "$folder/demo/dataset/bids:/data:ro" "$image" /data /out group

products=$(find "$folder/out" -name '*_desc-sr_*.nii.gz' | wc -l)
images=$(find "$folder/demo/dataset/bids" -name '*_T1w.nii.gz' | wc -l)
pages=$(find "$folder/out" -maxdepth 1 -name 'sub-*.html' | wc -l)
echo "$images images, $products products, $pages pages"
[ "$images" -gt 0 ] && [ "$products" -eq "$images" ] && [ "$pages" -gt 0 ]
