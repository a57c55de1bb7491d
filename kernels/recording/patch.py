"""A patch of a few channels: sweep after sweep, ensemble statistics and noise analysis."""

import equinox as eqx
import jax
import numpy as np

from gabatone.kernels.bounds import require
from gabatone.kernels.drive.ligand import Drive
from gabatone.kernels.engine.channels import Channels
from gabatone.kernels.engine.simulate import simulate
from gabatone.kernels.errors import BadInput, Failure
from gabatone.kernels.receptor.scheme import KineticScheme
from gabatone.kernels.recording.amplifier import Amplifier, Recording, record_conductance

_SWEEP, _INSTRUMENT = 0, 1  # coordinates below the caller's key


class Patch(eqx.Module):
    """A membrane patch with `n_channels` independent channels of one scheme, 1 to 1000."""

    scheme: KineticScheme
    n_channels: int = eqx.field(static=True)

    def __check_init__(self):
        require("Patch.n_channels", self.n_channels, least=1, most=1000)
        if int(self.n_channels) != self.n_channels:
            raise BadInput(
                "Patch.n_channels", self.n_channels, "not a whole number", "give 1 to 1000"
            )


class Sweeps(eqx.Module):
    """Repeated traces of one patch: `conductance_pS` and `open_count` [sweep, time] at `time_s`."""

    time_s: np.ndarray
    conductance_pS: np.ndarray
    open_count: np.ndarray
    patch: Patch


class Ensemble(eqx.Module):
    """Mean [time] and variance [time] over `n_sweeps` sweeps, and how the variance was taken."""

    time_s: np.ndarray
    mean_pA: np.ndarray
    variance_pA2: np.ndarray
    n_sweeps: int = eqx.field(static=True)
    method: str = eqx.field(static=True)


class NoiseAnalysis(eqx.Module):
    """Single-channel current (pA) and number of channels from the variance of an ensemble.

    Standard errors are from the delete-one jackknife over sweeps. `reciprocal_n` is the fitted
    quantity, whose error is nearly normal; `n_channels` is its inverse. The true values are
    those of the simulated patch, None for a record of unknown origin.
    """

    single_pA: float
    single_error_pA: float
    reciprocal_n: float
    reciprocal_n_error: float
    peak_open_probability: float
    true_single_pA: float | None
    true_n: int | None
    conditions: str

    @property
    def n_channels(self) -> float:
        """Estimated number of channels."""
        return 1.0 / self.reciprocal_n


def run_sweeps(
    key, patch: Patch, drive: Drive, *, n_sweeps: int, t1_s: float, save_s, p0=None, engine=None
) -> Sweeps:
    """Simulate `n_sweeps` independent sweeps of `patch` under `drive`.

    Sweep r uses ``fold_in(key, r)``: it is the same whatever the number of sweeps. `engine` is
    `Channels` unless another is given; the rest is as in `simulate`.

    Raises
    ------
    BadInput
        For a number of sweeps below 1, and as `simulate`.
    """
    require("n_sweeps", n_sweeps, least=1)
    below = jax.random.fold_in(key, _SWEEP)
    engine, conductance = engine or Channels(), np.asarray(patch.scheme.conductance_pS, float)
    opened, seen = [], []
    for sweep in range(int(n_sweeps)):
        trace = simulate(
            jax.random.fold_in(below, sweep),
            patch.scheme,
            drive,
            engine=engine,
            n=patch.n_channels,
            t1_s=t1_s,
            save_s=save_s,
            p0=p0,
        )
        counts = np.asarray(trace.occupancy) * (1 if trace.counts else patch.n_channels)
        opened.append(counts[:, patch.scheme.is_open].sum(axis=1))
        seen.append(counts @ conductance)
    return Sweeps(trace.time_s, np.array(seen), np.array(opened), patch)


def record_sweeps(key, sweeps: Sweeps, amplifier: Amplifier) -> Recording:
    """Record all sweeps, each with noise of its own; `current_pA` is [sweep, time]."""
    below = jax.random.fold_in(key, _INSTRUMENT)
    return record_conductance(below, sweeps.time_s, sweeps.conductance_pS, amplifier)


def ensemble(recording: Recording, method: str = "mean") -> Ensemble:
    """Mean and unbiased variance over sweeps.

    Parameters
    ----------
    method : str
        "mean": squared distance from the ensemble mean. "pairs": half the mean squared
        difference of successive sweeps, which slow rundown and drift do not enter
        (Heinemann & Conti 1992).

    Raises
    ------
    BadInput
        For fewer than 3 sweeps, or another method.
    """
    current = _sweep_rows(recording.current_pA)
    if method == "mean":
        variance = current.var(axis=0, ddof=1)
    elif method == "pairs":
        variance = (np.diff(current, axis=0) ** 2).mean(axis=0) / 2.0
    else:
        raise BadInput("method", method, "not a way to take the variance", 'use "mean" or "pairs"')
    return Ensemble(recording.time_s, current.mean(axis=0), variance, len(current), method)


def analyse_noise(
    recording: Recording,
    *,
    window_s: tuple[float, float],
    baseline_s: tuple[float, float] | None = None,
    truth: Patch | None = None,
) -> NoiseAnalysis:
    """Non-stationary noise analysis: ``variance = i I - I^2 / N`` (Sigworth 1980).

    Fitted by weighted least squares over the samples of `window_s`; the variance of the
    baseline window is taken off first, and the mean current there from the mean. A filter that
    cuts into the noise of the channels makes `i` too small: compare its cutoff with their rates.

    Parameters
    ----------
    window_s : (start, stop)
        Where mean and variance are compared, as a rule from the peak down the decay.
    baseline_s : (start, stop) or None
        Without channel openings; None where there is no noise and no offset.
    truth : Patch or None
        The patch that was simulated.

    Raises
    ------
    BadInput
        For a window without samples or fewer than 3 sweeps.
    Failure
        ``no_parabola`` where the variance does not bend so that N or i cannot be told.
    """
    current, time = _sweep_rows(recording.current_pA), recording.time_s
    inside = _samples(time, window_s, "window_s")
    rest = None if baseline_s is None else _samples(time, baseline_s, "baseline_s")
    m, total, square = len(current), current.sum(axis=0), (current**2).sum(axis=0)
    i, q = _parabola(total / m, (square - total**2 / m) / (m - 1), m, inside, rest)
    left = []
    for row in current:
        mean = (total - row) / (m - 1)
        left.append(
            _parabola(mean, (square - row**2 - (m - 1) * mean**2) / (m - 2), m - 1, inside, rest)
        )
    error = np.sqrt((m - 1) * np.var(left, axis=0))
    if not (np.isfinite([i, q]).all() and np.all(np.isfinite(error)) and i != 0 and q > 0):
        raise Failure(
            "no_parabola",
            f"i = {i:.3g} pA and 1/N = {q:.3g} do not describe channels; the window may miss the "
            "high open probabilities, or there are too few sweeps",
        )
    mean = total / m - (0.0 if rest is None else (total / m)[rest].mean())
    largest = mean[inside][np.argmax(np.abs(mean[inside]))]
    return NoiseAnalysis(
        single_pA=float(i),
        single_error_pA=float(error[0]),
        reciprocal_n=float(q),
        reciprocal_n_error=float(error[1]),
        peak_open_probability=float(largest / i * q),
        true_single_pA=None if truth is None else _single(truth, recording.amplifier),
        true_n=None if truth is None else truth.n_channels,
        conditions=f"{m} sweeps, window {window_s[0]:g} to {window_s[1]:g} s, "
        f"baseline {baseline_s}, {recording.amplifier.conditions}",
    )


def _parabola(mean, variance, m: int, inside, rest) -> tuple[float, float]:
    """``(i, 1/N)`` by weighted least squares; twice, since the weights follow the fit."""
    noise = 0.0
    if rest is not None:
        noise = variance[rest].mean()
        mean = mean - mean[rest].mean()
    # the square of an estimated mean is too large by its own variance
    x, square = mean[inside], mean[inside] ** 2 - variance[inside] / m
    y, weight = variance[inside] - noise, np.ones(inside.sum())
    for _ in range(3):
        a, b, c = (weight * x * x).sum(), (weight * x * square).sum(), (weight * square**2).sum()
        u, v = (weight * x * y).sum(), (weight * square * y).sum()
        determinant = a * c - b * b
        if determinant <= 0:
            return np.nan, np.nan
        i, q = (c * u - b * v) / determinant, (b * u - a * v) / determinant
        expected = i * x - q * x**2 + noise
        # a sample variance scatters in proportion to itself
        weight = 1.0 / np.maximum(expected, 0.02 * np.abs(expected).max()) ** 2
    return i, q


def _single(patch: Patch, amplifier: Amplifier) -> float | None:
    """Current of one open channel, pA; None where open states differ in conductance."""
    levels = np.unique(np.asarray(patch.scheme.conductance_pS)[patch.scheme.is_open])
    if len(levels) != 1:
        return None
    return float(levels[0] * amplifier.driving.force_mV(amplifier.holding_mV) * 1e-3)


def _sweep_rows(current) -> np.ndarray:
    current = np.asarray(current, np.float64)
    if current.ndim != 2 or len(current) < 3:
        raise BadInput(
            "recording.current_pA",
            current.shape,
            "an ensemble needs three sweeps or more [sweep, time]",
            "record more sweeps",
        )
    require("recording.current_pA", current)
    return current


def _samples(time_s, window_s, field: str) -> np.ndarray:
    inside = (time_s >= window_s[0]) & (time_s <= window_s[1])
    if inside.sum() < 3:
        raise BadInput(
            field, window_s, "fewer than three samples lie in it", "give (start, stop) in seconds"
        )
    return inside
