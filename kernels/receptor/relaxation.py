"""What many channels show: relaxations after a jump, noise, non-stationary variance, dose-response.

Per channel unless a number is given. `weights` [state] is what a state contributes to the
record: by default 1 for the open class, or its current in A. Colquhoun & Hawkes 1977 (Proc
R Soc B 199:231) for relaxations and noise.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import optimize

from gabatone.kernels.bounds import require
from gabatone.kernels.errors import BadInput
from gabatone.kernels.receptor.exponentials import modes
from gabatone.kernels.receptor.partition import Partition, partition, stay_law
from gabatone.kernels.receptor.scheme import KineticScheme


@dataclass(frozen=True)
class Relaxation:
    """``final + sum_i amplitudes[i] exp(-rates[i] t)``, fastest component first."""

    rates_per_s: Float[np.ndarray, " component"]
    amplitudes: Float[np.ndarray, " component"]
    final: float

    def value(self, t_s) -> Float[np.ndarray, " *time"]:
        """The record at times [...] >= 0 since the jump."""
        decay = np.exp(-np.asarray(t_s, float)[..., None] * self.rates_per_s)
        return np.asarray(self.final + decay @ self.amplitudes)

    @property
    def tau_s(self) -> Float[np.ndarray, " component"]:
        """Time constants, s."""
        return 1.0 / self.rates_per_s

    @property
    def weighted_tau_s(self) -> float:
        """``|sum a tau| / max |a|``, s: the area of the change over its largest component."""
        return float(abs(self.amplitudes @ self.tau_s) / np.abs(self.amplitudes).max())


def relaxation(channel: Partition, start, weights=None) -> Relaxation:
    """Components of the mean record from the law `start` [state] at t = 0 to equilibrium.

    Raises `Failure` as `exponentials.modes`; `response` needs no components.
    """
    weights, start = _weights(channel, weights), _law(channel, start)
    found = modes(channel.generator)
    amplitudes = (start @ found.right) * (found.left @ weights)
    # the largest eigenvalue is 0, the equilibrium
    return Relaxation(-found.values[:-1], amplitudes[:-1], float(channel.equilibrium @ weights))


def response(channel: Partition, start, t_s) -> Float[np.ndarray, "*time state"]:
    """Occupancy at times [...] >= 0 after the jump, from the law `start` [state]."""
    require("t_s", t_s, least=0.0)
    still = np.zeros(len(channel.generator))
    return _law(channel, start) @ stay_law(channel.generator, still, t_s)


def variance(occupancy, weights, n: int = 1) -> Float[np.ndarray, " *time"]:
    """Variance of the summed record of `n` independent channels of `occupancy` [..., state].

    ``n (sum p w^2 - (sum p w)^2)``, which is ``n p (1 - p) i^2`` for channels that are open,
    with current i, or shut (Sigworth 1980, J Physiol 307:97).
    """
    occupancy, weights = np.asarray(occupancy, float), np.asarray(weights, float)
    mean = occupancy @ weights
    # summed about the mean, so that nothing is lost where the record hardly varies
    return np.asarray(n * np.einsum("...s,...s->...", occupancy, (weights - mean[..., None]) ** 2))


def parabola(mean, unit: float, n: float) -> Float[np.ndarray, " *point"]:
    """Variance against mean of n channels of unit current: ``unit mean - mean^2 / n`` (Sigworth 1980)."""
    mean = np.asarray(mean, float)
    return np.asarray(unit * mean - mean**2 / n)


def fit_parabola(mean, variance) -> tuple[float, float]:
    """Unit current and number of channels from mean and variance [point], by least squares.

    Raises `BadInput` where the points do not bend, so that the number is not determined.
    """
    mean, variance = np.asarray(mean, float), np.asarray(variance, float)
    scale = np.abs(mean).max(initial=0.0) or 1.0
    design = np.stack([mean / scale, -((mean / scale) ** 2)], axis=1)
    (slope, bend), _, rank, _ = np.linalg.lstsq(design, variance, rcond=None)
    if rank < 2 or bend <= 1e-9 * abs(slope):
        raise BadInput(
            "variance",
            variance.tolist(),
            "no parabola that opens downward fits, so the number of channels is not determined",
            "use a response with a higher peak open probability",
        )
    return float(slope / scale), float(scale**2 / bend)


def autocovariance(channel: Partition, lag_s, weights=None) -> Float[np.ndarray, " *lag"]:
    """Covariance of the record with itself `lag_s` [...] (s) later, at equilibrium."""
    w = _centred(channel, weights)
    later = stay_law(channel.generator, np.zeros(len(w)), np.abs(np.asarray(lag_s, float)))
    return np.asarray((channel.equilibrium * w) @ later @ w)


def noise_spectrum(
    channel: Partition, frequency_Hz, weights=None
) -> Float[np.ndarray, " *frequency"]:
    """One-sided power spectrum, (unit of weights)^2 / Hz, whose integral from 0 to infinity is the variance.

    From one complex solve for each frequency, so that it needs no components.
    """
    w, p = _centred(channel, weights), channel.equilibrium
    omega = 2.0 * np.pi * np.asarray(frequency_Hz, float)[..., None, None]
    # the equilibrium itself is taken out: without it Q has no inverse at frequency 0
    moving = np.outer(np.ones(len(p)), p) * np.abs(channel.generator).max() - channel.generator
    found = np.linalg.solve(moving + 1j * omega * np.eye(len(p)), w[:, None])[..., 0]
    return np.asarray(4.0 * np.real(found @ (p * w)))


@dataclass(frozen=True)
class Lorentzians:
    """One-sided spectrum ``sum_i zero[i] / (1 + (f / corner[i])^2)``, highest corner first."""

    corner_Hz: Float[np.ndarray, " component"]
    zero: Float[np.ndarray, " component"]

    def spectrum(self, frequency_Hz) -> Float[np.ndarray, " *frequency"]:
        """One-sided power at frequencies [...]."""
        ratio = np.asarray(frequency_Hz, float)[..., None] / self.corner_Hz
        return np.asarray((1.0 / (1.0 + ratio**2)) @ self.zero)

    @property
    def variance(self) -> float:
        """Integral of the spectrum from 0 to infinity."""
        return float(0.5 * np.pi * self.corner_Hz @ self.zero)


def lorentzians(channel: Partition, weights=None) -> Lorentzians:
    """The spectrum's components; raises `Failure` as `exponentials.modes`."""
    w, p = _centred(channel, weights), channel.equilibrium
    found = modes(channel.generator)
    rates = -found.values[:-1]
    variances = ((p * w) @ found.right[:, :-1]) * (found.left[:-1] @ w)
    return Lorentzians(rates / (2.0 * np.pi), 4.0 * variances / rates)


@dataclass(frozen=True)
class DoseResponse:
    """Equilibrium open probability against concentration: its ends, midpoint and slope there."""

    least: float
    most: float
    ec50_M: float
    hill: float


def equilibrium_dose_response(
    scheme: KineticScheme, ligand: str = "GABA", background_M: dict | None = None
) -> DoseResponse:
    """EC50 and Hill slope of the equilibrium response, from the generator.

    The highest response is the limit of high concentration, or the peak of a curve that
    falls again; EC50 is the concentration, on the rising side, of half the way from no
    ligand to it, and the Hill slope is d log((P - least) / (most - P)) / d log c there.
    Raises `BadInput` where the ligand does not open the channel.
    """
    background = dict(background_M or {})

    def opening(log_c: float) -> float:
        conc = {**background, ligand: float(np.exp(log_c))}
        return partition(scheme, conc).open_probability

    least = partition(scheme, background).open_probability
    grid = np.log(10.0) * np.arange(-18.0, 13.0, 0.5)
    values = np.array([opening(x) for x in grid])
    top = int(np.argmax(values))
    most, end = float(values[top]), float(grid[top])
    if not most > least * (1.0 + 1e-9):
        raise BadInput(
            "ligand", ligand, "it does not raise the open probability", "name an agonist"
        )
    if values[-1] < most * (1.0 - 1e-9):
        around = (grid[top - 1], grid[top + 1])
        peak = optimize.minimize_scalar(lambda x: -opening(x), bounds=around, method="bounded")
        most, end = -float(peak.fun), float(peak.x)
    half = 0.5 * (least + most)
    middle = optimize.brentq(lambda x: opening(x) - half, grid[0], end, xtol=1e-13, rtol=1e-14)

    def logit(log_c: float) -> float:
        found = opening(log_c)
        return np.log((found - least) / (most - found))

    step = 1e-3
    near, far = (logit(middle + k * step) - logit(middle - k * step) for k in (1, 2))
    hill = (8.0 * near - far) / (12.0 * step)
    return DoseResponse(least, most, float(np.exp(middle)), float(hill))


def _weights(channel: Partition, weights) -> np.ndarray:
    if weights is None:
        return channel.is_open.astype(float)
    return _vector(channel, weights, "weights")


def _centred(channel: Partition, weights) -> np.ndarray:
    w = _weights(channel, weights)
    return w - channel.equilibrium @ w


def _law(channel: Partition, start) -> np.ndarray:
    start = _vector(channel, start, "start")
    if np.any(start < 0) or abs(start.sum() - 1.0) > 1e-6:
        raise BadInput(
            "start", start.tolist(), "not a law of the states", "give probabilities that sum to 1"
        )
    return start


def _vector(channel: Partition, values, name: str) -> np.ndarray:
    values = np.asarray(values, float)
    if values.shape != channel.is_open.shape or not np.all(np.isfinite(values)):
        raise BadInput(
            name, values.tolist(), f"not {len(channel.is_open)} finite numbers", "one per state"
        )
    return values
