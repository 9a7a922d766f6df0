"""Evaluation: test cases made from images, and the scores of their reconstructions."""

from bids_sr.evaluation.metrics import peak_range, psnr, ssim
from bids_sr.evaluation.protocol import Protocol, TestCase, covered, make_case
from bids_sr.evaluation.scoring import MEASURES, score
from bids_sr.evaluation.sharpness import sharpness

__all__ = [
    "MEASURES",
    "Protocol",
    "TestCase",
    "covered",
    "make_case",
    "peak_range",
    "psnr",
    "score",
    "sharpness",
    "ssim",
]
