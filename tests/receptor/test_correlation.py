"""Correlations, conditional means and first latencies against integrals and a simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from scipy.linalg import expm

from gabatone.kernels.errors import BadInput
from gabatone.kernels.receptor.correlation import (
    first_latency,
    joint_density,
    jump_latency,
    next_mean_between_s,
    next_mean_s,
    open_open_correlation,
    open_shut_correlation,
    opening_cycle,
    shut_shut_correlation,
)
from gabatone.kernels.receptor.dwell import open_time, shut_time
from gabatone.kernels.receptor.partition import partition, partition_of
from helpers.paths import sojourns
from helpers.schemes import reversible_schemes
from helpers.statistics import assert_detects, assert_z

LAGS = np.arange(1, 6)
# two gateways: C1 <-> O1 with long openings, C2 <-> O2 with short ones
RATES = np.zeros((4, 4))
for i, j, rate in [
    (0, 1, 40.0),
    (1, 0, 300.0),
    (0, 2, 50.0),
    (2, 0, 20.0),
    (1, 3, 900.0),
    (3, 1, 700.0),
]:
    RATES[i, j] = rate
GENERATOR = RATES - np.diag(RATES.sum(axis=1))
TWO_WAYS = partition_of(GENERATOR, [False, False, True, True])


def test_two_states_forget_at_once():
    channel = partition_of([[-3.0, 3.0], [70.0, -70.0]], [False, True])
    for law in (open_open_correlation, shut_shut_correlation, open_shut_correlation):
        np.testing.assert_allclose(law(channel, LAGS), 0.0, atol=1e-15)
    np.testing.assert_allclose(next_mean_s(channel, [1e-3, 1.0]), 1 / 3, rtol=1e-13)


def test_correlations_from_the_joint_density():
    """E[open x shut] where open states do not exchange, and the density along one length of opening."""
    t = np.geomspace(1e-9, 2.0, 2000)
    left, right = TWO_WAYS, TWO_WAYS.swapped
    assert np.all(np.diag(np.diag(left.within)) == left.within)
    # open states do not exchange: E[t] in each is one over its rate
    product = left.entry @ np.diag(1 / -np.diag(left.within)) @ left.next_class @ right.time_left
    opened, shut = open_time(left), shut_time(left)
    wanted = (product - opened.mean_s * shut.mean_s) / np.sqrt(
        opened.variance_s2 * shut.variance_s2
    )
    assert open_shut_correlation(left, [1])[0] == pytest.approx(wanted, rel=1e-11)
    assert wanted > 0.05
    # the joint density along shut times of one length of opening
    along = np.trapezoid(joint_density(left, 2e-3, t) * t, np.log(t))
    assert along == pytest.approx(float(opened.density(2e-3)), rel=1e-6)


def test_correlations_decay_with_the_cycle():
    second = np.sort(np.linalg.eigvals(opening_cycle(TWO_WAYS)).real)[0]
    for law in (open_open_correlation, shut_shut_correlation, open_shut_correlation):
        found = law(TWO_WAYS, LAGS)
        np.testing.assert_allclose(found[1:] / found[:-1], second, rtol=1e-10)
    np.testing.assert_array_equal(
        open_open_correlation(TWO_WAYS, [3, 1]), open_open_correlation(TWO_WAYS, [1, 2, 3])[[2, 0]]
    )


@settings(max_examples=25)
@given(reversible_schemes())
def test_random_schemes(made):
    channel = partition(made.scheme, {"GABA": 1e-6} if "GABA" in made.scheme.ligands else {})
    opened, shut = open_time(channel), shut_time(channel)
    # balance in detail: a record looks the same backwards
    np.testing.assert_allclose(
        open_shut_correlation(channel, LAGS),
        open_shut_correlation(channel.swapped, LAGS),
        atol=1e-9,
    )
    for law in (open_open_correlation, shut_shut_correlation):
        found = law(channel, LAGS)
        assert np.all(found > -1e-9) and np.all(found < 1 + 1e-9)
    assert next_mean_between_s(channel, 0.0, np.inf) == pytest.approx(shut.mean_s, rel=1e-11)
    middle = opened.mean_s
    below, above = (
        next_mean_between_s(channel, *pair) for pair in ((0.0, middle), (middle, np.inf))
    )
    share = float(opened.survivor(middle))
    assert (1 - share) * below + share * above == pytest.approx(shut.mean_s, rel=1e-9)
    exact = float(next_mean_s(channel, middle))
    narrow = next_mean_between_s(channel, middle * (1 - 1e-4), middle * (1 + 1e-4))
    assert narrow == pytest.approx(exact, rel=1e-4)


def test_simulated_correlation():
    opened, shut = sojourns(GENERATOR, TWO_WAYS.is_open, 0, 20_000, 9, seed=3)
    # far from the start, one pair from each channel
    laws = open_time(TWO_WAYS), shut_time(TWO_WAYS)
    x, y = (
        (times[:, -1] - law.mean_s) / np.sqrt(law.variance_s2)
        for times, law in zip((opened, shut), laws, strict=True)
    )
    before = (opened[:, -2] - laws[0].mean_s) / np.sqrt(laws[0].variance_s2)
    for name, product, wanted in (
        ("open-shut", x * y, open_shut_correlation(TWO_WAYS, [1])[0]),
        ("open-open", x * before, open_open_correlation(TWO_WAYS, [1])[0]),
    ):
        spread = product.std() / np.sqrt(len(product))
        assert_z((product.mean() - wanted) / spread, f"{name} correlation of a simulation")
        assert_detects(product.mean() / spread, f"{name} correlation taken as 0")


def test_first_latency_of_a_chain():
    # C0 -> C1 -> O: the sum of two exponential times
    bind, unbind, opening, shutting = 300.0, 0.0, 1000.0, 50.0
    generator = np.array(
        [[-bind, bind, 0], [unbind, -opening - unbind, opening], [0, shutting, -shutting]]
    )
    channel = partition_of(generator, [False, False, True])
    law = first_latency(channel, [1.0, 0.0, 0.0])
    t = np.array([0.0, 1e-3, 1e-2])
    wanted = bind * opening / (opening - bind) * (np.exp(-bind * t) - np.exp(-opening * t))
    np.testing.assert_allclose(law.density(t), wanted, rtol=1e-11, atol=1e-12)
    assert law.mean_s == pytest.approx(1 / bind + 1 / opening, rel=1e-13)
    assert first_latency(channel, [0.0, 0.0, 1.0]).at_zero == 1.0


@settings(max_examples=15)
@given(reversible_schemes())
def test_first_latency_is_the_chance_of_no_opening_yet(made):
    scheme = made.scheme
    binds = "GABA" in scheme.ligands
    before, after = (partition(scheme, {"GABA": c} if binds else {}) for c in (1e-8, 1e-5))
    law = jump_latency(before, after)
    # open states made absorbing: what has not reached them by t
    stopped = np.where(after.is_open[:, None], 0.0, after.generator)
    for t in np.array([0.1, 1.0, 5.0]) * max(law.mean_s, 1e-6):
        alive = (before.equilibrium @ expm(stopped * t))[~after.is_open].sum()
        assert float(law.survivor(t)) == pytest.approx(alive, abs=1e-10)
    assert law.at_zero == pytest.approx(before.open_probability, abs=1e-12)


def test_what_is_refused():
    for lags in ([0], [1.5]):
        with pytest.raises(BadInput, match="lags"):
            open_open_correlation(TWO_WAYS, lags)
    with pytest.raises(BadInput, match="most_s"):
        next_mean_between_s(TWO_WAYS, 1e-3, 1e-3)
    for start in ([1.0, 0.0], [0.5, 0.2, 0.0, 0.0], [1.5, -0.5, 0.0, 0.0]):
        with pytest.raises(BadInput, match="start"):
            first_latency(TWO_WAYS, start)
    # a channel that may be absorbed shut has no latency
    absorbing = partition_of(
        [[-5.0, 4.0, 1.0], [3.0, -3.0, 0.0], [0.0, 0.0, 0.0]], [False, True, False]
    )
    with pytest.raises(BadInput, match="never left"):
        first_latency(absorbing, [1.0, 0.0, 0.0])
