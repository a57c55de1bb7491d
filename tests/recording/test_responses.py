"""Desensitization, paired pulses and averaged miniatures against closed forms."""

import numpy as np
import pytest

from gabatone.kernels.errors import BadInput, Failure
from gabatone.kernels.recording.measure import peak
from gabatone.kernels.recording.responses import (
    average_events,
    decay_fit,
    desensitization,
    desensitization_fit,
    paired_pulse_ratio,
)

TIME = np.linspace(0.0, 1.0, 10_001)


def step(sign=1.0, zero=0.0):
    """A step from 0.1 s that loses 60 % with 50 ms, and is off from 0.9 s on."""
    age = TIME - 0.1
    on = (age >= 0) & (TIME < 0.9)
    return zero + sign * 4.0 * on * (0.4 + 0.6 * np.exp(-age / 0.05))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_desensitization_of_a_step(sign):
    where = {"window_s": (0.0, 0.9), "baseline_s": (0.0, 0.09)}
    found = desensitization(TIME, step(sign, 7.0), at_s=0.2, **where)
    assert float(found) == pytest.approx(0.6 * (1.0 - np.exp(-2.0)), rel=1e-9)
    assert "peak at 0.1 s" in found.conditions and "baseline 7 pA" in found.conditions
    fit = desensitization_fit(TIME, step(sign, 7.0), stop_s=0.8, **where)
    assert fit.tau_s[0] == pytest.approx(0.05, rel=1e-6)
    assert fit.offset_pA == pytest.approx(sign * 1.6, rel=1e-6)
    assert fit.amplitude_pA[0] == pytest.approx(sign * 2.4, rel=1e-6)
    assert "baseline 7 pA" in fit.conditions and fit.window_s == (0.1, 0.8)
    with pytest.raises(BadInput, match="at_s"):
        desensitization(TIME, step(sign), at_s=0.05, **where)


def test_a_decay_is_fitted_from_the_peak_or_from_a_given_time():
    current = -np.exp(-(TIME - 0.2) / 0.1) * (TIME >= 0.2)
    for start, amplitude in ((None, -1.0), (0.3, -np.exp(-1.0))):
        fit = decay_fit(TIME, current, 1, stop_s=0.9, from_s=start)
        assert fit.tau_s[0] == pytest.approx(0.1, rel=1e-8)
        assert fit.amplitude_pA[0] == pytest.approx(amplitude, rel=1e-6)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_paired_pulse_ratio_from_foot_and_from_baseline(sign):
    def pulse(start, size):
        return size * np.exp(-np.maximum(TIME - start, 0.0) / 0.2) * (TIME >= start)

    current = sign * (pulse(0.1, 2.0) + pulse(0.5, 1.0))
    windows = ((0.05, 0.4999), (0.4999, 1.0))
    left = 2.0 * np.exp(-0.4 / 0.2)
    foot = paired_pulse_ratio(TIME, current, windows_s=windows)
    assert float(foot) == pytest.approx(0.5, abs=1e-4)
    base = paired_pulse_ratio(TIME, current, windows_s=windows, second_from="baseline")
    assert float(base) == pytest.approx((1.0 + left) / 2.0, rel=1e-6)
    assert "second from its baseline" in base.conditions
    with pytest.raises(BadInput, match="second_from"):
        paired_pulse_ratio(TIME, current, windows_s=windows, second_from="top")
    with pytest.raises(Failure, match="no_peak"):
        paired_pulse_ratio(TIME, 0.0 * current, windows_s=windows)


def test_averages_of_miniatures():
    def mini(start):
        return -10.0 * np.exp(-np.maximum(TIME - start, 0.0) / 0.05) * (TIME >= start)

    scattered = np.stack([mini(0.2), mini(0.21), mini(0.22)])
    flat = average_events(TIME, scattered)
    np.testing.assert_allclose(flat, scattered.mean(axis=0))
    # scattered latencies blunt the average; aligned on the rise they do not
    assert float(peak(TIME, flat)) > -9.0
    sharp = average_events(TIME, scattered, align="rise")
    assert float(peak(TIME, sharp)) == pytest.approx(-10.0, rel=1e-9)
    np.testing.assert_allclose(sharp[:9000], mini(TIME[np.argmin(sharp)])[:9000], atol=1e-9)


def test_bad_events_are_refused():
    with pytest.raises(BadInput, match="no events"):
        average_events(TIME, np.zeros((0, TIME.size)))
    with pytest.raises(BadInput, match="current_pA"):
        average_events(TIME, np.full((2, TIME.size), np.nan))
    with pytest.raises(BadInput, match="align"):
        average_events(TIME, np.ones((2, TIME.size)), align="peak")
    with pytest.raises(Failure, match="no_peak"):
        average_events(TIME, np.ones((2, TIME.size)), align="rise")
