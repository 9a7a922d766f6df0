#!/usr/bin/env bash
# Run the demo dataset in an image as a careful site would: no network, an unknown user, a
# read-only root, no capabilities, 64 MB of shared memory, 4 GB of memory, input read-only.
#
#   tests/container/run_demo.sh docker bids_sr:latest
#   tests/container/run_demo.sh apptainer bids_sr.sif FOLDER --sloppy
#   CONTAINER_OPTIONS="--cgroups=disabled" tests/container/run_demo.sh podman localhost/bids_sr
#
# FOLDER is made, and keeps demo/, out/ and raw/ (at /raw, for --raw-like-dir); without it
# nothing is kept. All words after it are options of the participant level.
set -euo pipefail

engine=$1
image=$2
if [ "$engine" = apptainer ]; then image=$(realpath "$image"); fi
if [ $# -gt 2 ]; then
    mkdir -p "$3"
    cd "$3"
    shift 3
else
    folder=$(mktemp -d)
    trap 'chmod -R u+w "$folder"; rm -rf "$folder"' EXIT
    cd "$folder"
    shift 2
    set -- --sloppy
fi
mkdir -p demo out raw tmp
chmod 777 . demo out raw tmp

# careful COMMAND MOUNT... -- WORD...: a mount is FOLDER:PLACE[:ro], below this folder.
careful() {
    local command=$1 mounts=()
    shift
    while [ "$1" != -- ]; do
        mounts+=("$1")
        shift
    done
    shift
    # shellcheck disable=SC2086
    if [ "$engine" = apptainer ]; then
        # The .sif is always read-only, and the user is who calls.
        [ -e image.sif ] || ln "$image" image.sif 2>/dev/null || cp "$image" image.sif
        apptainer exec --cleanenv --containall --no-home --net --network none \
            --bind=tmp:/tmp ${CONTAINER_OPTIONS:-} "${mounts[@]/#/--bind=}" image.sif "$command" "$@"
    else
        "$engine" run --rm --network none --user 12345:12345 --read-only --tmpfs /tmp:mode=1777 \
            --cap-drop ALL --security-opt no-new-privileges --shm-size 64m --memory 4g \
            ${CONTAINER_OPTIONS:-} "${mounts[@]/#/--volume=$PWD/}" \
            --entrypoint "$command" "$image" "$@"
    fi
}

[ -d demo/dataset ] || careful bids_sr-tools demo:/demo -- demo /demo/dataset
data=demo/dataset/bids:/data:ro
# With more threads for one step ANTs' registration does not repeat to the last voxel.
careful bids_sr $data out:/out raw:/raw -- /data /out participant \
    --nprocs 2 --omp-nthreads 1 --mem 3500 "$@"
careful bids_sr $data out:/out -- /data /out group

products=$(find out -name '*_desc-sr_*.nii.gz' ! -name '*uncertainty*' ! -name '*seg*' | wc -l)
images=$(find demo/dataset/bids -name '*_T1w.nii.gz' | wc -l)
pages=$(find out -maxdepth 1 \( -name 'sub-*.html' -o -name 'group_*.html' \) ! -name '*_viewer.html' | wc -l)
echo "$images images, $products products, $pages pages"
[ "$images" -gt 0 ] && [ "$products" -eq "$images" ] && [ "$pages" -gt "$images" ]
