"""How good a reconstruction is: metrics, and the protocol that measures a method."""

from bids_sr.evaluation.metrics import peak_range, psnr, ssim
from bids_sr.evaluation.protocol import Score, compare, covered, evaluate, write_scores

__all__ = [
    "Score",
    "compare",
    "covered",
    "evaluate",
    "peak_range",
    "psnr",
    "ssim",
    "write_scores",
]
