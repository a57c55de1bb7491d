"""Landmarks against closed forms, whatever the sign, the baseline and the place in time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gabatone.kernels.errors import BadInput, Failure
from gabatone.kernels.recording.measure import (
    Measure,
    area_over_peak,
    charge,
    decay_time,
    describe,
    event,
    half_width,
    peak,
    rise_time,
    time_to_peak,
)

TIME = np.linspace(0.0, 0.5, 500_001)
ONSET, TAU = 0.01, 0.02
AFTER = {"window_s": (ONSET, 0.5)}


def triangle(height=1.0, zero=0.0):
    """Up from 10 to 20 ms, down to 50 ms: every landmark lies on a straight line."""
    return zero + height * np.interp(TIME, [0.01, 0.02, 0.05], [0.0, 1.0, 0.0])


@given(st.sampled_from([-1.0, 1.0]), st.floats(0.1, 1e3), st.floats(-50.0, 50.0))
def test_a_triangle_has_its_landmarks_in_either_direction_and_on_any_baseline(sign, size, zero):
    # a coarse grid that holds the corners: between samples the lines are exact
    time = np.linspace(0.0, 0.06, 601)
    current = zero + sign * size * np.interp(time, [0.01, 0.02, 0.05], [0.0, 1.0, 0.0])
    where = {"baseline_s": (0.0, 0.009)}
    got = {name: m.value for name, m in describe(time, current, onset_s=0.01, **where).items()}
    expected = {
        "peak": sign * size,
        "time to peak": 0.01,
        "rise time": 0.008,
        "decay time": 0.03 * (1.0 - np.exp(-1.0)),
        "half width": 0.005 + 0.015,
        "charge": sign * size * 0.02,
        "area over peak": 0.015,
    }
    assert got == pytest.approx(expected, rel=1e-9)


def test_an_exponential_decays_to_one_over_e_in_its_time_constant():
    current = -3.0 * np.exp(-(TIME - ONSET) / TAU) * (TIME >= ONSET)
    assert float(decay_time(TIME, current, **AFTER)) == pytest.approx(TAU, rel=1e-6)
    assert float(area_over_peak(TIME, current, **AFTER)) == pytest.approx(TAU, rel=1e-6)
    assert float(charge(TIME, current, **AFTER)) == pytest.approx(-3.0 * TAU, rel=1e-6)
    assert float(peak(TIME, current)) == pytest.approx(-3.0, rel=1e-9)
    half = decay_time(TIME, current, fraction=0.5, **AFTER)
    assert float(half) == pytest.approx(TAU * np.log(2.0), rel=1e-6)


def test_a_rising_exponential_takes_ln_9_time_constants_from_10_to_90_percent():
    current = 5.0 * (1.0 - np.exp(-np.maximum(TIME - ONSET, 0.0) / 1e-3))
    found = rise_time(TIME, current, **AFTER)
    assert float(found) == pytest.approx(1e-3 * np.log(9.0), rel=1e-5)
    part = rise_time(TIME, current, low=0.2, high=0.8, **AFTER)
    assert float(part) == pytest.approx(1e-3 * np.log(4.0), rel=1e-5)


def test_the_alpha_function():
    age = np.maximum(TIME - ONSET, 0.0) / 5e-3
    current = 2.0 * age * np.exp(1.0 - age)
    assert float(time_to_peak(TIME, current, onset_s=ONSET)) == pytest.approx(5e-3, abs=1e-6)
    assert float(charge(TIME, current)) == pytest.approx(2.0 * np.e * 5e-3, rel=1e-6)
    # roots of x exp(1 - x) = 1/2
    assert float(half_width(TIME, current)) == pytest.approx(
        (2.6783470 - 0.2319610) * 5e-3, rel=1e-5
    )


def test_last_passage_before_and_first_passage_after_the_peak_count():
    time = np.arange(12.0)
    current = np.array([0, 6, 2, 8, 10, 4, 7, 3, 0, 0, 0, 0.0])
    # up through 1 between 0 and 1, but through 5 for the last time between 2 and 3
    assert float(half_width(time, current)) == pytest.approx((4 + 5 / 6) - 2.5)


def test_the_peak_of_a_noisy_trace_is_an_average_where_asked():
    time = 1e-3 * np.arange(101)
    current = np.where((time > 0.04) & (time < 0.06), 10.0, 0.0)
    current[50] = 12.0
    assert float(peak(time, current)) == 12.0
    smooth = peak(time, current, average_s=0.0101)
    assert float(smooth) == pytest.approx(10.0 + 2.0 / 11.0)
    assert "averaged over 0.0101 s" in smooth.conditions


def test_every_result_names_window_and_conditions():
    for found in describe(TIME, triangle(-2.0, 1.0), onset_s=0.01, baseline_s=(0.0, 9e-3)).values():
        assert isinstance(found, Measure)
        assert found.window_s == (0.0, 0.5)
        assert "baseline 1 pA, mean of 0 to 0.009 s" in found.conditions
        assert found.unit in ("pA", "s", "pC") and found.name in str(found)
    assert "baseline 1 pA" in peak(TIME, triangle(2.0, 1.0), baseline_s=1.0).conditions
    assert "10-90 %" in rise_time(TIME, triangle()).conditions


def test_a_flat_trace_has_no_peak():
    for level in (0.0, -4.0):
        with pytest.raises(Failure, match="no_peak") as failed:
            peak(TIME, np.full(TIME.shape, level))
        assert failed.value.name == "no_peak"


def test_what_does_not_happen_in_the_window_fails_by_name():
    current = np.exp(-TIME / TAU)
    with pytest.raises(Failure, match="no_rise"):
        rise_time(TIME, current)
    with pytest.raises(Failure, match="no_decay"):
        decay_time(TIME, current, window_s=(0.0, 0.5 * TAU))
    with pytest.raises(Failure, match="no_decay"):
        half_width(TIME, triangle(), window_s=(0.0, 0.03))


@pytest.mark.parametrize(
    ("time", "current", "word"),
    [
        ([], [], "empty"),
        ([0.0, 1.0, 2.0], [0.0, np.nan, 1.0], r"current_pA\[1\]"),
        ([0.0, 1.0], [0.0, np.inf], r"current_pA\[1\]"),
        ([0.0, 1.0, 1.0], [0.0, 1.0, 2.0], r"time_s\[2\]"),
        ([0.0, 1.0], [0.0, 1.0, 2.0], "one current for each time"),
        ([[0.0, 1.0]], [[0.0, 1.0]], "one trace"),
    ],
)
def test_bad_traces_are_refused(time, current, word):
    with pytest.raises(BadInput, match=word):
        event(time, current)


def test_bad_windows_and_levels_are_refused():
    with pytest.raises(BadInput, match="no sample"):
        peak(TIME, triangle(), window_s=(1.0, 2.0))
    with pytest.raises(BadInput, match="baseline_s"):
        peak(TIME, triangle(), baseline_s=(-2.0, -1.0))
    with pytest.raises(BadInput, match="fraction"):
        decay_time(TIME, triangle(), fraction=0.0)
    with pytest.raises(BadInput, match="below 1"):
        rise_time(TIME, triangle(), high=1.0)
