"""Measure what data consistency adds to a method, with and without noise.

    python benchmarks/consistency.py IMAGE ... --method bspline --protocol 5/6

Each image is degraded along z at several levels of noise and reconstructed once without data
consistency.  Table: PSNR in the foreground, and what data consistency changes of it, in dB.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from bids_sr.cli.evaluate_options import parse_spec
from bids_sr.evaluation import psnr
from bids_sr.evaluation.protocol import Protocol
from bids_sr.imaging import RobustScaler, Volume, degrade
from bids_sr.sr import reconstruct
from bids_sr.sr.slices.consistency import make_consistent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="+", type=Path, help="high-resolution NIfTI images")
    parser.add_argument("--method", default="bspline", help="METHOD[:NAME=VALUE,...]")
    parser.add_argument("--protocol", default="5/6", help="THICKNESS/SPACING[/PROFILE], mm")
    parser.add_argument("--noise", nargs="+", type=float, default=[0.0, 0.01, 0.02, 0.04])
    arguments = parser.parse_args()
    columns = [f"{100 * noise:g} % noise" for noise in arguments.noise]
    print(f"| {arguments.method}, {arguments.protocol} mm | {' | '.join(columns)} |")
    print("|" + " --- |" * (1 + len(columns)))
    for path in arguments.images:
        cells = []
        for noise in arguments.noise:
            before, change = measure(path, arguments.method, arguments.protocol, noise)
            cells.append(f"{before:.2f} {change:+.3f}")
        print(f"| {path.name.removesuffix('.nii.gz')} | {' | '.join(cells)} |", flush=True)


def measure(path: Path, method: str, protocol: str, noise_fraction: float) -> tuple[float, float]:
    """Return the PSNR without data consistency, and the change by it, dB."""
    reference = Volume.load(path).canonical()
    acquisition = Protocol(name=protocol).acquisition()
    lr = degrade(reference, acquisition, noise_fraction=noise_fraction, seed=0)
    spec = parse_spec(method)
    reconstruction = reconstruct(
        lr,
        acquisition,
        method=spec.method,
        grid=reference.grid,
        parameters={**spec.parameters, "data_consistency": False},
    ).volume
    scaler = RobustScaler.fit(reference.data)
    inside = reference.data > scaler.offset + 0.1 * scaler.width
    agreeing = make_consistent(reconstruction, lr, acquisition)
    if lr.data.min() >= 0:  # as every method does
        agreeing = agreeing.with_data(np.maximum(agreeing.data, 0))
    before, after = (
        psnr(volume.data, reference.data, inside) for volume in (reconstruction, agreeing)
    )
    return before, after - before


if __name__ == "__main__":
    main()
