"""Multi-exponential fits: components recovered, errors honest, merged ones named."""

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gabatone.kernels.errors import BadInput, Failure
from gabatone.kernels.recording.fits import fit_exponentials, recovery_tau
from helpers.statistics import assert_detects, assert_z

TIME = np.linspace(0.0, 0.5, 2001)
WINDOW = (0.0, 0.5)
PUBLISHED = Path(__file__).with_name("published_deactivation.csv")


def course(amplitude, tau, offset=0.0, start=0.0):
    return np.exp(-(TIME[:, None] - start) / np.array(tau)) @ np.array(amplitude) + offset


@given(st.floats(-500.0, 500.0).filter(lambda a: abs(a) > 0.1), st.floats(2e-3, 1.0))
def test_one_exponential_is_recovered(amplitude, tau):
    fit = fit_exponentials(TIME, course([amplitude], [tau]), window_s=WINDOW)
    assert fit.tau_s[0] == pytest.approx(tau, rel=1e-6)
    assert fit.amplitude_pA[0] == pytest.approx(amplitude, rel=1e-6)
    assert fit.residual_rms_pA < 1e-9 * abs(amplitude)


@st.composite
def sums(draw):
    """Two or three components of one sign, time constants 4-fold or more apart."""
    number = draw(st.integers(2, 3))
    tau = [draw(st.floats(1.5e-3, 6e-3))]
    for _ in range(number - 1):
        tau.append(tau[-1] * draw(st.floats(4.0, 6.0)))
    sign = draw(st.sampled_from([-1.0, 1.0]))
    amplitude = [sign * draw(st.floats(0.2, 1.0)) for _ in range(number)]
    return amplitude, tau, draw(st.sampled_from([0.0, 0.3]))


@settings(max_examples=30)
@given(sums())
def test_sums_of_exponentials_are_recovered_with_and_without_offset(case):
    amplitude, tau, offset = case
    fit = fit_exponentials(
        TIME, course(amplitude, tau, offset), len(tau), window_s=WINDOW, offset=offset != 0.0
    )
    np.testing.assert_allclose(fit.tau_s, tau, rtol=1e-5)
    np.testing.assert_allclose(fit.amplitude_pA, amplitude, rtol=1e-5)
    assert fit.offset_pA == pytest.approx(offset, abs=1e-6)
    weighted = np.dot(amplitude, tau) / sum(amplitude)
    assert fit.weighted_tau_s == pytest.approx(weighted, rel=1e-5)
    np.testing.assert_allclose(fit.curve_pA(TIME), course(amplitude, tau, offset), atol=1e-7)


def test_amplitudes_belong_to_the_start_of_the_window():
    fit = fit_exponentials(TIME, course([4.0], [0.1]), window_s=(0.05, 0.4))
    assert fit.amplitude_pA[0] == pytest.approx(4.0 * np.exp(-0.5), rel=1e-9)
    assert fit.window_s == (0.05, 0.4)
    assert "1401 samples" in fit.conditions


def test_opposite_amplitudes_are_found():
    # a rise and a decay
    fit = fit_exponentials(TIME, course([-1.0, 1.0], [5e-3, 5e-2]), 2, window_s=WINDOW)
    np.testing.assert_allclose(fit.amplitude_pA, [-1.0, 1.0], rtol=1e-6)
    np.testing.assert_allclose(fit.tau_s, [5e-3, 5e-2], rtol=1e-6)


@pytest.mark.parametrize(
    ("amplitude", "tau", "components", "name"),
    [
        ([1.0], [0.05], 2, "spare_component|merged_components|slow_component"),
        ([0.5, 0.5], [0.05, 0.0525], 2, "merged_components"),
        ([0.7, 0.3], [0.01, 0.1], 3, "spare_component|merged_components|slow_component"),
        ([1.0], [200.0], 1, "slow_component"),
    ],
)
def test_components_that_are_not_there_fail_by_name(amplitude, tau, components, name):
    with pytest.raises(Failure, match=name):
        fit_exponentials(TIME, course(amplitude, tau), components, window_s=WINDOW)


def test_components_that_noise_hides_fail_by_name():
    noise = np.random.default_rng(4).normal(size=TIME.size)
    clear = course([0.6, 0.4], [0.02, 0.05])
    fit = fit_exponentials(TIME, clear + 1e-5 * noise, 2, window_s=WINDOW)
    np.testing.assert_allclose(fit.tau_s, [0.02, 0.05], rtol=1e-2)
    with pytest.raises(Failure, match="merged_components|spare_component|slow_component"):
        fit_exponentials(TIME, clear + 0.2 * noise, 2, window_s=WINDOW)


def test_standard_errors_are_those_of_the_scatter():
    random, tau, repeats = np.random.default_rng(7), np.array([0.01, 0.1]), 100
    time, clear = TIME[::8], course([0.6, 0.4], tau)[::8]
    fits = [
        fit_exponentials(
            time,
            clear + 0.01 * random.normal(size=time.size),
            2,
            window_s=WINDOW,
        )
        for _ in range(repeats)
    ]
    error = np.array([f.tau_error_s for f in fits])
    z = (np.array([f.tau_s for f in fits]) - tau) / error
    assert_z(z.mean(axis=0) * np.sqrt(repeats), "fitted taus are unbiased")
    assert_z((np.mean(z**2, axis=0) - 1.0) * np.sqrt(repeats / 2.0), "their errors are honest")
    assert_detects((np.mean(4 * z**2, axis=0) - 1.0) * np.sqrt(repeats / 2.0), "errors halved")


def test_published_deactivation_of_a_synaptic_receptor():
    """Three published components give their published weighted tau, and our fit finds them again."""
    with PUBLISHED.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert {row["status"] for row in rows} == {"read"}
    tau = [1e-3 * float(row["value"]) for row in rows[:3]]
    share = [float(row["share"]) for row in rows[:3]]
    fit = fit_exponentials(TIME, course(share, tau), 3, window_s=WINDOW)
    np.testing.assert_allclose(fit.tau_s, tau, rtol=1e-6)
    np.testing.assert_allclose(fit.shares, share, rtol=1e-6)
    published, error = (1e-3 * float(rows[3][column]) for column in ("value", "error"))
    assert abs(fit.weighted_tau_s - published) < error


def test_recovery():
    gaps = np.array([0.02, 0.05, 0.1, 0.2, 0.5, 1.0])
    found = recovery_tau(gaps, 1.0 - 0.7 * np.exp(-gaps / 0.15), application="1 mM for 0.5 s")
    assert float(found) == pytest.approx(0.15, rel=1e-6)
    assert "1 mM for 0.5 s" in found.conditions and found.window_s == (0.02, 1.0)


def test_bad_input_is_refused():
    flat = np.full(TIME.shape, 2.0)
    with pytest.raises(Failure, match="no_signal"):
        fit_exponentials(TIME, flat, window_s=WINDOW)
    with pytest.raises(BadInput, match="1, 2 or 3"):
        fit_exponentials(TIME, flat, 4, window_s=WINDOW)
    with pytest.raises(BadInput, match="3 samples for 4 unknowns"):
        fit_exponentials(TIME, flat, 2, window_s=(0.0, 0.5e-3))
    with pytest.raises(BadInput, match=r"current_pA\[0\]"):
        fit_exponentials(TIME, flat * np.nan, window_s=WINDOW)
