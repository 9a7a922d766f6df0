"""The response of the designed pulse is what the spins do under that pulse."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from bids_sr.imaging.pulse import beta_filter, excitation_response

Pulse = list[tuple[float, float]]


def _minimum_phase(magnitude: npt.NDArray[np.float64]) -> npt.NDArray[np.complex128]:
    """Complete a spectrum's magnitude to that of a minimum-phase filter (by its cepstrum)."""
    size = magnitude.size
    cepstrum = np.fft.ifft(np.log(magnitude))
    window = np.zeros(size)
    window[[0, size // 2]] = 1
    window[1 : size // 2] = 2
    return np.asarray(np.exp(np.fft.fft(cepstrum * window)))


def _inverse_slr(beta: npt.NDArray[np.float64]) -> Pulse:
    """Peel hard pulses (flip, phase) off the polynomials, last one first (Pauly 1991)."""
    spectrum = np.fft.fft(beta, 8192)
    alpha_spectrum = _minimum_phase(np.sqrt(1 - np.abs(spectrum) ** 2))
    alpha = np.fft.ifft(alpha_spectrum)[: beta.size]
    a, b, pulses = alpha.astype(complex), beta.astype(complex), []
    while a.size:
        ratio = b[0] / a[0]
        flip, phase = 2 * np.arctan(abs(ratio)), np.angle(-1j * ratio)
        cosine, sine = np.cos(flip / 2), 1j * np.exp(1j * phase) * np.sin(flip / 2)
        a, b = (cosine * a + np.conj(sine) * b)[:-1], (-sine * a + cosine * b)[1:]
        pulses.append((float(flip), float(phase)))
    return pulses[::-1]


def _bloch(pulses: Pulse, cycles_per_sample: float) -> float:
    """Rotate a magnetisation from +z through hard pulses and precession; return |Mxy|."""
    moment = np.array([0.0, 0.0, 1.0])
    turn = 2 * np.pi * cycles_per_sample
    precession = np.array(
        [[np.cos(turn), np.sin(turn), 0], [-np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    )
    for flip, phase in pulses:
        axis = np.array([np.cos(phase), np.sin(phase), 0.0])
        along = axis * (axis @ moment)
        moment = along + (moment - along) * np.cos(flip) - np.cross(axis, moment) * np.sin(flip)
        moment = precession @ moment
    return float(np.hypot(moment[0], moment[1]))


@pytest.mark.parametrize("time_bandwidth", [3.0, 4.0, 8.0])
def test_response_is_that_of_the_bloch_equations(time_bandwidth: float) -> None:
    positions, magnetisation = excitation_response(np.pi / 2, time_bandwidth)
    beta = beta_filter(np.pi / 2, time_bandwidth)
    pulses = _inverse_slr(beta)
    for index in range(0, positions.size, 64):
        simulated = _bloch(pulses, positions[index] * time_bandwidth / beta.size)
        assert simulated == pytest.approx(magnetisation[index], abs=2e-3)


def test_a_90_degree_pulse_tips_the_centre_fully_and_spares_the_outside() -> None:
    positions, magnetisation = excitation_response()
    assert magnetisation[np.abs(positions) < 0.2].min() > 0.98
    assert magnetisation[np.abs(positions) > 1.0].max() < 0.02
    np.testing.assert_allclose(magnetisation, magnetisation[::-1], atol=1e-12)


def test_more_zero_crossings_make_a_sharper_slice() -> None:
    def _edge(time_bandwidth: float) -> float:
        positions, magnetisation = excitation_response(np.pi / 2, time_bandwidth)
        return float(
            np.ptp(positions[(magnetisation > 0.1) & (magnetisation < 0.9) & (positions > 0)])
        )

    assert _edge(8.0) < _edge(4.0) < _edge(2.0)


def test_beta_sums_to_the_sine_of_half_the_flip_angle() -> None:
    assert beta_filter(np.pi / 3, 4.0).sum() == pytest.approx(np.sin(np.pi / 6))
