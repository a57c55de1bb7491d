"""Sums of exponentials fitted to a recorded current, by variable projection."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from gabatone.kernels.bounds import require
from gabatone.kernels.errors import BadInput, Failure
from gabatone.kernels.recording.measure import Measure, checked, cut

_MOST = 3
_FEW = 400  # samples on which the starts are compared


@dataclass(frozen=True)
class ExponentialFit:
    """``sum_k amplitude_pA[k] exp(-(t - start) / tau_s[k]) + offset_pA`` over `window_s`.

    Components run from fast to slow. `tau_error_s` is the standard error for independent
    residuals of one size; `residual_rms_pA` is that size.
    """

    amplitude_pA: tuple[float, ...]
    tau_s: tuple[float, ...]
    tau_error_s: tuple[float, ...]
    offset_pA: float
    residual_rms_pA: float
    window_s: tuple[float, float]
    conditions: str

    @property
    def shares(self) -> tuple[float, ...]:
        """Amplitude of each component over their sum, at the start of the window."""
        total = sum(self.amplitude_pA)
        return tuple(a / total for a in self.amplitude_pA)

    @property
    def weighted_tau_s(self) -> float:
        """Amplitude-weighted time constant ``sum(a tau) / sum(a)``, s."""
        return sum(a * t for a, t in zip(self.shares, self.tau_s, strict=True))

    def curve_pA(self, time_s) -> np.ndarray:
        """The fitted curve at `time_s` [time]."""
        age = np.asarray(time_s, np.float64)[:, None] - self.window_s[0]
        return np.exp(-age / np.array(self.tau_s)) @ np.array(self.amplitude_pA) + self.offset_pA


def fit_exponentials(
    time_s,
    current_pA,
    components: int = 1,
    *,
    window_s,
    offset: bool = False,
    merged_below: float = 1.1,
    least_share: float = 1e-4,
) -> ExponentialFit:
    """Least squares fit of 1 to 3 exponentials, every sample of the window with equal weight.

    The amplitudes are eliminated (Golub & Pereyra 1973) and the log time constants found from
    several starts. Amplitudes belong to the start of the window and may have either sign.

    Parameters
    ----------
    window_s : (start, stop)
    offset : bool
        Whether a constant is fitted too (a current that does not desensitize).
    merged_below : float
        Two time constants closer than this ratio are one.
    least_share : float
        A component below this share of the summed sizes is not there.

    Raises
    ------
    BadInput
        As `checked`; for a number of components that is not 1 to 3, or a window with too few
        samples.
    Failure
        ``no_signal`` for a flat window, ``merged_components`` where two time constants are
        closer than that ratio or than twice the standard error of their difference,
        ``spare_component`` where one has no amplitude, ``slow_component`` where a time
        constant runs beyond 100 windows.
    """
    t, y = _window(time_s, current_pA, components, window_s, offset)
    scale = np.abs(y).max()
    if np.ptp(y) == 0.0:
        raise Failure("no_signal", f"the current is flat in the window {tuple(window_s)} s")
    span = t[-1] - t[0]
    found = _search((t - t[0]) / span, y / scale, components, offset)
    order = np.argsort(found.x)
    log_tau = found.x[order]
    basis = _basis((t - t[0]) / span, log_tau, offset)
    amplitude, *_ = np.linalg.lstsq(basis, y / scale, rcond=None)
    residual = basis @ amplitude - y / scale
    spread = residual @ residual / max(len(t) - 2 * components - offset, 1)
    covariance = np.linalg.pinv(found.jac.T @ found.jac)[np.ix_(order, order)] * spread
    _believable(log_tau, amplitude[:components], covariance, merged_below, least_share)
    return ExponentialFit(
        tuple((amplitude[:components] * scale).tolist()),
        tuple((np.exp(log_tau) * span).tolist()),
        tuple((np.exp(log_tau) * span * np.sqrt(np.diag(covariance))).tolist()),
        float(amplitude[-1] * scale) if offset else 0.0,
        float(np.sqrt(np.mean(residual**2)) * scale),
        (float(t[0]), float(t[-1])),
        f"{components} exponential{'s' * (components > 1)}{' and an offset' * bool(offset)}, "
        f"{len(t)} samples of equal weight",
    )


def recovery_tau(gap_s, recovered, *, application: str) -> Measure:
    """Time constant of ``1 - A exp(-gap / tau)`` through recovered shares [gap].

    `application` says how the receptors were desensitized and tested; it is kept in the result.
    """
    gap_s, recovered = checked(gap_s, recovered)
    window = (float(gap_s[0]), float(gap_s[-1]))
    fit = fit_exponentials(gap_s, 1.0 - recovered, window_s=window)
    return Measure("recovery tau", fit.tau_s[0], "s", window, f"one exponential; {application}")


def _window(time_s, current_pA, components, window_s, offset):
    time_s, current_pA = checked(time_s, current_pA)
    if components not in range(1, _MOST + 1):
        raise BadInput("components", components, "not a number of exponentials", "use 1, 2 or 3")
    require("window_s", window_s)
    inside = cut(time_s, window_s, "window_s")
    least = 2 * components + bool(offset)
    if inside.sum() < least:
        raise BadInput(
            "window_s",
            tuple(window_s),
            f"{inside.sum()} samples for {least} unknowns",
            "widen the window or sample more often",
        )
    return time_s[inside], current_pA[inside]


def _basis(x, log_tau, offset: bool) -> np.ndarray:
    columns = np.exp(-x[:, None] * np.exp(-log_tau))
    return np.column_stack([columns, np.ones(len(x))]) if offset else columns


def _project(log_tau, x, y, offset):
    """Residual after the best amplitudes, and its derivative (Kaufman's first term)."""
    basis = _basis(x, log_tau, offset)
    q, r = np.linalg.qr(basis)
    amplitude = np.linalg.lstsq(r, q.T @ y, rcond=None)[0]
    residual = y - basis @ amplitude
    slope = basis[:, : len(log_tau)] * (x[:, None] * np.exp(-log_tau)) * amplitude[: len(log_tau)]
    return residual, -(slope - q @ (q.T @ slope))


def _search(x, y, components: int, offset: bool):
    """The best of a few starts; x runs from 0 to 1, so that log tau lies around 0."""
    gap = max(float(np.min(np.diff(x))), 1e-6)
    low, high = np.log(0.1 * gap), np.log(1e3)
    starts = {
        1: [(-1.0,), (-3.0,), (-6.0,)],
        2: [(-3.0, -1.0), (-5.0, -1.5), (-6.5, -3.5), (-4.0, 0.5)],
        3: [(-5.0, -3.0, -1.0), (-6.5, -4.0, -1.5), (-4.0, -2.0, 0.5), (-7.0, -5.0, -2.5)],
    }[components]
    # the starts are sorted out on few samples and loosely; only the best is finished
    few = np.unique(np.linspace(0, len(x) - 1, min(len(x), _FEW)).astype(int))
    best = min(
        (
            _minimise(np.clip(start, low + 1e-3, high - 1e-3), x[few], y[few], offset, low, high)
            for start in starts
        ),
        key=lambda found: found.cost,
    )
    return _minimise(best.x, x, y, offset, low, high, tolerance=1e-15)


def _minimise(start, x, y, offset, low, high, tolerance=1e-8):
    kept = {}

    def at(log_tau):
        if kept.get("at") != log_tau.tobytes():
            kept.update(at=log_tau.tobytes(), values=_project(log_tau, x, y, offset))
        return kept["values"]

    return least_squares(
        lambda p: at(p)[0],
        start,
        jac=lambda p: at(p)[1],
        bounds=(low, high),
        xtol=tolerance,
        ftol=tolerance,
        gtol=tolerance,
        max_nfev=400,
    )


def _believable(log_tau, amplitude, covariance, merged_below, least_share) -> None:
    """Raise `Failure` by name where the components are not as many as were asked for."""
    share = np.abs(amplitude) / np.abs(amplitude).sum()
    taus = f"taus {np.exp(log_tau)} of the window, shares {share}"
    if share.min() < least_share:
        raise Failure("spare_component", f"a component has no amplitude: {taus}; fit one fewer")
    for k in range(len(log_tau) - 1):
        apart = log_tau[k + 1] - log_tau[k]
        pair = covariance[k : k + 2, k : k + 2]
        error = np.sqrt(max(pair[0, 0] + pair[1, 1] - 2 * pair[0, 1], 0.0))
        if apart < max(np.log(merged_below), 2.0 * error):
            raise Failure("merged_components", f"two components are one: {taus}; fit one fewer")
    if log_tau[-1] > np.log(100.0):
        raise Failure(
            "slow_component", f"a component does not decay in the window: {taus}; use offset=True"
        )
