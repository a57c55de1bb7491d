"""Readouts, event lists and dwell times: the same paths, written down in other ways."""

import jax
import numpy as np
import pytest
from scipy import stats

from gabatone.kernels.drive.ligand import Decay, Pulse, Tonic, Train, Waveform
from gabatone.kernels.engine.channels import Channels
from gabatone.kernels.engine.counts import Counts
from gabatone.kernels.engine.master import Master
from gabatone.kernels.engine.records import Dwells, Events, Readout
from gabatone.kernels.engine.simulate import simulate
from gabatone.kernels.errors import BadInput, Failure
from gabatone.kernels.receptor.catalogue import load_scheme
from helpers import law
from helpers.statistics import assert_detects, assert_pvalue

KEY = jax.random.key(5)
JONES = load_scheme("jones_westbrook_1995")
DRIVES = {
    "pulse": Pulse(1e-3, 0.0, 1e-3) + Tonic(1e-6),
    "decay": Decay(1e-3, 3e-4) + Tonic(2e-6),
    "ramps": Waveform([0.0, 1e-3, 4e-3, 0.01], [0.0, 1e-3, 1e-5, 1e-4]),
    "many windows": Train(tuple(np.arange(12) * 1.6e-3), 1e-3, 0.7e-3),
}
RUN = {"n": 700, "t1_s": 0.02, "save_s": 1e-3}


@pytest.mark.parametrize("drive", DRIVES)
def test_all_records_tell_of_the_same_paths(drive):
    drive = DRIVES[drive]
    plain = simulate(KEY, JONES, drive, engine=Channels(), **RUN)
    listed = simulate(KEY, JONES, drive, record=Events(), **RUN)
    assert listed.engine == "Channels" and listed.certificate.holds
    # an event within rounding of a save time may fall on its other side
    assert np.abs(listed.occupancy - plain.occupancy).sum() <= 2
    read = simulate(KEY, JONES, drive, engine=Channels(), record=Readout(JONES.is_open), **RUN)
    np.testing.assert_array_equal(read.recorded, plain.open_count)
    values = np.linspace(-1.5, 2.0, 7) ** 3
    read = simulate(KEY, JONES, drive, engine=Channels(), record=Readout(values), **RUN)
    np.testing.assert_allclose(read.recorded, plain.occupancy @ values, rtol=1e-12, atol=1e-9)
    dwells = simulate(KEY, JONES, drive, record=Dwells(np.geomspace(1e-6, 1, 9)), **RUN)
    np.testing.assert_array_equal(dwells.occupancy, listed.occupancy)
    which, duration = listed.recorded.sojourns(JONES.is_open.astype(int))
    np.testing.assert_array_equal(dwells.recorded.number, [(which == 1).sum(), (which == 0).sum()])
    assert dwells.recorded.mean_s[0] == pytest.approx(duration[which == 1].mean())


def test_paths_hang_together():
    paths = simulate(KEY, JONES, DRIVES["pulse"], record=Events(), **RUN).recorded
    assert (np.diff(paths.channel) >= 0).all()
    total = 0
    for channel in range(RUN["n"]):
        time, state = paths.of(channel)
        assert (np.diff(time) > 0).all() and time[-1] <= paths.t1_s
        total += len(time) - 1
        mine = paths.channel == channel
        np.testing.assert_array_equal(paths.source[mine], state[:-1])
        np.testing.assert_array_equal(paths.target[mine], state[1:])
    assert total == len(paths.time_s) > 3000
    edges = set(zip(JONES.source, JONES.target, strict=True))
    assert set(zip(paths.source.tolist(), paths.target.tolist(), strict=True)) <= edges
    with pytest.raises(BadInput, match="700 channels"):
        paths.of(700)


def test_sojourns_in_one_state_are_exponential():
    conc = 1e-5
    run = {"n": 3000, "t1_s": 1.0, "save_s": 1.0}
    paths = simulate(KEY, JONES, Tonic(conc), record=Events(), **run).recorded
    o2 = JONES.states.index("O2")
    exit_per_s = -law.generator(JONES, {"GABA": conc})[o2, o2]
    into, out = paths.target[:-1] == o2, paths.channel[1:] == paths.channel[:-1]
    # those that begin late could be cut by the end of the run
    early = paths.time_s[:-1] < run["t1_s"] - 40 / exit_per_s
    dwell = np.diff(paths.time_s)[into & out & early]

    def fit(rate):
        return stats.kstest(dwell, stats.expon(scale=1 / rate).cdf).pvalue

    assert len(dwell) > 20_000
    assert_pvalue(fit(exit_per_s), "sojourns in O2")
    assert_detects(p=fit(1.07 * exit_per_s), name="sojourns 7 % shorter")


def test_readouts_of_the_other_engines():
    master = simulate(
        KEY, JONES, DRIVES["pulse"], engine=Master(), record=Readout(JONES.is_open), **RUN
    )
    np.testing.assert_allclose(master.recorded, master.open_count, rtol=1e-12)
    counts = simulate(
        KEY, JONES, DRIVES["pulse"], engine=Counts(), record=Readout(JONES.is_open), **RUN
    )
    np.testing.assert_array_equal(counts.recorded, counts.open_count)


def test_a_readout_keeps_no_occupancy():
    trace = simulate(
        KEY, JONES, Tonic(1e-6), engine=Channels(), record=Readout(JONES.is_open), **RUN
    )
    assert trace.occupancy is None
    with pytest.raises(BadInput, match="trace.recorded"):
        _ = trace.open_probability


@pytest.mark.parametrize(
    ("record", "engine", "what"),
    [
        (Events(), Counts(), "does not follow single channels"),
        (Readout(np.ones(3)), "auto", "7 states"),
        (Readout(np.full(7, np.nan)), "auto", "not a finite number"),
        (
            Dwells(
                [1e-3, 1.0],
                classes=(
                    (
                        "odd",
                        ("O1", "X"),
                    ),
                ),
            ),
            "auto",
            "not a state",
        ),
        (Events(most=1000), "auto", "simulate at most"),
    ],
)
def test_refusals(record, engine, what):
    with pytest.raises(BadInput, match=what):
        simulate(KEY, JONES, DRIVES["pulse"], engine=engine, record=record, **RUN)


def test_edges_of_a_histogram_must_rise():
    with pytest.raises(BadInput, match="not increasing"):
        Dwells([1e-3, 1e-3])


@pytest.mark.parametrize("record", [None, Events(), Dwells([1e-4, 1.0])])
def test_a_limit_of_draws_names_the_channels(record):
    with pytest.raises(Failure, match=r"event_limit: channels \d+") as caught:
        simulate(
            KEY, JONES, Tonic(1e-3), engine=Channels(max_events=30), record=record,
            n=100, t1_s=0.5, save_s=0.1,
        )  # fmt: skip
    assert "max_events" in str(caught.value)
