"""Relaxations, noise, variance and dose-response against closed forms and integrals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import simpson
from scipy.linalg import expm

from gabatone.kernels.errors import BadInput, Failure
from gabatone.kernels.receptor.catalogue import load_scheme
from gabatone.kernels.receptor.partition import partition, partition_of
from gabatone.kernels.receptor.relaxation import (
    autocovariance,
    equilibrium_dose_response,
    fit_parabola,
    lorentzians,
    noise_spectrum,
    parabola,
    relaxation,
    response,
    variance,
)
from helpers.schemes import reversible_schemes, write_scheme

ON, OFF = 30.0, 120.0
TWO = partition_of([[-ON, ON], [OFF, -OFF]], [False, True])
P, RATE = ON / (ON + OFF), ON + OFF
# a ring that runs one way, with an exit
RING = np.array(
    [[-110.0, 100.0, 0, 10.0], [0, -100.0, 100.0, 0], [100.0, 0, -100.0, 0], [40.0, 0, 0, -40.0]]
)


def test_two_states():
    t, f = np.array([0.0, 1e-3, 0.05]), np.array([0.0, 10.0, 500.0])
    found = relaxation(TWO, [1.0, 0.0])
    np.testing.assert_allclose(found.value(t), P * (1 - np.exp(-RATE * t)), atol=1e-15)
    assert found.weighted_tau_s == pytest.approx(1 / RATE, rel=1e-13)
    np.testing.assert_allclose(autocovariance(TWO, t), P * (1 - P) * np.exp(-RATE * t), rtol=1e-12)
    # one-sided: 4 var tau / (1 + (2 pi f tau)^2)
    wanted = 4 * P * (1 - P) / RATE / (1 + (2 * np.pi * f / RATE) ** 2)
    np.testing.assert_allclose(noise_spectrum(TWO, f), wanted, rtol=1e-12)
    found = lorentzians(TWO)
    np.testing.assert_allclose(found.spectrum(f), wanted, rtol=1e-12)
    np.testing.assert_allclose(found.corner_Hz, RATE / (2 * np.pi), rtol=1e-13)


@settings(max_examples=25)
@given(reversible_schemes(), st.lists(st.floats(0.0, 2.0), min_size=6, max_size=6))
def test_random_schemes(made, weights):
    scheme = made.scheme
    channel = partition(scheme, {"GABA": 1e-6} if "GABA" in scheme.ligands else {})
    w = np.array(weights[: scheme.n_states])
    start = np.eye(scheme.n_states)[0]
    rates = relaxation(channel, start, w).rates_per_s
    t = np.concatenate([[0.0], np.geomspace(0.1 / rates.max(), 10 / rates.min(), 6)])
    occupancy = response(channel, start, t)
    np.testing.assert_allclose(occupancy[3], start @ expm(channel.generator * t[3]), atol=1e-12)
    np.testing.assert_allclose(relaxation(channel, start, w).value(t), occupancy @ w, atol=1e-9)
    # a spectrum holds the variance, and so does the autocovariance at 0
    p = channel.equilibrium
    total = float(variance(p, w))
    scale = max(total, 1e-9)
    assert autocovariance(channel, 0.0, w) == pytest.approx(total, abs=1e-9 * scale)
    found = lorentzians(channel, w)
    assert found.variance == pytest.approx(total, abs=1e-8 * scale)
    f = np.geomspace(1e-7 * found.corner_Hz.min(), 1e7 * found.corner_Hz.max(), 800)
    spectrum = noise_spectrum(channel, f, w)
    np.testing.assert_allclose(found.spectrum(f), spectrum, atol=1e-8 * max(spectrum.max(), 1e-12))
    integral = np.trapezoid(spectrum * f, np.log(f))
    assert integral == pytest.approx(total, abs=1e-5 * scale)
    assert float(variance(p, channel.is_open)) == pytest.approx(
        channel.open_probability * (1 - channel.open_probability), rel=1e-9
    )


def test_a_ring_has_a_spectrum_but_no_components():
    channel = partition_of(RING, [True, False, False, False])
    for law in (lorentzians, lambda c: relaxation(c, np.eye(4)[3])):
        with pytest.raises(Failure, match="complex_rates"):
            law(channel)
    # Wiener and Khinchin: S(f) = 4 int C(t) cos(2 pi f t) dt
    t, step = np.linspace(0.0, 0.6, 6001), expm(RING * 1e-4)
    opened = channel.is_open.astype(float)
    still, joint = opened, []
    for _ in t:
        joint.append((channel.equilibrium * opened) @ still)
        still = step @ still
    covariance = np.array(joint) - channel.open_probability**2
    np.testing.assert_allclose(autocovariance(channel, t[::1000]), covariance[::1000], atol=1e-13)
    for f in (0.0, 15.0, 60.0):
        wanted = 4 * simpson(covariance * np.cos(2 * np.pi * f * t), x=t)
        assert float(noise_spectrum(channel, f)) == pytest.approx(wanted, rel=1e-5)
    # the noise peaks near the ring's own frequency
    assert noise_spectrum(channel, 1e3) < noise_spectrum(channel, 0.0)


def test_variance_along_a_response_is_a_parabola():
    scheme = load_scheme("jones_westbrook_1995")
    n, unit_pA = 250, 2.1
    start = np.asarray(scheme.initial_occupancy(), float)
    channel = partition(scheme, {"GABA": 1e-3})
    occupancy = response(channel, start, np.linspace(0.0, 0.02, 60))
    current = unit_pA * channel.is_open
    mean, spread = n * occupancy @ current, variance(occupancy, current, n)
    p = occupancy[:, channel.is_open].sum(axis=1)
    np.testing.assert_allclose(spread, n * p * (1 - p) * unit_pA**2, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(parabola(mean, unit_pA, n), spread, rtol=1e-9, atol=1e-9)
    found = fit_parabola(mean, spread)
    np.testing.assert_allclose(found, (unit_pA, n), rtol=1e-8)
    for points in ([1.0, 2.0, 3.0], [1.0, 4.0, 9.0]):
        with pytest.raises(BadInput, match="opens downward"):
            fit_parabola([1.0, 2.0, 3.0], points)


def line_scheme(tmp_path, *, affinity_M, efficacy, block_M=None):
    """C <-> B <-> O, and a further agonist that blocks O."""
    states = [("C", "closed"), ("B", "closed"), ("O", "open")]
    transitions = [
        ("C", "B", 1e8, "GABA"),
        ("B", "C", 1e8 * affinity_M),
        ("B", "O", 100.0 * efficacy),
        ("O", "B", 100.0),
    ]
    if block_M is not None:
        states.append(("X", "desensitized"))
        transitions += [("O", "X", 1e7, "GABA"), ("X", "O", 1e7 * block_M)]
    path = write_scheme(tmp_path / "line.toml", states, transitions, initial="C")
    return load_scheme(path)


def test_dose_response_in_closed_form(tmp_path):
    affinity, efficacy = 2e-5, 9.0
    found = equilibrium_dose_response(line_scheme(tmp_path, affinity_M=affinity, efficacy=efficacy))
    # P = E x / (1 + (1 + E) x), x = c / K: half of E / (1 + E) at c = K / (1 + E)
    assert found.least == 0.0
    assert found.most == pytest.approx(efficacy / (1 + efficacy), rel=1e-12)
    assert found.ec50_M == pytest.approx(affinity / (1 + efficacy), rel=1e-11)
    assert found.hill == pytest.approx(1.0, rel=1e-8)


def test_a_curve_that_falls_again(tmp_path):
    affinity, efficacy, block = 2e-5, 9.0, 1e-2
    scheme = line_scheme(tmp_path, affinity_M=affinity, efficacy=efficacy, block_M=block)
    found = equilibrium_dose_response(scheme)
    # P = E x / (1 + x (1 + E) + E x^2 K / B), highest at x^2 = B / (E K)
    x = np.sqrt(block / (efficacy * affinity))
    ratio = efficacy * affinity / block
    peak = efficacy * x / (1 + x * (1 + efficacy) + ratio * x**2)
    assert found.most == pytest.approx(peak, rel=1e-9)
    roots = np.roots([ratio * peak / 2, peak / 2 * (1 + efficacy) - efficacy, peak / 2])
    assert found.ec50_M == pytest.approx(affinity * roots.min(), rel=1e-8)


def test_what_is_refused():
    scheme = load_scheme("jones_westbrook_1995")
    with pytest.raises(BadInput, match="no transition that depends on"):
        equilibrium_dose_response(scheme, "glycine")
    for start in ([1.0], [0.7, 0.7], [2.0, -1.0]):
        with pytest.raises(BadInput, match="start"):
            relaxation(TWO, start)
    for weights in ([1.0], [1.0, np.nan]):
        with pytest.raises(BadInput, match="weights"):
            noise_spectrum(TWO, 1.0, weights)
    with pytest.raises(BadInput, match="t_s"):
        response(TWO, [1.0, 0.0], [-1.0])


def test_a_ligand_that_shuts_is_no_agonist(tmp_path):
    states = [("O", "open"), ("C", "closed")]
    path = write_scheme(
        tmp_path / "shuts.toml", states, [("O", "C", 1e8, "GABA"), ("C", "O", 10.0)], initial="O"
    )
    with pytest.raises(BadInput, match="does not raise"):
        equilibrium_dose_response(load_scheme(path))
