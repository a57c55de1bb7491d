"""Protocols: their drives, windows and runs."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gabatone.kernels.card import read_cards
from gabatone.kernels.drive.ligand import Tonic, Waveform
from gabatone.kernels.engine.channels import Channels
from gabatone.kernels.engine.master import Master
from gabatone.kernels.errors import BadInput
from gabatone.kernels.receptor.catalogue import load_scheme
from gabatone.kernels.recording.dose import fit_hill
from gabatone.kernels.recording.measure import decay_time, peak, rise_time
from gabatone.kernels.recording.protocols import (
    APPLICATION_CARDS,
    Applied,
    DoseLadder,
    Jump,
    Miniature,
    PairedPulse,
    Recovery,
    load_exchange_s,
    load_miniature,
    run_each,
    run_protocol,
)
from gabatone.kernels.recording.responses import paired_pulse_ratio

KEY = jax.random.key(3)
SCHEME = load_scheme("destexhe_1994_2state")


def course(scheme, protocol):
    trace = run_protocol(KEY, scheme, protocol, engine=Master())
    return trace.time_s, np.asarray(trace.open_probability)


@settings(max_examples=30)
@given(st.floats(1e-5, 1e-2), st.floats(1e-4, 1e-3), st.floats(0.0, 1e-2))
def test_an_exchange_takes_its_10_to_90_percent_time_both_ways(conc, exchange, start):
    jump = Jump(conc, start, 0.02, 0.05, 1e-4, exchange_s=exchange)
    time = np.linspace(start, start + 2 * exchange, 4001)
    found = rise_time(time, jump.drive.value(time), baseline_s=0.0)
    assert float(found) == pytest.approx(exchange, rel=1e-6)
    falling = jump.stop_s + time - start
    value = jump.drive.value(falling)
    low, high = (np.interp(-f * conc, -value, falling) for f in (0.9, 0.1))
    assert high - low == pytest.approx(exchange, rel=1e-6)
    assert jump.drive.value([jump.stop_s])[0] == pytest.approx(conc)


def test_an_ideal_jump_is_a_rectangle():
    jump = Jump(1e-3, 0.01, 0.02, 0.05, 1e-4)
    value = jump.drive.value([0.0, 0.0099, 0.01, 0.0299, 0.03, 0.05])
    np.testing.assert_array_equal(value, [0.0, 0.0, 1e-3, 1e-3, 0.0, 0.0])
    assert jump.windows_s == ((0.01, 0.05),) and jump.stop_s == pytest.approx(0.03)


def test_a_slow_exchange_slows_the_rise():
    fast, slow = (
        float(rise_time(*course(SCHEME, Jump(1e-2, 0.0, 5e-3, 0.02, 5e-5, exchange_s=x))))
        for x in (0.0, 2e-3)
    )
    assert slow > fast + 3e-4


def test_paired_pulses_and_their_windows():
    pair = PairedPulse(1e-3, 2e-3, 0.03, 1e-3, 0.1, 1e-4, start_s=5e-3)
    value = pair.drive.value([0.0, 5e-3, 6e-3, 8e-3, 0.0371, 0.0379, 0.039])
    np.testing.assert_array_equal(value > 0, [False, True, True, False, True, True, False])
    assert pair.windows_s == ((5e-3, pair.second_start_s), (pair.second_start_s, 0.1))
    assert pair.second_start_s == pytest.approx(0.037)


def test_two_states_give_equal_pulses_after_a_long_gap_and_summation_after_a_short_one():
    # no desensitization: from its foot, the second peak misses what was still open
    long = PairedPulse(1e-3, 1e-3, 0.1, 1e-3, 0.15, 1e-4)
    time, p = course(SCHEME, long)
    ratio = paired_pulse_ratio(time, p, windows_s=long.windows_s)
    assert float(ratio) == pytest.approx(1.0, abs=1e-6)
    short = PairedPulse(1e-3, 1e-3, 2e-3, 1e-3, 0.05, 1e-4)
    time, p = course(SCHEME, short)
    summed = paired_pulse_ratio(time, p, windows_s=short.windows_s, second_from="baseline")
    # one pulse takes p to p r + s: the second starts from e^(-gap / tau) of the first peak s
    on = np.asarray(SCHEME.generator({"GABA": 1e-3}), float)
    off = np.asarray(SCHEME.generator({}), float)
    kept = np.exp((on[0, 0] + on[1, 1]) * 1e-3) * np.exp(off[1, 0] * -2e-3)
    assert float(summed) == pytest.approx(1.0 + kept, rel=1e-6)


def test_desensitization_lowers_the_second_pulse():
    scheme = load_scheme("jones_westbrook_1995")
    pair = PairedPulse(1e-3, 5e-3, 0.02, 5e-3, 0.1, 2e-4)
    time, p = course(scheme, pair)
    assert float(paired_pulse_ratio(time, p, windows_s=pair.windows_s)) < 0.6


def test_a_dose_ladder_of_two_states_has_the_ec50_of_its_law():
    # at equilibrium p = k c / (k c + r), so EC50 = r / k
    ladder = DoseLadder(np.geomspace(1e-7, 1e-2, 12), 1.0, 1.0, np.array([0.999]))
    traces = run_each(KEY, SCHEME, ladder.steps, engine=Master())
    steady = [float(t.open_probability[0]) for t in traces]
    found = fit_hill(ladder.conc_M, steady, application=ladder.application)
    k = float(np.asarray(SCHEME.generator({"GABA": 1.0}))[0, 1])
    r = float(np.asarray(SCHEME.generator({}))[1, 0])
    assert found.ec50_M == pytest.approx(r / k, rel=1e-5)
    assert found.hill == pytest.approx(1.0, rel=1e-5)
    assert found.application == "1 s step, exchange 0 s (10-90 %)"


def test_recovery_runs_one_pair_for_each_gap():
    recovery = Recovery(1e-3, 0.2, [0.02, 0.1], 5e-3, 0.05, 1e-4, start_s=0.01)
    assert [p.gap_s for p in recovery.pairs] == [0.02, 0.1]
    for pair in recovery.pairs:
        assert pair.second_start_s == pytest.approx(0.21 + pair.gap_s)
        assert pair.t1_s == pytest.approx(pair.second_start_s + 5e-3 + 0.05)


def test_the_default_miniature_is_read_and_declared():
    mini = load_miniature(0.05, 1e-4, start_s=1e-3)
    assert (mini.peak_M, mini.tau_s) == (3e-3, 2e-4)
    np.testing.assert_allclose(
        mini.drive.value([0.0, 1e-3, 1.2e-3]), [0.0, 3e-3, 3e-3 * np.exp(-1.0)]
    )
    cards = read_cards(APPLICATION_CARDS)
    assert cards["transient_peak"].firm and cards["transient_decay"].firm
    assert cards["exchange"].status == "assumed" and load_exchange_s() == 2e-4
    # the two-state receptor closes with one time constant after it
    time, p = course(SCHEME, mini)
    closing = float(np.asarray(SCHEME.generator({}))[1, 0])
    late = decay_time(time, p, window_s=(0.01, 0.05))
    assert float(late) == pytest.approx(1.0 / closing, rel=1e-3)


def test_the_dose_of_an_ideal_jump_and_of_a_miniature_may_be_differentiated():
    at = np.array([1e-3, 3e-3])

    def given_by(conc):
        jump = Jump(conc, 0.0, 2e-3, 4e-3, 1e-3).drive
        mini = Miniature(conc, 2e-4, 4e-3, 1e-3).drive
        return jump.level(at, at)[0].sum() + mini.decays(at, at)[0][0].sum()

    expected = 1.0 + np.exp(-at / 2e-4).sum()
    assert float(jax.grad(given_by)(1e-3)) == pytest.approx(expected, rel=1e-12)


def test_background_ligands_join_the_application():
    jump = Jump(1e-3, 0.0, 1e-3, 0.01, 1e-3, background=Tonic(2e-6) + Tonic(1e-7, "steroid"))
    assert jump.drive.value([5e-4])[0] == pytest.approx(1.002e-3)
    assert jump.drive.value([5e-4], "steroid")[0] == 1e-7


def test_a_waveform_from_a_file_is_a_protocol(tmp_path):
    path = tmp_path / "gaba.csv"
    path.write_text("time_s,conc_M\n0,0\n0.001,0.001\n0.003,0\n")
    protocol = Applied(Waveform.from_csv(path), 0.02, 1e-4)
    trace = run_protocol(KEY, SCHEME, protocol, engine=Channels(), n=200)
    assert trace.n == 200 and trace.open_count.max() > 0
    assert float(peak(trace.time_s, -np.asarray(trace.open_count))) < 0
    for text, word in (
        ("0,0\n0.001,-0.001\n", "negative"),
        ("0,0\n0.002,0.001\n0.001,0\n", "increasing"),
    ):
        path.write_text("time_s,conc_M\n" + text)
        with pytest.raises(BadInput, match=word):
            Applied(Waveform.from_csv(path), 0.02, 1e-4)


def test_protocols_that_cannot_be_are_refused():
    with pytest.raises(BadInput, match="record ends before"):
        Jump(1e-3, 0.01, 0.02, 0.025, 1e-4)
    with pytest.raises(BadInput, match="length of a part"):
        Jump(1e-3, 0.0, 1e-4, 0.02, 1e-5, exchange_s=1e-4)
    with pytest.raises(BadInput, match="length of a part"):
        PairedPulse(1e-3, 1e-3, -0.01, 1e-3, 0.1, 1e-4)
    with pytest.raises(BadInput, match="start_s"):
        Miniature(3e-3, 2e-4, 0.05, 1e-4, start_s=-1.0)
    with pytest.raises(BadInput, match="conc_M"):
        run_protocol(KEY, SCHEME, Jump(-1e-3, 0.0, 1e-3, 0.02, 1e-4))
    for doses in ([1e-3], [1e-3, 1e-4], [0.0, 1e-3]):
        with pytest.raises(BadInput, match="DoseLadder.conc_M"):
            DoseLadder(doses, 0.1, 0.1, 1e-3)
    with pytest.raises(BadInput, match="gaps_s"):
        Recovery(1e-3, 0.2, [0.0], 5e-3, 0.05, 1e-4)
