"""Windows of a drive: they give its value back at any time, below their bound."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gabatone.kernels.drive.ligand import Decay, Pulse, Tonic, Train, Waveform
from gabatone.kernels.drive.segments import compile_drive
from gabatone.kernels.errors import BadInput

LIGANDS = ("GABA", "allopregnanolone")
T1 = 2.0

seconds, amount = st.floats(-0.5, 2.5), st.floats(0.0, 1e-3)
name = st.sampled_from(LIGANDS)
wave = st.lists(
    st.tuples(seconds, amount), min_size=1, max_size=5, unique_by=lambda pair: pair[0]
).map(sorted)
# drives are built inside the tests: their checked constructors draw random numbers of their own
parts = st.one_of(
    st.tuples(st.just(Tonic), st.tuples(amount, name)),
    st.tuples(st.just(Pulse), st.tuples(amount, st.floats(-0.5, 1.9), st.floats(1.91, 2.5), name)),
    st.tuples(st.just(Pulse), st.tuples(amount, st.floats(-0.5, 0.9), st.floats(0.91, 1.5), name)),
    st.tuples(st.just(Decay), st.tuples(amount, st.floats(0.01, 3.0), seconds, name)),
    st.tuples(
        st.just(Train),
        st.tuples(st.lists(seconds, max_size=4).map(sorted), amount, st.floats(0.01, 1.0), name),
    ),
    st.tuples(
        st.just(Waveform), st.tuples(wave.map(lambda w: [t for t, _ in w]), wave.map(len), name)
    ),
)


def build(recipes):
    total = None
    for kind, fields in recipes:
        if kind is Waveform:
            time, seed, ligand = fields
            fields = (time, 1e-4 * (1 + np.sin(seed + 7.0 * np.arange(len(time)))), ligand)
        drive = kind(*fields)
        total = drive if total is None else total + drive
    return total


def value(segments, time_s):
    """Concentration [time, ligand] and bound [time, ligand] as the windows give them."""
    window = np.searchsorted(segments.edge_s, time_s, side="right") - 1
    t = (time_s - segments.edge_s[window])[:, None]
    conc = segments.level[window] + segments.slope[window] * t
    for k, owner in enumerate(segments.decay_ligand):
        conc[:, owner] += segments.amplitude[window, k] * np.exp(-t[:, 0] / segments.tau_s[k])
    return conc, segments.bound[window]


@settings(max_examples=100)
@given(
    st.lists(parts, min_size=1, max_size=4),
    st.lists(st.floats(0.0, T1, exclude_max=True), max_size=10),
    st.lists(st.floats(0.0, 3.0), max_size=3),
    st.sampled_from([np.inf, 0.37]),
)
def test_windows_reproduce_the_drive(recipes, time, cuts, longest):
    drive = build(recipes)
    segments = compile_drive(drive, LIGANDS, T1, cuts_s=cuts, longest_s=longest)
    assert segments.edge_s[0] == 0 and segments.edge_s[-1] == T1
    assert (segments.length_s > 0).all() and segments.length_s.max() <= longest * (1 + 1e-12)
    assert set(cut for cut in cuts if 0 < cut < T1) <= set(segments.edge_s)
    # random times, both ends of every window and points just before the end
    time = np.concatenate(
        [time, segments.edge_s[:-1], segments.edge_s[:-1] + 0.999 * segments.length_s]
    )
    found, bound = value(segments, time)
    for k, ligand in enumerate(LIGANDS):
        expected = drive.value(time, ligand)
        np.testing.assert_allclose(found[:, k], expected, rtol=1e-9, atol=1e-15)
        assert (bound[:, k] * (1 + 1e-12) + 1e-18 >= expected).all()
    assert segments.smooth or (np.asarray(segments.bound) == segments.level).all()


def test_a_bound_is_worth_its_window():
    # the bound on a decaying transient is renewed often enough to accept most draws
    segments = compile_drive(Decay(1e-3, 2e-4), ("GABA",), 2e-3)
    start, stop = segments.edge_s[:-1], segments.edge_s[1:]
    mean = 1e-3 * 2e-4 * (np.exp(-start / 2e-4) - np.exp(-stop / 2e-4)) / (stop - start)
    assert (segments.bound[:, 0] * (stop - start)).sum() < 1.4 * (mean * (stop - start)).sum()


def test_piecewise_constant_drives_are_seen_as_such():
    for drive, smooth in (
        (Tonic(1e-6), False),
        (Pulse(1e-3, 0.0, 1e-3) + Tonic(1e-6), False),
        (Train((0.1, 0.2), 1e-3, 0.01), False),
        (Decay(1e-3, 1e-4), True),
        (Waveform([0.0, 1.0], [0.0, 1e-6]), True),
        (Waveform([0.0, 1.0], [1e-6, 1e-6]), False),
    ):
        assert compile_drive(drive, ("GABA",), 1.0).smooth is smooth


def test_concentrations_of_one_window():
    segments = compile_drive(Pulse(1e-3, 0.0, 0.5) + Tonic(1e-7, "allopregnanolone"), LIGANDS, 1.0)
    assert segments.concentrations(0) == {"GABA": 1e-3, "allopregnanolone": 1e-7}
    assert segments.concentrations(1) == {"GABA": 0.0, "allopregnanolone": 1e-7}


def test_an_unknown_ligand_is_named():
    with pytest.raises(BadInput, match="glycine.*GABA.*with_steroid"):
        compile_drive(Tonic(1e-6) + Tonic(1e-6, "glycine"), ("GABA",), 1.0)


def test_a_differentiated_concentration_passes_through():
    def total(conc):
        segments = compile_drive(
            Pulse(conc, 0.0, 0.5) + Decay(2 * conc, 0.1) + Tonic(1e-6), ("GABA",), 1.0
        )
        return segments.level.sum() + segments.amplitude.sum() + segments.bound.sum()

    plain = (total(2e-3) - total(1e-3)) / 1e-3
    np.testing.assert_allclose(jax.grad(total)(1e-3), plain, rtol=1e-12)
