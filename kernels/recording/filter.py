"""Low-pass filter and sampling of a recorded current (host arrays in float64)."""

import equinox as eqx
import numpy as np
from scipy import signal
from scipy.optimize import brentq

from gabatone.kernels.bounds import require
from gabatone.kernels.errors import BadInput

_POLES = 4


class Bessel(eqx.Module):
    """Four-pole Bessel low-pass filter with -3 dB at `cutoff_Hz` (Thomson 1949).

    Causal. A step comes out `delay_s` later, takes `rise_s` from 10 to 90 % and overshoots
    by less than 1 %.
    """

    cutoff_Hz: float = eqx.field(static=True, converter=float)

    def __check_init__(self):
        require("Bessel.cutoff_Hz", self.cutoff_Hz, above=0.0)

    @property
    def delay_s(self) -> float:
        """Group delay at low frequency, s (0.336 / cutoff)."""
        _, poles, _ = self._analog()
        return float(np.sum(-1.0 / poles).real)

    @property
    def rise_s(self) -> float:
        """10-90 % rise time of the response to a step, s (0.350 / cutoff)."""
        zeros, poles, gain = self._analog()
        residues, poles, _ = signal.residue(gain * np.poly(zeros), np.poly([*poles, 0.0]))

        def step(t):
            return float(np.sum(residues * np.exp(poles * t)).real)

        # monotonic up to here
        late = 3.0 * self.delay_s
        low, high = (brentq(lambda t, f=f: step(t) - f, 0.0, late, rtol=1e-12) for f in (0.1, 0.9))
        return high - low

    @property
    def noise_bandwidth_Hz(self) -> float:
        """Bandwidth of the sharp-edged filter that passes as much white noise, Hz (1.046 cutoff)."""
        _, poles, gain = self._analog()
        # integral of |H|^2 over frequency from 0, by the residues of H(s) H(-s)
        others = [np.prod(np.delete(p - poles, k)) for k, p in enumerate(poles)]
        terms = [1.0 / (o * np.prod(-p - poles)) for o, p in zip(others, poles, strict=True)]
        return float(0.5 * abs(gain) ** 2 * np.sum(terms).real)

    def sections(self, step_s: float) -> np.ndarray:
        """Second-order sections [2, 6] for samples `step_s` apart (bilinear, exact at the cutoff).

        Raises `BadInput` where the cutoff is not below half the sampling rate.
        """
        below_nyquist(self.cutoff_Hz, step_s)
        return signal.bessel(_POLES, self.cutoff_Hz, norm="mag", fs=1.0 / step_s, output="sos")

    def _analog(self):
        angular = 2.0 * np.pi * self.cutoff_Hz
        return signal.bessel(_POLES, angular, norm="mag", analog=True, output="zpk")


def below_nyquist(cutoff_Hz: float, step_s: float) -> None:
    """Raise `BadInput` unless the cutoff is below half the sampling rate."""
    if cutoff_Hz >= 0.5 / step_s:
        raise BadInput(
            "Bessel.cutoff_Hz",
            cutoff_Hz,
            f"not below half the sampling rate, {0.5 / step_s:g} Hz at steps of {step_s:g} s",
            "lower the cutoff or sample at shorter intervals",
        )


def lowpass(samples, step_s: float, bessel: Bessel) -> np.ndarray:
    """Filter `samples` [..., time] on a uniform grid.

    Before the first sample the input is taken to have stood at that sample.
    """
    samples = np.asarray(samples, np.float64)
    sections = bessel.sections(step_s)
    settled = signal.sosfilt_zi(sections).reshape(len(sections), *(1,) * (samples.ndim - 1), 2)
    return signal.sosfilt(sections, samples, axis=-1, zi=settled * samples[..., :1])[0]


def uniform_step(time_s) -> float:
    """The step of a uniform grid; `BadInput` for an empty or an uneven one."""
    time_s = np.asarray(time_s, np.float64)
    if time_s.size < 2:
        raise BadInput(
            "time_s", time_s.size, "a trace needs two samples or more", "save more often"
        )
    step = (time_s[-1] - time_s[0]) / (time_s.size - 1)
    if not np.isfinite(step) or step <= 0:
        raise BadInput("time_s", float(step), "times must be finite and increase", "sort them")
    # the last point of a saved grid may be cut short by the end of the simulation
    wrong = np.abs(np.diff(time_s) - step) > 1e-6 * step
    if wrong.any():
        k = int(np.argmax(wrong))
        raise BadInput(
            f"time_s[{k + 1}]",
            float(time_s[k + 1]),
            "the grid is not uniform, so that it cannot be filtered",
            "save the trace at a fixed step",
        )
    return float(step)


def resample(time_s, samples, interval_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Take `samples` [..., time] every `interval_s`, from the first time on.

    Every k-th sample where the interval is a multiple of the step, else linear interpolation.
    Nothing is filtered here: a filter belongs before it.

    Raises
    ------
    BadInput
        For an interval below the step or longer than the trace.
    """
    time_s, samples = np.asarray(time_s, np.float64), np.asarray(samples, np.float64)
    step = uniform_step(time_s)
    require("interval_s", interval_s, above=0.0)
    span = time_s[-1] - time_s[0]
    if interval_s > span * (1 + 1e-9):
        raise BadInput(
            "interval_s", interval_s, f"longer than the trace of {span:g} s", "sample more often"
        )
    ratio = interval_s / step
    if ratio < 1 - 1e-6:
        raise BadInput(
            "interval_s",
            interval_s,
            f"shorter than the {step:g} s between the saved times",
            "save the trace at that interval or a fraction of it",
        )
    if abs(ratio - round(ratio)) < 1e-6:
        every = round(ratio)
        return time_s[::every], samples[..., ::every]
    at = time_s[0] + interval_s * np.arange(int(np.floor(span / interval_s * (1 + 1e-12))) + 1)
    rows = samples.reshape(-1, samples.shape[-1])
    taken = np.stack([np.interp(at, time_s, row) for row in rows])
    return at, taken.reshape(*samples.shape[:-1], len(at))
