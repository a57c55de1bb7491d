"""Landmarks of a recorded current, measured as at the bench: peak, rise, decay, charge.

Every function takes ``(time_s, current_pA)``, both [time], and returns a `Measure` that says in
which window and under which conditions it was taken. Levels are crossed by straight lines
between samples. A current may be inward or outward; fractions are of the peak, from the baseline.
"""

from dataclasses import dataclass

import numpy as np

from gabatone.kernels.bounds import require
from gabatone.kernels.errors import BadInput, Failure


@dataclass(frozen=True)
class Measure:
    """A number with its unit, the window it was taken in, and the conditions."""

    name: str
    value: float
    unit: str
    window_s: tuple[float, float]
    conditions: str

    def __float__(self):
        return self.value

    def __str__(self):
        start, stop = self.window_s
        return (
            f"{self.name} {self.value:.6g} {self.unit} ({start:g} to {stop:g} s; {self.conditions})"
        )


@dataclass(frozen=True)
class Event:
    """A response cut out of a trace: baseline taken off, upward, with its peak at `peak_index`."""

    time_s: np.ndarray
    height_pA: np.ndarray
    sign: float
    peak_index: int
    peak_pA: float
    conditions: str

    @property
    def window_s(self) -> tuple[float, float]:
        """First and last time."""
        return float(self.time_s[0]), float(self.time_s[-1])

    @property
    def peak_time_s(self) -> float:
        """Time of the peak."""
        return float(self.time_s[self.peak_index])


def checked(time_s, current_pA) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 [time].

    Raises `BadInput` for an empty trace, times that do not increase, or a current that is
    not finite, naming the sample.
    """
    time_s, current_pA = np.asarray(time_s, np.float64), np.asarray(current_pA, np.float64)
    if time_s.ndim != 1 or time_s.shape != current_pA.shape:
        raise BadInput(
            "current_pA",
            current_pA.shape,
            f"time_s has shape {time_s.shape}",
            "give one trace, one current for each time",
        )
    if time_s.size == 0:
        raise BadInput("current_pA", 0, "the trace is empty", "give at least two samples")
    require("time_s", time_s)
    require("current_pA", current_pA)
    if np.any(np.diff(time_s) <= 0):
        k = int(np.argmax(np.diff(time_s) <= 0)) + 1
        raise BadInput(f"time_s[{k}]", float(time_s[k]), "times must increase", "sort the samples")
    return time_s, current_pA


def event(time_s, current_pA, *, window_s=None, baseline_s=None, average_s: float = 0.0) -> Event:
    """Cut a response out of a trace and find its peak.

    Parameters
    ----------
    window_s : (start, stop) or None
        Where the response is looked for; None for the whole trace.
    baseline_s : (start, stop), float or None
        Window whose mean is the baseline, a baseline in pA, or None for 0 pA.
    average_s : float
        Length around the largest sample over which the peak is averaged; 0 takes that sample,
        which noise makes too large.

    Raises
    ------
    BadInput
        As `checked`, and for a window without samples.
    Failure
        ``no_peak`` where the current does not leave one level.
    """
    time_s, current_pA = checked(time_s, current_pA)
    zero, said = 0.0, "baseline 0 pA"
    if baseline_s is not None and np.ndim(baseline_s) == 0:
        zero, said = float(baseline_s), f"baseline {float(baseline_s):g} pA"
    elif baseline_s is not None:
        zero = float(current_pA[cut(time_s, baseline_s, "baseline_s")].mean())
        said = f"baseline {zero:.4g} pA, mean of {baseline_s[0]:g} to {baseline_s[1]:g} s"
    inside = cut(time_s, window_s, "window_s")
    at, height = time_s[inside], current_pA[inside] - zero
    if np.ptp(height) == 0.0:
        raise Failure(
            "no_peak",
            f"the current stays at {height[0] + zero:g} pA from {at[0]:g} to {at[-1]:g} s; "
            "check window, drive and number of channels",
        )
    sign = 1.0 if height.max() >= -height.min() else -1.0
    k = int(np.argmax(sign * height))
    require("average_s", average_s, least=0.0)
    near = np.abs(at - at[k]) <= 0.5 * average_s
    said = f"peak averaged over {average_s:g} s; {said}" if average_s else said
    return Event(at, sign * height, sign, k, float((sign * height)[near].mean()), said)


def cut(time_s, window_s, field: str) -> np.ndarray:
    """Mask [time] of the samples of a window; `BadInput` where there is none."""
    if window_s is None:
        return np.ones(len(time_s), bool)
    require(field, window_s)
    inside = (time_s >= window_s[0]) & (time_s <= window_s[1])
    if not inside.any():
        raise BadInput(
            field,
            tuple(window_s),
            f"no sample of the trace ({time_s[0]:g} to {time_s[-1]:g} s) lies in it",
            "give (start, stop) in seconds",
        )
    return inside


def peak(time_s, current_pA, **where) -> Measure:
    """Peak current from the baseline, pA, with its sign; `where` is as in `event`."""
    e = event(time_s, current_pA, **where)
    return _measure("peak", e.sign * e.peak_pA, "pA", e, "largest deflection")


def time_to_peak(time_s, current_pA, *, onset_s: float, **where) -> Measure:
    """Time from `onset_s`, the start of the application, to the peak."""
    e = event(time_s, current_pA, **where)
    return _measure("time to peak", e.peak_time_s - onset_s, "s", e, f"from {onset_s:g} s")


def rise_time(time_s, current_pA, *, low: float = 0.1, high: float = 0.9, **where) -> Measure:
    """Time between the last passages of `low` and `high` of the peak before it.

    Raises ``Failure("no_rise")`` where the window opens above the lower level.
    """
    _fractions(low, high)
    e = event(time_s, current_pA, **where)
    span = _before(e, high) - _before(e, low)
    return _measure("rise time", span, "s", e, f"{100 * low:g}-{100 * high:g} % of the peak")


def decay_time(time_s, current_pA, *, fraction: float = float(np.exp(-1.0)), **where) -> Measure:
    """Time from the peak to the first passage of `fraction` of it (1/e unless given).

    Raises ``Failure("no_decay")`` where the window closes before that.
    """
    _fractions(fraction)
    e = event(time_s, current_pA, **where)
    span = _after(e, fraction) - e.peak_time_s
    return _measure("decay time", span, "s", e, f"from the peak to {fraction:.4g} of it")


def half_width(time_s, current_pA, **where) -> Measure:
    """Time between the passages of half the peak on both sides of it."""
    e = event(time_s, current_pA, **where)
    return _measure("half width", _after(e, 0.5) - _before(e, 0.5), "s", e, "at half the peak")


def charge(time_s, current_pA, **where) -> Measure:
    """Charge in the window, pC, by the trapezoidal rule, with its sign."""
    e = event(time_s, current_pA, **where)
    area = e.sign * float(np.trapezoid(e.height_pA, e.time_s))
    return _measure("charge", area, "pC", e, "trapezoidal rule")


def area_over_peak(time_s, current_pA, **where) -> Measure:
    """Charge from the peak to the end of the window over the peak, s.

    The mean decay time without a fit: the amplitude-weighted tau of any sum of exponentials
    that is over by the end of the window.
    """
    e = event(time_s, current_pA, **where)
    k = e.peak_index
    area = float(np.trapezoid(e.height_pA[k:], e.time_s[k:])) / e.peak_pA
    return _measure("area over peak", area, "s", e, "from the peak to the end of the window")


def describe(time_s, current_pA, *, onset_s: float, **where) -> dict[str, Measure]:
    """Peak, time to peak, 10-90 % rise, 1/e decay, half width, charge and area over peak."""
    shared = (time_s, current_pA)
    found = (
        peak(*shared, **where),
        time_to_peak(*shared, onset_s=onset_s, **where),
        rise_time(*shared, **where),
        decay_time(*shared, **where),
        half_width(*shared, **where),
        charge(*shared, **where),
        area_over_peak(*shared, **where),
    )
    return {measure.name: measure for measure in found}


def _measure(name: str, value: float, unit: str, e: Event, conditions: str) -> Measure:
    return Measure(name, float(value), unit, e.window_s, f"{conditions}; {e.conditions}")


def _fractions(*fractions: float) -> None:
    for fraction in fractions:
        require("fraction of the peak", fraction, above=0.0)
        if fraction >= 1.0:
            raise BadInput("fraction of the peak", fraction, "not below 1", "lower it")


def _before(e: Event, fraction: float) -> float:
    level = fraction * e.peak_pA
    below = np.flatnonzero(e.height_pA[: e.peak_index] < level)
    if not below.size:
        raise Failure(
            "no_rise",
            f"the current is above {fraction:g} of its peak from {e.time_s[0]:g} s on; start the "
            "window before the application and give a baseline",
        )
    return _passage(e, int(below[-1]), level)


def _after(e: Event, fraction: float) -> float:
    level = fraction * e.peak_pA
    below = np.flatnonzero(e.height_pA[e.peak_index :] <= level)
    if not below.size:
        raise Failure(
            "no_decay",
            f"the current is still above {fraction:.4g} of its peak at {e.time_s[-1]:g} s; "
            "record for longer",
        )
    return _passage(e, e.peak_index + int(below[0]) - 1, level)


def _passage(e: Event, k: int, level: float) -> float:
    y0, y1 = e.height_pA[k : k + 2]
    return float(e.time_s[k] + (level - y0) / (y1 - y0) * (e.time_s[k + 1] - e.time_s[k]))
