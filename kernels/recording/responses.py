"""Measures of whole protocols: desensitization, paired pulses, recovery, averaged miniatures."""

from dataclasses import replace

import numpy as np

from gabatone.kernels.bounds import require
from gabatone.kernels.errors import BadInput, Failure
from gabatone.kernels.recording.fits import ExponentialFit, fit_exponentials
from gabatone.kernels.recording.measure import Event, Measure, checked, event


def desensitization(time_s, current_pA, *, at_s: float, **where) -> Measure:
    """Share of the peak that is lost at time `at_s` of a long step; `where` is as in `event`.

    Raises `BadInput` where `at_s` is not between the peak and the end of the window.
    """
    e = event(time_s, current_pA, **where)
    if not e.peak_time_s <= at_s <= e.time_s[-1]:
        raise BadInput(
            "at_s",
            at_s,
            f"the peak is at {e.peak_time_s:g} s and the window ends at {e.time_s[-1]:g} s",
            "give a time of the step after the peak",
        )
    left = float(np.interp(at_s, e.time_s, e.height_pA)) / e.peak_pA
    said = f"1 - current at {at_s:g} s over the peak at {e.peak_time_s:g} s; {e.conditions}"
    return Measure("desensitization", 1.0 - left, "1", e.window_s, said)


def desensitization_fit(
    time_s, current_pA, components: int = 1, *, stop_s: float, **where
) -> ExponentialFit:
    """Exponentials and an offset from the peak to `stop_s`, the end of the step.

    ``tau_s[0]`` is the fast time constant of desensitization. Raises as `fit_exponentials`.
    """
    e = event(time_s, current_pA, **where)
    return _fit(e, components, (e.peak_time_s, stop_s), offset=True)


def decay_fit(
    time_s, current_pA, components: int = 2, *, stop_s: float, from_s=None, **where
) -> ExponentialFit:
    """Exponentials from the peak (or from `from_s`, the end of the application) to `stop_s`."""
    e = event(time_s, current_pA, **where)
    start = e.peak_time_s if from_s is None else from_s
    return _fit(e, components, (start, stop_s), offset=False)


def paired_pulse_ratio(
    time_s, current_pA, *, windows_s, baseline_s=None, second_from: str = "foot"
) -> Measure:
    """Second peak over the first.

    Parameters
    ----------
    windows_s : ((start, stop), (start, stop))
        As `PairedPulse.windows_s`.
    second_from : str
        "foot": the second peak counts from the current at the start of its window, which the
        first response may not have left yet; "baseline": from the baseline of the first.

    Raises
    ------
    BadInput
        For another `second_from`, and as `event`.
    Failure
        As `event`.
    """
    if second_from not in ("foot", "baseline"):
        raise BadInput("second_from", second_from, "not a reference", 'use "foot" or "baseline"')
    first, second = (
        event(time_s, current_pA, window_s=w, baseline_s=baseline_s) for w in windows_s
    )
    # in the direction of the first, whatever the second does
    course = second.height_pA * second.sign * first.sign
    foot = course[0] if second_from == "foot" else 0.0
    ratio = float(course.max() - foot) / first.peak_pA
    said = f"second from its {second_from}; first window {first.window_s}; {first.conditions}"
    return Measure("paired-pulse ratio", ratio, "1", second.window_s, said)


def average_events(time_s, current_pA, *, align: str = "release") -> np.ndarray:
    """Average of miniatures [event, time] that share the time axis.

    Parameters
    ----------
    align : str
        "release" averages as they are; "rise" first moves each event by whole samples until
        its half rise falls on that of the average, which hides a scatter of latencies.

    Raises
    ------
    BadInput
        For no events, a current that is not finite or another `align`.
    Failure
        ``no_peak`` where an event is flat.
    """
    current = np.asarray(current_pA, np.float64)
    if current.ndim != 2 or len(current) == 0:
        raise BadInput("current_pA", current.shape, "no events", "give [event, time]")
    require("current_pA", current)
    mean = checked(time_s, current.mean(axis=0))[1]
    if align == "release":
        return mean
    if align != "rise":
        raise BadInput("align", align, "not a way to align", 'use "release" or "rise"')
    target = _half_rise(time_s, mean)
    moved = []
    for row in current:
        shift = _half_rise(time_s, row) - target
        held = np.concatenate([np.full(abs(shift), row[0]), row, np.full(abs(shift), row[-1])])
        moved.append(held[abs(shift) + shift :][: len(row)])
    return np.mean(moved, axis=0)


def _fit(e: Event, components: int, window_s, *, offset: bool) -> ExponentialFit:
    course = e.sign * e.height_pA
    fit = fit_exponentials(e.time_s, course, components, window_s=window_s, offset=offset)
    return replace(fit, conditions=f"{fit.conditions}; {e.conditions}")


def _half_rise(time_s, current) -> int:
    e = event(time_s, current)
    below = np.flatnonzero(e.height_pA[: e.peak_index] < 0.5 * e.peak_pA)
    if not below.size:
        raise Failure("no_rise", "an event starts above half its peak; begin before the release")
    return int(below[-1]) + 1
