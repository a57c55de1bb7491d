"""Noise, baseline and the whole set-up."""

import jax
import numpy as np
import pytest

from gabatone.kernels.card import read_cards
from gabatone.kernels.drive.ligand import Pulse
from gabatone.kernels.engine.simulate import simulate
from gabatone.kernels.errors import BadInput
from gabatone.kernels.receptor.catalogue import load_scheme
from gabatone.kernels.recording.amplifier import (
    INSTRUMENT_CARDS,
    Amplifier,
    load_amplifier,
    record,
    record_conductance,
)
from gabatone.kernels.recording.current import ConstantField, Ohmic, load_solutions
from gabatone.kernels.recording.filter import Bessel, lowpass
from gabatone.kernels.recording.noise import Baseline, InstrumentNoise, draw_noise
from helpers.statistics import assert_detects, assert_z

KEY, STEP = jax.random.key(5), 2e-5
WHITE = InstrumentNoise(0.5, 3e3)


def spread_z(samples, variance):
    """z of the mean square of independent normal samples against their variance."""
    ratio = np.mean(np.asarray(samples) ** 2) / variance
    return (ratio - 1.0) * np.sqrt(samples.size / 2.0)


def test_white_noise_has_its_density_before_and_after_the_filter():
    rows = draw_noise(KEY, WHITE, STEP, (20_000, 60))
    density = WHITE.density_pA2_per_Hz / (2.0 * STEP)
    assert_z(spread_z(rows, density), "white noise on the grid")
    # one sample a row is independent; what the filter passes is the sum of its squared response
    impulse = np.zeros(4000)
    impulse[1] = 1.0
    for cutoff in (2e3, 8e3):
        bessel = Bessel(cutoff)
        seen = lowpass(rows, STEP, bessel)[:, -1]
        passed = density * np.sum(lowpass(impulse, STEP, bessel) ** 2)
        assert_z(spread_z(seen, passed), f"noise through {cutoff:g} Hz")
        assert_detects(spread_z(seen, 1.21 * passed), "rms 10 % too large")
        # the stated rms: by the square root of the bandwidth
        if cutoff == 2e3:
            stated = WHITE.rms_pA**2 * cutoff / WHITE.bandwidth_Hz
            assert passed == pytest.approx(stated, rel=0.01)


def test_the_rms_is_that_seen_through_the_stated_bandwidth():
    # in the limit of a fine grid the digital filter passes what the analog one does
    impulse = np.zeros(60_000)
    impulse[1] = 1.0
    step = 1e-7
    passed = (
        np.sum(lowpass(impulse, step, Bessel(3e3)) ** 2) * WHITE.density_pA2_per_Hz / (2 * step)
    )
    assert passed == pytest.approx(WHITE.rms_pA**2, rel=1e-4)


def test_flicker_noise_follows_its_spectrum():
    rows, n, corner = 3000, 512, 2e3
    noise = InstrumentNoise(0.5, 3e3, corner)
    samples = draw_noise(KEY, noise, STEP, (rows, n))
    wide = np.fft.rfftfreq(2 * n, STEP)
    density = noise.density_pA2_per_Hz * (1.0 + corner / np.maximum(wide, wide[1]))
    # covariance of the drawn process, and from it the expected periodogram of a windowed piece
    covariance = np.fft.irfft(density / (2.0 * STEP), 2 * n)
    lag = np.abs(np.arange(n)[:, None] - np.arange(n))
    window = np.hanning(n)
    for j in (5, 40, 200):
        wave = window * np.exp(-2j * np.pi * j * np.arange(n) / n)
        expected = np.real(wave.conj() @ covariance[lag] @ wave)
        power = np.abs(samples @ wave) ** 2
        # the square of a complex normal number has a relative spread of one
        assert_z((power.mean() / expected - 1.0) * np.sqrt(rows), f"1/f noise, line {j}")
        white = noise.density_pA2_per_Hz / (2.0 * STEP) * np.sum(window**2)
        if j == 5:
            assert_detects((power.mean() / white - 1.0) * np.sqrt(rows), "no 1/f part")


def test_noise_belongs_to_key_and_row_whatever_the_precision():
    noise = InstrumentNoise(0.5, 3e3, 100.0)
    many = draw_noise(KEY, noise, STEP, (5, 64))
    np.testing.assert_array_equal(many[:2], draw_noise(KEY, noise, STEP, (2, 64)))
    assert not np.any(many[0] == many[1])
    other = draw_noise(jax.random.fold_in(KEY, 1), noise, STEP, (5, 64))
    assert not np.any(many == other)
    with jax.enable_x64(False):
        np.testing.assert_array_equal(many, draw_noise(KEY, noise, STEP, (5, 64)))


def test_a_recording_without_filter_noise_or_baseline_is_the_current():
    trace = simulate(
        KEY,
        load_scheme("jones_westbrook_1995"),
        Pulse(1e-3, 1e-3, 2e-3),
        n=50,
        t1_s=0.02,
        save_s=1e-4,
    )
    seen = record(KEY, trace, Amplifier(-60.0, Ohmic(0.0)))
    np.testing.assert_allclose(seen.current_pA, trace.current_pA(-60.0, 0.0), atol=1e-12)
    np.testing.assert_array_equal(seen.current_pA, seen.noiseless_pA)
    np.testing.assert_array_equal(seen.time_s, trace.time_s)


def test_filter_sampling_and_baseline_in_order():
    time = 1e-5 * np.arange(2001)
    conductance = 100.0 * (time >= 5e-3)
    amplifier = Amplifier(-70.0, Ohmic(-10.0), 1e-4, Bessel(2e3), None, Baseline(3.0, -50.0))
    seen = record_conductance(KEY, time, conductance, amplifier)
    assert seen.time_s.shape == (201,) and np.diff(seen.time_s) == pytest.approx(1e-4)
    assert seen.current_pA[0] == pytest.approx(3.0)
    # 100 pS at 60 mV inward of the reversal, 3 pA offset and 1 pA of drift by 20 ms
    assert seen.current_pA[-1] == pytest.approx(-6.0 + 3.0 - 1.0, rel=1e-6)
    np.testing.assert_allclose(
        seen.noiseless_pA, lowpass(-0.06 * conductance, 1e-5, Bessel(2e3))[::10]
    )


def test_the_default_set_up_says_that_it_is_assumed():
    amplifier = load_amplifier()
    assert amplifier.bessel.cutoff_Hz == 5e3 and amplifier.interval_s == 5e-5
    assert {card.status for card in read_cards(INSTRUMENT_CARDS).values()} == {"assumed"}
    for words in ("5000 Hz Bessel", "holding -60 mV", "ohmic, reversal 0 mV", "0.3 pA at 5000 Hz"):
        assert words in amplifier.conditions
    field = Amplifier(-60.0, ConstantField(load_solutions()))
    assert "constant field, reversal -76.55 mV" in field.conditions


def test_bad_set_ups_and_traces_are_refused():
    with pytest.raises(BadInput, match="half the sampling rate"):
        Amplifier(-60.0, Ohmic(0.0), 1e-4, Bessel(5e3))
    with pytest.raises(BadInput, match="holding_mV"):
        Amplifier(np.nan, Ohmic(0.0))
    with pytest.raises(BadInput, match="rms_pA"):
        InstrumentNoise(-1.0, 1e3)
    amplifier = Amplifier(-60.0, Ohmic(0.0), 1e-3, Bessel(400.0))
    with pytest.raises(BadInput, match="two samples"):
        record_conductance(KEY, np.zeros(0), np.zeros(0), amplifier)
    with pytest.raises(BadInput, match="longer than the trace"):
        record_conductance(KEY, 1e-4 * np.arange(6), np.ones(6), amplifier)
    with pytest.raises(BadInput, match=r"conductance_pS\[2\]"):
        record_conductance(KEY, 1e-4 * np.arange(3), np.array([0.0, 1.0, np.nan]), amplifier)
    with pytest.raises(BadInput, match="one conductance for each time"):
        record_conductance(KEY, 1e-4 * np.arange(3), np.ones(4), amplifier)


def test_a_recording_in_single_precision_is_the_same_to_five_digits():
    time = 2e-5 * np.arange(400)
    conductance = 540.0 * np.exp(-np.maximum(time - 1e-3, 0.0) / 2e-3) * (time >= 1e-3)
    amplifier = Amplifier(
        -60.0, ConstantField(load_solutions()), 1e-4, Bessel(4e3), WHITE, Baseline(1.0, 2.0)
    )
    wide = record_conductance(KEY, time, conductance, amplifier).current_pA
    with jax.enable_x64(False):
        narrow = record_conductance(KEY, time, conductance, amplifier).current_pA
    np.testing.assert_allclose(narrow, wide, atol=1e-5 * np.abs(wide).max())
