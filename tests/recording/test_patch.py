"""Simulated patches: sweeps, ensembles and non-stationary noise analysis with the truth known."""

import jax
import numpy as np
import pytest

from gabatone.kernels.drive.ligand import Pulse
from gabatone.kernels.engine.master import Master
from gabatone.kernels.engine.simulate import simulate
from gabatone.kernels.errors import BadInput, Failure
from gabatone.kernels.receptor.catalogue import load_scheme
from gabatone.kernels.recording.amplifier import Amplifier, Recording
from gabatone.kernels.recording.current import Ohmic
from gabatone.kernels.recording.noise import Baseline, InstrumentNoise
from gabatone.kernels.recording.patch import (
    Patch,
    analyse_noise,
    ensemble,
    record_sweeps,
    run_sweeps,
)
from helpers import law
from helpers.statistics import assert_detects, assert_pvalue, assert_z

KEY, SWEEPS = jax.random.key(31), 400
SCHEME = load_scheme("jones_westbrook_1995")
PATCH = Patch(SCHEME, 80)
DRIVE, GRID = Pulse(1e-2, 2e-3, 5e-3), {"t1_s": 0.04, "save_s": 2e-4}
CLAMP = Amplifier(
    -60.0,
    Ohmic(0.0),
    noise=InstrumentNoise(0.4, 2e3),
    baseline=Baseline(offset_pA=2.5),
)


@pytest.fixture(scope="module")
def sweeps():
    return run_sweeps(KEY, PATCH, DRIVE, n_sweeps=SWEEPS, **GRID)


@pytest.fixture(scope="module")
def recording(sweeps):
    return record_sweeps(KEY, sweeps, CLAMP)


def test_open_channels_of_all_sweeps_are_binomial(sweeps):
    total = sweeps.open_count.sum(axis=0)[[20, 30, 100]]
    n, times = SWEEPS * PATCH.n_channels, sweeps.time_s[[20, 30, 100]]
    mean = simulate(
        KEY, SCHEME, DRIVE, engine=Master(), t1_s=GRID["t1_s"], save_s=times
    ).open_probability
    assert_pvalue(law.binomial_p(total, n, mean), "open channels of a patch")
    wrong = np.asarray(mean) * 0.95
    assert_detects(p=law.binomial_p(total, n, wrong), name="5 % fewer open channels")
    np.testing.assert_allclose(sweeps.conductance_pS, 27.0 * sweeps.open_count)


def test_a_sweep_does_not_depend_on_the_others(sweeps):
    few = run_sweeps(KEY, PATCH, DRIVE, n_sweeps=2, **GRID)
    np.testing.assert_array_equal(few.open_count, sweeps.open_count[:2])
    assert not np.array_equal(few.open_count[0], few.open_count[1])
    assert sweeps.open_count.shape == (SWEEPS, 201) and sweeps.open_count.max() <= 80


@pytest.fixture(scope="module")
def analysed(recording):
    return analyse_noise(recording, window_s=(4e-3, 0.04), baseline_s=(0.0, 1.8e-3), truth=PATCH)


def test_noise_analysis_finds_current_and_number_of_channels(analysed):
    assert analysed.true_n == 80
    assert analysed.true_single_pA == pytest.approx(27.0 * -60.0 * 1e-3, rel=1e-6)
    i_error, q_error = analysed.single_error_pA, analysed.reciprocal_n_error
    assert_z((analysed.single_pA - analysed.true_single_pA) / i_error, "single-channel current")
    assert_z((analysed.reciprocal_n - 1.0 / 80.0) / q_error, "number of channels")
    assert_detects((analysed.single_pA + 27.0 * 15.0 * 1e-3) / i_error, "a quarter of the current")
    assert_detects((analysed.reciprocal_n - 3.0 / 80.0) / q_error, "a third of the channels")
    assert analysed.n_channels == pytest.approx(1.0 / analysed.reciprocal_n)


def test_it_finds_the_peak_open_probability_and_names_its_conditions(analysed, recording):
    # by definition of the three estimates
    mean = recording.current_pA.mean(axis=0)
    top = mean[recording.time_s >= 4e-3].min() - mean[recording.time_s <= 1.8e-3].mean()
    expected = top / (analysed.single_pA * analysed.n_channels)
    assert analysed.peak_open_probability == pytest.approx(expected, rel=1e-9)
    for word in ("400 sweeps", "window 0.004 to 0.04 s", "no filter", "noise 0.4 pA"):
        assert word in analysed.conditions


def synthetic(i, n, p, noise=0.0, size=200):
    """Two-valued sweeps that have mean and variance of the parabola without any error."""
    p = np.asarray(p)
    spread = np.sqrt(i**2 * n * p * (1.0 - p) + noise**2)
    signs = np.where(np.arange(size) % 2, 1.0, -1.0) * np.sqrt((size - 1) / size)
    current = i * n * p + signs[:, None] * spread
    return Recording(1e-3 * np.arange(len(p)), current, current, Amplifier(-60.0, Ohmic(0.0)))


def test_a_perfect_parabola_is_read_by_weighted_least_squares():
    recording = synthetic(-1.5, 50, np.linspace(0.05, 0.9, 40), size=10)
    found = analyse_noise(recording, window_s=(0.0, 1.0))
    # the same fit by a general solver; the square of a mean of 10 sweeps is too large by variance / 10
    mean, variance = recording.current_pA.mean(axis=0), recording.current_pA.var(axis=0, ddof=1)
    design, expected = np.column_stack([mean, variance / 10 - mean**2]), np.ones(40)
    for _ in range(3):
        i, q = np.linalg.lstsq(design / expected[:, None], variance / expected)[0]
        expected = i * mean - q * mean**2
    assert found.single_pA == pytest.approx(i, rel=1e-9)
    assert found.reciprocal_n == pytest.approx(q, rel=1e-9)
    # with many sweeps that correction is small, and the truth comes out
    many = analyse_noise(synthetic(-1.5, 50, np.linspace(0.05, 0.9, 40)), window_s=(0.0, 1.0))
    assert many.single_pA == pytest.approx(-1.5, rel=2e-3)
    assert many.n_channels == pytest.approx(50, rel=5e-3)
    assert many.true_n is None and many.true_single_pA is None


def test_a_background_is_taken_off():
    p = np.concatenate([np.zeros(10), np.linspace(0.9, 0.05, 40)])
    quiet = analyse_noise(synthetic(-1.5, 50, p), window_s=(0.01, 1.0))
    noisy = analyse_noise(
        synthetic(-1.5, 50, p, 0.7), window_s=(0.01, 1.0), baseline_s=(0.0, 0.009)
    )
    assert noisy.single_pA == pytest.approx(quiet.single_pA, rel=1e-2)
    left = analyse_noise(synthetic(-1.5, 50, p, 3.0), window_s=(0.01, 1.0))
    assert abs(left.single_pA / quiet.single_pA - 1.0) > 0.05


def test_ensemble_by_both_ways():
    current = np.random.default_rng(3).normal(size=(60, 7))
    flat = Recording(np.arange(7.0), current, current, CLAMP)
    found = ensemble(flat)
    np.testing.assert_allclose(found.mean_pA, current.mean(axis=0))
    np.testing.assert_allclose(found.variance_pA2, current.var(axis=0, ddof=1))
    # a drift from sweep to sweep enters the first only
    drifting = current + np.arange(60.0)[:, None]
    pairs = ensemble(Recording(np.arange(7.0), drifting, drifting, CLAMP), "pairs")
    expected = ((np.diff(current, axis=0) + 1.0) ** 2).mean(axis=0) / 2.0
    np.testing.assert_allclose(pairs.variance_pA2, expected)
    with pytest.raises(BadInput, match="pairs"):
        ensemble(flat, "median")


def test_bad_patches_and_analyses_are_refused(recording):
    for wrong in (0, -3, 1001):
        with pytest.raises(BadInput, match="n_channels"):
            Patch(SCHEME, wrong)
    with pytest.raises(BadInput, match="n_sweeps"):
        run_sweeps(KEY, PATCH, DRIVE, n_sweeps=0, **GRID)
    with pytest.raises(BadInput, match="fewer than three samples"):
        analyse_noise(recording, window_s=(1.0, 2.0))
    one = Recording(np.arange(4.0), np.zeros(4), np.zeros(4), CLAMP)
    with pytest.raises(BadInput, match="three sweeps"):
        ensemble(one)
    with pytest.raises(Failure, match="no_parabola"):
        analyse_noise(synthetic(-1.5, 50, np.zeros(10)), window_s=(0.0, 1.0))
    holed = np.full((5, 4), np.nan)
    with pytest.raises(BadInput, match="current_pA"):
        ensemble(Recording(np.arange(4.0), holed, holed, CLAMP))
