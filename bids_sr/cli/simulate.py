"""``bids_sr-tools simulate``: a thick-slice image made from a high-resolution one."""

from __future__ import annotations

import argparse

from bids_sr import __version__
from bids_sr.cli.super_resolve import checked_output, record_path
from bids_sr.exceptions import AcquisitionError
from bids_sr.files.writing import write_json_atomic
from bids_sr.imaging import Acquisition, Volume, degrade
from bids_sr.imaging.grid import SAME_SPACING
from bids_sr.run.exit_codes import ExitCode


def simulate_file(options: argparse.Namespace) -> int:
    """Degrade ``options.in_file`` into ``options.out_file`` and its BIDS sidecar."""
    out_file = checked_output(options, options.in_file)
    acquisition = Acquisition(
        spacing=options.slice_spacing or options.slice_thickness,
        thickness=options.slice_thickness,
        profile=options.slice_profile,
        slice_axis=options.slice_axis,
    )
    volume = Volume.load(options.in_file)
    voxel = float(volume.spacings[options.slice_axis])
    if acquisition.spacing < voxel * (1 - SAME_SPACING):
        raise AcquisitionError(
            f"{options.in_file}: found voxels of {voxel:.4g} mm along axis {options.slice_axis} "
            f"and a slice spacing of {acquisition.spacing:g} mm; expected slices at least as far "
            "apart as the voxels. Give a larger --slice-spacing, or another --slice-axis."
        )
    thick = degrade(volume, acquisition, noise_fraction=options.noise, seed=options.random_seed)
    thick.save(out_file)
    sidecar = {
        "SliceThickness": acquisition.thickness,
        "SpacingBetweenSlices": acquisition.spacing,
        "Simulation": {
            **acquisition.to_dict(),
            "Source": str(options.in_file),
            "Noise": options.noise,
            "Seed": options.random_seed,
            "Software": {"bids_sr": __version__},
        },
    }
    write_json_atomic(record_path(out_file), sidecar)
    print(f"wrote {out_file}: {thick.shape[options.slice_axis]} slices")
    return ExitCode.OK
