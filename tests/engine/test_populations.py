"""Many populations at once: each has its own law, and the integers it has alone."""

import jax
import numpy as np
import pytest

from gabatone.kernels.drive.ligand import Decay, Pulse, Tonic
from gabatone.kernels.engine.counts import Counts
from gabatone.kernels.engine.master import Master
from gabatone.kernels.engine.populations import simulate_populations
from gabatone.kernels.engine.simulate import simulate
from gabatone.kernels.errors import BadInput
from gabatone.kernels.receptor.catalogue import load_scheme
from helpers import law
from helpers.statistics import assert_detects, assert_pvalue, assert_z

KEY = jax.random.key(31)
SCHEME = load_scheme("jones_westbrook_1995")
# breaks of their own, and one that is smooth
DRIVES = [Pulse(1e-3, 0.0, 1e-3), Pulse(1e-4, 2.5e-4, 1e-3), Tonic(1e-5), Decay(1e-3, 3e-4)]
NUMBER = [10**6, 500, 2**40, 10**5]
GRID = dict(t1_s=3e-3, save_s=np.array([3e-4, 1e-3, 3e-3]))


@pytest.fixture(scope="module")
def together():
    return simulate_populations(KEY, SCHEME, DRIVES, n=NUMBER, **GRID)


def test_each_population_has_the_integers_it_has_alone(together):
    for k, (drive, n) in enumerate(zip(DRIVES, NUMBER, strict=True)):
        key = jax.random.fold_in(KEY, k)
        alone = simulate(key, SCHEME, drive, engine=Counts(), n=n, **GRID)
        np.testing.assert_array_equal(together[k].occupancy, alone.occupancy)
        assert together[k].n == n and together[k].engine == alone.engine == "Counts"
        np.testing.assert_array_equal(together[k].time_s, alone.time_s)


def test_company_and_block_change_no_integer(together):
    later = simulate_populations(
        KEY, SCHEME, DRIVES[2:], n=NUMBER[2:], first=2, engine=Counts(block=2), **GRID
    )
    for k, trace in enumerate(later):
        np.testing.assert_array_equal(trace.occupancy, together[2 + k].occupancy)
    turned = simulate_populations(KEY, SCHEME, DRIVES[::-1], n=NUMBER[::-1], **GRID)
    assert (turned[3].occupancy != together[0].occupancy).any()


def test_each_population_follows_its_own_drive(together):
    for k, (trace, drive) in enumerate(zip(together, DRIVES, strict=True)):
        mean = simulate(KEY, SCHEME, drive, engine=Master(), **GRID).occupancy
        assert (trace.occupancy.sum(axis=1) == NUMBER[k]).all()
        assert_pvalue(law.binomial_p(trace.occupancy, NUMBER[k], mean), f"mean of population {k}")
        other = DRIVES[k - 1]
        wrong = simulate(KEY, SCHEME, other, engine=Master(), **GRID).occupancy
        p = law.binomial_p(trace.occupancy, NUMBER[k], wrong)
        assert_detects(p=p, name=f"population {k} with the drive of another")


def test_populations_under_one_drive_are_independent():
    populations, n = 1024, 100
    drive = Pulse(1e-3, 0.0, 1e-3)
    found = simulate_populations(KEY, SCHEME, [drive] * populations, n=n, t1_s=1e-3, save_s=1e-3)
    opened = np.array([trace.occupancy[-1] for trace in found]) @ np.array(SCHEME.is_open, float)
    p = float(
        simulate(KEY, SCHEME, drive, engine=Master(), t1_s=1e-3, save_s=1e-3).open_probability[-1]
    )
    spread = n * p * (1 - p)
    off = opened - n * p
    beside = (off[:-1] * off[1:]).sum() / (spread * np.sqrt(populations - 1))
    scatter = ((off**2).mean() / spread - 1) / np.sqrt(
        (2 + (1 - 6 * p * (1 - p)) / spread) / populations
    )
    assert_z([beside, scatter, off.mean() / np.sqrt(spread / populations)], "populations")
    # every second population a copy of the one before it would be seen
    copied = off[np.arange(populations) // 2 * 2]
    same = (copied[:-1] * copied[1:]).sum() / (spread * np.sqrt(populations - 1))
    assert_detects(z=same, name="populations that share a stream")


def test_bad_input():
    grid = dict(t1_s=1e-3, save_s=1e-3)
    for change, message in (
        (dict(drives=[]), "no population"),
        (dict(drives=[1.0]), r"drives\[0\]"),
        (dict(n=[1, 2, 3]), "there are 2 drives"),
        (dict(n=[1, 0]), r"n\[1\]"),
        (dict(n=2.5), "whole numbers"),
        (dict(n=2**54), "use engine=Master"),
        (dict(t1_s=-1.0), "t1_s"),
        (dict(drives=[Tonic(0.0)] * 100, save_s=1e-6, t1_s=3.0), "GiB"),
    ):
        given = {"drives": [Tonic(0.0)] * 2, "n": 5, **grid, **change}
        with pytest.raises(BadInput, match=message):
            simulate_populations(KEY, SCHEME, given.pop("drives"), **given)
