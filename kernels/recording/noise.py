"""Instrument noise and baseline of a recorded current."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from gabatone.kernels.bounds import require
from gabatone.kernels.recording.filter import Bessel

_NOISE = 0  # coordinate of this purpose below the caller's key


class InstrumentNoise(eqx.Module):
    """Gaussian noise with one-sided density ``S (1 + corner / f)``.

    Parameters
    ----------
    rms_pA : float
        Of the white part, seen through a four-pole Bessel filter of `bandwidth_Hz`.
    bandwidth_Hz : float
        -3 dB frequency of that filter.
    corner_Hz : float
        Frequency at which the 1/f part equals the white part; 0 for white noise.
    """

    rms_pA: float = eqx.field(static=True, converter=float)
    bandwidth_Hz: float = eqx.field(static=True, converter=float)
    corner_Hz: float = eqx.field(static=True, converter=float, default=0.0)

    def __check_init__(self):
        require("InstrumentNoise.rms_pA", self.rms_pA, least=0.0)
        require("InstrumentNoise.bandwidth_Hz", self.bandwidth_Hz, above=0.0)
        require("InstrumentNoise.corner_Hz", self.corner_Hz, least=0.0)

    @property
    def density_pA2_per_Hz(self) -> float:
        """One-sided spectral density S of the white part."""
        return self.rms_pA**2 / Bessel(self.bandwidth_Hz).noise_bandwidth_Hz


class Baseline(eqx.Module):
    """Offset at time 0 and a steady drift of the zero line."""

    offset_pA: float = eqx.field(static=True, converter=float, default=0.0)
    drift_pA_per_s: float = eqx.field(static=True, converter=float, default=0.0)

    def __check_init__(self):
        require("Baseline.offset_pA", self.offset_pA)
        require("Baseline.drift_pA_per_s", self.drift_pA_per_s)

    def value_pA(self, time_s) -> np.ndarray:
        """Zero line [time]."""
        return self.offset_pA + self.drift_pA_per_s * np.asarray(time_s, np.float64)


def draw_noise(key, noise: InstrumentNoise, step_s: float, shape: tuple[int, ...]) -> np.ndarray:
    """Noise in pA [..., time] on a grid of `step_s`, flat up to half the sampling rate.

    Row r is drawn from ``fold_in(key, r)`` in float32, so that it does not depend on the number
    of rows nor on the precision JAX works in. The 1/f part is shaped over twice the length,
    of which one half is kept: slower components than that are left out.
    """
    rows, length = int(np.prod(shape[:-1], dtype=int)), shape[-1]
    wide = 2 * length if noise.corner_Hz else length
    below = jax.random.fold_in(key, _NOISE)
    draw = jax.vmap(
        lambda row: jax.random.normal(jax.random.fold_in(below, row), (wide,), jnp.float32)
    )
    white = np.asarray(draw(jnp.arange(rows, dtype=jnp.uint32)), np.float64)
    if noise.corner_Hz:
        frequency = np.fft.rfftfreq(wide, step_s)
        gain = np.sqrt(1.0 + noise.corner_Hz / np.maximum(frequency, frequency[1]))
        white = np.fft.irfft(np.fft.rfft(white, axis=-1) * gain, wide, axis=-1)[:, :length]
    # density S over 0 to half the sampling rate
    return (white * np.sqrt(noise.density_pA2_per_Hz / (2.0 * step_s))).reshape(shape)
