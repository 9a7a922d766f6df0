"""The engines built on ANTs (antspyx): denoising, N4 and the template brain mask."""

from bids_sr.engines.bias_field import n4
from bids_sr.engines.denoising import denoise
from bids_sr.engines.template_mask import template_brain_mask

__all__ = ["denoise", "n4", "template_brain_mask"]
