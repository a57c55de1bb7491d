"""Dose-response curves: EC50 and Hill slope, by fit and read off between doses."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from gabatone.kernels.bounds import require
from gabatone.kernels.errors import BadInput, Failure


@dataclass(frozen=True)
class DoseResponse:
    """EC50, Hill slope and largest response, with the application they hold for.

    An EC50 means nothing without the length of the application: peaks of long steps, of 1 ms
    pulses and the steady state differ several-fold.
    """

    ec50_M: float
    hill: float
    top: float
    residual_rms: float
    range_M: tuple[float, float]
    application: str
    method: str


def fit_hill(conc_M, response, *, application: str) -> DoseResponse:
    """Least squares fit of ``top / (1 + (EC50 / c)^hill)``, equal weight to each dose [dose].

    Raises
    ------
    BadInput
        For doses that do not increase from above 0, responses that are not finite, or fewer
        than 4 doses.
    Failure
        ``no_half_maximum`` where the EC50 lies outside the doses given.
    """
    conc, y = _doses(conc_M, response, least=4)
    log_c, scale = np.log(conc), np.abs(y).max()

    def shape(p):
        return 1.0 / (1.0 + np.exp(np.exp(p[1]) * (p[0] - log_c)))

    def top(p):
        s = shape(p)
        return (s @ y) / (s @ s)

    best = None
    for share in (0.3, 0.5, 0.7):
        start = log_c[int(np.argmin(np.abs(np.abs(y) - share * scale)))]
        for slope in (0.0, 0.7):
            found = least_squares(
                lambda p: (top(p) * shape(p) - y) / scale,
                [start, slope],
                x_scale=[1.0, 0.3],
                xtol=1e-14,
                ftol=1e-14,
                gtol=1e-14,
            )
            best = found if best is None or found.cost < best.cost else best
    ec50 = float(np.exp(best.x[0]))
    _inside(ec50, conc)
    return DoseResponse(
        ec50,
        float(np.exp(best.x[1])),
        float(top(best.x)),
        float(np.sqrt(2 * best.cost / len(y)) * scale),
        (float(conc[0]), float(conc[-1])),
        application,
        f"Hill fit to {len(y)} doses of equal weight, top free",
    )


def read_hill(conc_M, response, *, application: str) -> DoseResponse:
    """EC50 and the slope from 20 to 80 %, read off the curve between doses on a log axis.

    The top is the largest response; ``hill = log10(16) / log10(EC80 / EC20)``. Raises as
    `fit_hill`, but two doses are enough.
    """
    conc, y = _doses(conc_M, response, least=2)
    top = float(y[np.argmax(np.abs(y))])
    share = y / top
    passages = []
    for level in (0.2, 0.5, 0.8):
        above = np.flatnonzero(share >= level)
        k = int(above[0])
        if k == 0:
            raise Failure(
                "no_half_maximum",
                f"the lowest dose, {conc[0]:g} M, already gives {100 * share[0]:.3g} % of the top; "
                "go lower",
            )
        part = (level - share[k - 1]) / (share[k] - share[k - 1])
        passages.append(np.exp(np.log(conc[k - 1]) + part * np.log(conc[k] / conc[k - 1])))
    ec20, ec50, ec80 = passages
    return DoseResponse(
        float(ec50),
        float(np.log(16.0) / np.log(ec80 / ec20)),
        top,
        0.0,
        (float(conc[0]), float(conc[-1])),
        application,
        "read off between doses on a log axis; slope from 20 to 80 %",
    )


def _doses(conc_M, response, least: int) -> tuple[np.ndarray, np.ndarray]:
    conc, y = np.asarray(conc_M, np.float64), np.asarray(response, np.float64)
    if conc.ndim != 1 or conc.shape != y.shape or conc.size < least:
        raise BadInput(
            "response",
            y.shape,
            f"{conc.shape} doses",
            f"give one response for each of {least} doses or more",
        )
    require("conc_M", conc, above=0.0)
    require("response", y)
    if np.any(np.diff(conc) <= 0):
        raise BadInput("conc_M", conc.tolist()[:5], "doses must increase", "sort them")
    if not np.any(y):
        raise Failure("no_peak", "no dose gives a response")
    return conc, y


def _inside(ec50: float, conc) -> None:
    if not conc[0] <= ec50 <= conc[-1]:
        raise Failure(
            "no_half_maximum",
            f"the EC50, {ec50:.3g} M, lies outside the doses {conc[0]:g} to {conc[-1]:g} M; "
            "extend the ladder",
        )
