"""Geometry and physics of thick-slice MRI: volumes, acquisitions, the forward model."""

from bids_sr.imaging.acquisition import Acquisition
from bids_sr.imaging.degrade import ForwardModel, degrade, lr_grid
from bids_sr.imaging.grid import Grid
from bids_sr.imaging.header import InputReport, check_input
from bids_sr.imaging.intensity import RobustScaler
from bids_sr.imaging.resample import KERNELS, lay_out_grid, resample
from bids_sr.imaging.series import Series
from bids_sr.imaging.slice_profile import SliceProfile
from bids_sr.imaging.slices import View
from bids_sr.imaging.volume import Volume

__all__ = [
    "KERNELS",
    "Acquisition",
    "ForwardModel",
    "Grid",
    "InputReport",
    "RobustScaler",
    "Series",
    "SliceProfile",
    "View",
    "Volume",
    "check_input",
    "degrade",
    "lay_out_grid",
    "lr_grid",
    "resample",
]
