"""Individual paths: the integers depend on key and channel number only, and each step has its law."""

import equinox as eqx
import jax
import numpy as np
import pytest

from gabatone.kernels.drive.ligand import Decay, Pulse, Tonic, Waveform
from gabatone.kernels.engine import channels
from gabatone.kernels.engine.channels import Channels
from gabatone.kernels.engine.simulate import simulate
from gabatone.kernels.receptor.catalogue import load_scheme, load_steroid
from helpers import law
from helpers.schemes import edge_named
from helpers.statistics import assert_chi2, assert_detects, assert_pvalue

KEY = jax.random.key(2024)
JONES = load_scheme("jones_westbrook_1995")


def run(scheme, drive, n, t1_s, save_s, engine=None, p0=None, key=KEY):
    trace = simulate(
        key, scheme, drive, engine=engine or Channels(), n=n, t1_s=t1_s, save_s=save_s, p0=p0
    )
    return np.asarray(trace.occupancy)


@pytest.mark.parametrize(
    "drive",
    [Pulse(1e-3, 0.0, 1e-3) + Tonic(1e-6), Decay(3e-3, 2e-4) + Tonic(1e-6)],
    ids=["constant", "smooth"],
)
def test_chunk_and_lanes_change_nothing(drive):
    expected = run(JONES, drive, 1000, 5e-3, 1e-3)
    for lanes, chunk in ((7, 1000), (512, 90), (1, 300)):
        found = run(JONES, drive, 1000, 5e-3, 1e-3, Channels(lanes=lanes, chunk=chunk))
        np.testing.assert_array_equal(found, expected)


def test_precision_of_the_rest_of_the_program_changes_nothing():
    expected = run(JONES, Decay(3e-3, 2e-4) + Tonic(1e-6), 1000, 5e-3, 1e-3)
    with jax.enable_x64(False):
        found = run(JONES, Decay(3e-3, 2e-4) + Tonic(1e-6), 1000, 5e-3, 1e-3)
    np.testing.assert_array_equal(found, expected)


def test_more_channels_leave_the_first_ones_as_they_were():
    # the difference of n + 1 and n channels is one channel's own path: one state at a time
    for n in (1, 63, 64, 1000):
        one = run(JONES, Tonic(2e-5), n + 1, 0.02, 1e-3) - run(JONES, Tonic(2e-5), n, 0.02, 1e-3)
        assert set(np.unique(one)) == {0, 1}
        np.testing.assert_array_equal(one.sum(axis=1), 1)


def test_one_channel_has_a_path():
    path = run(JONES, Tonic(1e-3), 1, 0.1, 1e-4)
    np.testing.assert_array_equal(path.sum(axis=1), 1)
    assert len(np.unique(path.argmax(axis=1))) > 3


def test_a_step_and_its_times_are_the_same_grid():
    drive = Pulse(1e-3, 0.0, 1.05e-3) + Tonic(1e-6)
    step = run(JONES, drive, 2000, 5e-3, 2e-4)
    times = run(JONES, drive, 2000, 5e-3, np.arange(26) * 2e-4)
    # only an event within rounding of a save time could fall on its other side
    assert np.abs(step - times).sum() <= 2
    coarse = run(JONES, drive, 2000, 5e-3, np.array([0.0, 1e-3, 3e-3]))
    np.testing.assert_array_equal(coarse, times[[0, 5, 15]])


def test_progress_is_told():
    told = []
    engine = Channels(chunk=100, progress=lambda done, total: told.append((done, total)))
    run(JONES, Tonic(1e-6), 250, 1e-3, 1e-3, engine)
    assert told == [(100, 250), (200, 250), (250, 250)]


def test_event_numbers_may_wrap(monkeypatch):
    # a bin with more than 2**31 events of one kind is counted modulo 2**32: the channels still add up
    expected = run(JONES, Tonic(1e-4), 500, 5e-3, 1e-3)

    def wrapped(*call, **options):
        events, starts, certificate = counted(*call, **options)
        turns = ((np.arange(events.size) % 3) - 1).reshape(events.shape)
        return events + 2**32 * turns, starts, certificate

    counted = channels.count_events
    monkeypatch.setattr(channels, "count_events", wrapped)
    np.testing.assert_array_equal(run(JONES, Tonic(1e-4), 500, 5e-3, 1e-3), expected)


def only_from(scheme, state: str):
    """The scheme with the rates out of one state only: who leaves never comes back or moves on."""
    home = scheme.states.index(state)
    return eqx.tree_at(
        lambda s: s.log_rate,
        scheme,
        np.where(np.array(scheme.source) == home, scheme.log_rate, -np.inf),
    )


@pytest.mark.parametrize("state", JONES.states)
def test_dwell_times_and_exits(state):
    """Waiting times are exponential with the exit rate, and exits go where the rates say."""
    n, conc = 200_000, 1e-4
    scheme, home = only_from(JONES, state), JONES.states.index(state)
    rates = law.generator(scheme, {"GABA": conc})[home]
    exit_per_s = -rates[home]
    time = -np.log(np.linspace(1.0, 0.02, 12)[1:]) / exit_per_s
    counts = run(scheme, Tonic(conc), n, float(time[-1]), np.concatenate([[0.0], time]), p0=state)
    left = -np.diff(counts[:, home])
    share = -np.diff(np.exp(-exit_per_s * np.concatenate([[0.0], time])))
    observed = np.append(left, counts[-1, home])
    expected = n * np.append(share, np.exp(-exit_per_s * time[-1]))
    assert_chi2(((observed - expected) ** 2 / expected).sum(), len(time), f"dwell times of {state}")
    exits = np.flatnonzero(rates > 0)
    gone = counts[-1].sum() - counts[-1, home]
    expected = gone * rates[exits] / exit_per_s
    if len(exits) > 1:
        assert_chi2(
            ((counts[-1, exits] - expected) ** 2 / expected).sum(),
            len(exits) - 1,
            f"exits from {state}",
        )
    assert counts[-1, exits].sum() == gone


SMOOTH = {
    "decay": Decay(3e-3, 2e-4, 1e-4) + Tonic(1e-6),
    "waveform": Waveform([0.0, 1e-4, 4e-4, 1e-3], [0.0, 1e-3, 5e-5, 2e-4]),
    "sum": Decay(1e-3, 3e-4) + Pulse(5e-4, 2e-4, 6e-4) + Waveform([0.0, 1e-3], [2e-4, 0.0]),
}


@pytest.mark.parametrize("drive", SMOOTH)
def test_first_binding_under_a_changing_concentration(drive):
    """The unbound state empties by exp(-integral of 2 kon c): what thinning must give."""
    n, time = 1_000_000, np.linspace(0, 1e-3, 11)[1:]
    c0, c1 = JONES.states.index("C0"), edge_named(JONES, "C0", "C1")
    one_way = eqx.tree_at(
        lambda s: s.log_rate,
        JONES,
        np.where(np.arange(len(JONES.source)) == c1, JONES.log_rate, -np.inf),
    )
    counts = run(one_way, SMOOTH[drive], n, 1e-3, time)[:, c0]
    fine = np.linspace(0, 1e-3, 200_001)
    middle = (fine[1:] + fine[:-1]) / 2
    area = np.concatenate([[0.0], np.cumsum(SMOOTH[drive].value(middle, "GABA"))]) * (
        fine[1] - fine[0]
    )

    def survival(factor=1.0):
        return np.exp(-factor * np.exp(JONES.log_rate[c1]) * np.interp(time, fine, area))

    assert_pvalue(law.binomial_p(counts, n, survival()), f"first binding, {drive}")
    assert_detects(p=law.binomial_p(counts, n, survival(1.02)), name=f"binding 2 % faster, {drive}")


def test_windows_longer_than_the_cap():
    # several seconds between save times, and an event long after the last break of the drive
    scheme = load_scheme("default_extrasynaptic_abd_mwc").with_steroid(load_steroid())
    drive = Pulse(2e-6, 0.3, 2.7) + Tonic(2e-7) + Tonic(1e-7, "allopregnanolone")
    n, time, p0 = 20_000, np.array([0.2, 2.6, 3.3, 7.4]), np.eye(24)[0]
    counts = run(scheme, drive, n, 7.5, time, p0=p0)
    assert_pvalue(
        law.binomial_p(counts, n, law.occupancy(scheme, drive, time, p0)), "windows of seconds"
    )


def test_binding_of_the_steroid_itself_within_the_run():
    base, steroid = load_scheme("default_synaptic_abg_mwc"), load_steroid()
    scheme = base.with_steroid(steroid)
    drive = Pulse(5e-7, 0.5, 1.5, "allopregnanolone")
    n, time, p0 = 1_000_000, np.array([0.4, 1.0, 1.5, 3.0]), np.eye(27)[0]
    counts = run(scheme, drive, n, 3.0, time, p0=p0)
    assert_pvalue(
        law.binomial_p(counts, n, law.occupancy(scheme, drive, time, p0)), "steroid binding"
    )
    weaker = eqx.tree_at(
        lambda s: s.dissociation_closed_M, steroid, 1.02 * steroid.dissociation_closed_M
    )
    other = law.occupancy(base.with_steroid(weaker), drive, time, p0)
    assert_detects(p=law.binomial_p(counts, n, other), name="a steroid 2 % weaker")
