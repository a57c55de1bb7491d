"""The Bessel filter against its definition, and sampling."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, signal

from gabatone.kernels.errors import BadInput
from gabatone.kernels.recording.filter import Bessel, lowpass, resample, uniform_step

CUTOFF, STEP = 1e3, 1e-6


def step_response():
    """Of the digital filter, from a step at sample 100 (0.1 ms)."""
    samples = (np.arange(6000) >= 100).astype(float)
    return (np.arange(6000) - 99.5) * STEP, lowpass(samples, STEP, Bessel(CUTOFF))


@given(st.floats(10.0, 2e4), st.floats(2.1, 1e3))
def test_half_the_power_passes_at_the_cutoff_and_all_of_it_at_zero(cutoff, oversampling):
    rate = oversampling * cutoff
    _, response = signal.freqz_sos(Bessel(cutoff).sections(1.0 / rate), worN=[0.0, cutoff], fs=rate)
    assert abs(response[0]) == pytest.approx(1.0, abs=1e-9)
    assert abs(response[1]) ** 2 == pytest.approx(0.5, abs=1e-6)


def test_the_analog_gain_is_that_of_the_fourth_bessel_polynomial():
    # B4(s) = s^4 + 10 s^3 + 45 s^2 + 105 s + 105, with s scaled to -3 dB at the cutoff
    _, poles, gain = Bessel(CUTOFF)._analog()
    coefficients = np.poly(poles).real
    scale = (coefficients[-1] / 105.0) ** 0.25
    expected = np.array([1.0, 10.0, 45.0, 105.0, 105.0]) * scale ** np.arange(5)
    np.testing.assert_allclose(coefficients, expected, rtol=1e-12)
    assert gain.real == pytest.approx(expected[-1], rel=1e-12)


def test_step_response_is_causal_late_by_the_delay_and_overshoots_less_than_one_percent():
    time, y = step_response()
    assert np.all(y[:100] == 0.0)
    assert 1.0 < y.max() < 1.01 and y.min() >= 0.0
    assert y[-1] == pytest.approx(1.0, abs=1e-6)
    # delay: the area that is missing below the step
    assert np.sum(1.0 - y[100:]) * STEP == pytest.approx(Bessel(CUTOFF).delay_s, rel=2e-3)
    low, high = (np.interp(f, y[: y.argmax()], time[: y.argmax()]) for f in (0.1, 0.9))
    assert high - low == pytest.approx(Bessel(CUTOFF).rise_s, rel=1e-4)


def test_stated_delay_rise_and_bandwidth():
    bessel = Bessel(CUTOFF)
    assert bessel.delay_s * CUTOFF == pytest.approx(0.3364, abs=1e-4)
    assert bessel.rise_s * CUTOFF == pytest.approx(0.3501, abs=1e-4)
    _, poles, gain = bessel._analog()
    power = integrate.quad(
        lambda f: abs(gain / np.prod(2j * np.pi * f - poles)) ** 2, 0.0, np.inf, epsabs=0.0
    )[0]
    assert bessel.noise_bandwidth_Hz == pytest.approx(power, rel=1e-7)
    # and they scale with the cutoff
    assert Bessel(2 * CUTOFF).rise_s == pytest.approx(bessel.rise_s / 2, rel=1e-9)


def test_a_level_passes_unchanged_and_each_row_by_itself():
    rows = np.stack([np.full(50, -3.5), np.linspace(0.0, 1.0, 50)])
    both = lowpass(rows, 1e-4, Bessel(CUTOFF))
    np.testing.assert_allclose(both[0], -3.5, rtol=1e-12)
    np.testing.assert_array_equal(both[1], lowpass(rows[1], 1e-4, Bessel(CUTOFF)))


@pytest.mark.parametrize("cutoff", [5000.0, 6000.0])
def test_a_cutoff_at_half_the_sampling_rate_is_refused(cutoff):
    with pytest.raises(BadInput, match="half the sampling rate, 5000 Hz"):
        lowpass(np.zeros(10), 1e-4, Bessel(cutoff))


def test_a_bad_cutoff_is_refused():
    for cutoff in (0.0, -1.0, np.nan):
        with pytest.raises(BadInput, match="cutoff_Hz"):
            Bessel(cutoff)


@given(st.integers(1, 20), st.integers(40, 80))
def test_whole_multiples_take_every_kth_sample(every, length):
    time = 1e-4 * np.arange(length)
    samples = np.random.default_rng(0).normal(size=(3, length))
    at, taken = resample(time, samples, every * 1e-4)
    np.testing.assert_array_equal(at, time[::every])
    np.testing.assert_array_equal(taken, samples[:, ::every])


def test_other_intervals_follow_straight_lines():
    time = 1e-4 * np.arange(101)
    at, taken = resample(time, np.stack([2.0 * time, -time]), 3.3e-4)
    np.testing.assert_allclose(at, 3.3e-4 * np.arange(31), atol=1e-15)
    np.testing.assert_allclose(taken, np.stack([2.0 * at, -at]), atol=1e-15)


@pytest.mark.parametrize(("interval", "word"), [(0.02, "longer than the trace"), (5e-5, "shorter")])
def test_intervals_outside_the_trace_are_refused(interval, word):
    with pytest.raises(BadInput, match=word):
        resample(1e-4 * np.arange(101), np.zeros(101), interval)


def test_uneven_and_empty_grids_are_refused():
    with pytest.raises(BadInput, match="two samples"):
        uniform_step(np.zeros(0))
    with pytest.raises(BadInput, match="not uniform"):
        uniform_step(np.array([0.0, 1e-3, 3e-3]))
    with pytest.raises(BadInput, match="increase"):
        uniform_step(np.array([1e-3, 0.0]))
