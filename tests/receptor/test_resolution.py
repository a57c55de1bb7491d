"""Missed events against closed forms, integrals, a second way of computing and a simulation."""

import numpy as np
import pytest
from hypothesis import given, settings

from gabatone.kernels.errors import BadInput, Failure
from gabatone.kernels.receptor.catalogue import load_scheme
from gabatone.kernels.receptor.dwell import open_time, shut_time
from gabatone.kernels.receptor.partition import partition, partition_of
from gabatone.kernels.receptor.resolution import (
    MissedEvents,
    burst_ends,
    log_likelihood,
    resolve,
    two_state_solutions,
)
from helpers.paths import sojourns
from helpers.schemes import reversible_schemes
from helpers.statistics import assert_detects, assert_z

RATES = np.zeros((4, 4))
for i, j, rate in [
    (0, 1, 90.0),
    (1, 0, 200.0),
    (0, 2, 50.0),
    (2, 0, 400.0),
    (1, 3, 900.0),
    (3, 1, 700.0),
]:
    RATES[i, j] = rate
GENERATOR = RATES - np.diag(RATES.sum(axis=1))
CHANNEL = partition_of(GENERATOR, [False, False, True, True])
SEEN = MissedEvents(CHANNEL, 5e-4)
ALPHA, BETA = 250.0, 80.0
TWO = partition_of([[-BETA, BETA], [ALPHA, -ALPHA]], [False, True])


def test_two_states():
    tau = 1.5e-3
    seen = MissedEvents(TWO, tau)
    opened, shut = 1 / ALPHA, 1 / BETA
    means = [(opened + shut) * np.exp(tau / shut) - shut, (opened + shut) * np.exp(tau / opened)]
    assert seen.mean_s == pytest.approx(means[0], rel=1e-12)
    assert seen.swapped.mean_s == pytest.approx(means[1] - opened, rel=1e-12)
    solutions = two_state_solutions(seen.mean_s, seen.swapped.mean_s, tau)
    assert any(np.allclose(pair, (opened, shut), rtol=1e-10) for pair in solutions)
    for pair in solutions:
        again = MissedEvents(
            partition_of([[-1 / pair[1], 1 / pair[1]], [1 / pair[0], -1 / pair[0]]], [False, True]),
            tau,
        )
        assert again.mean_s == pytest.approx(seen.mean_s, rel=1e-9)
    # apparent means no two-state channel can have at this resolution
    assert two_state_solutions(1.1 * tau, 1.1 * tau, tau) == []
    # below two resolutions nothing can have been missed and seen again
    t = np.array([0.5, 1.0, 1.2, 1.9]) * tau
    ends = ALPHA * np.exp(-BETA * tau)
    open_law = np.array([0.0, *_two_state_law(t[1:] - tau)]) * ends
    np.testing.assert_allclose(seen.density(t), open_law, rtol=1e-12)


def _two_state_law(t):
    """Chance of being open again or still a time t after being open."""
    p = BETA / (ALPHA + BETA)
    return p + (1 - p) * np.exp(-(ALPHA + BETA) * t)


@pytest.mark.parametrize("side", ["open", "shut"])
def test_exact_terms_two_ways(side):
    """The recursion of Hawkes, Jalali & Colquhoun against one matrix exponential for each time."""
    seen = MissedEvents(CHANNEL if side == "open" else CHANNEL.swapped, 5e-4)
    rates = -np.sort(-np.linalg.eigvals(CHANNEL.generator).real)
    t = np.array([0.0, 2e-4, 3e-3])
    for m in range(4):
        found = seen.exact_coefficients(m)
        powers = t[:, None] ** np.arange(m + 1)
        decay = np.exp(t[:, None] * rates)
        summed = np.einsum("tr,tk,rkij->tij", powers, decay, found)
        np.testing.assert_allclose(summed, seen._missed(m, t), rtol=1e-6, atol=1e-11)


def test_the_exact_law_integrates_and_meets_the_asymptotic_one():
    exact, tau = MissedEvents(CHANNEL, 5e-4, n_exact=8), 5e-4
    # piece by piece: the density has a kink at each multiple of the resolution
    points, weights = np.polynomial.legendre.leggauss(24)
    total = mean = 0.0
    for k in range(1, 9):
        t = tau * (k + 0.5 + 0.5 * points)
        density = exact.density(t)
        total += 0.5 * tau * density @ weights
        mean += 0.5 * tau * (density * t) @ weights
    tail = exact.asymptotic()
    gone = np.exp(-8 * tau * tail.rates_per_s)
    total += tail.areas @ gone
    mean += tail.areas @ (gone * (9 * tau + tail.tau_s))
    assert total == pytest.approx(1.0, abs=1e-10)
    assert mean == pytest.approx(exact.mean_s, rel=1e-10)
    assert exact.entry.sum() == pytest.approx(1.0, abs=1e-12)
    # the switch after three resolutions costs little
    t = tau * np.linspace(3.0, 9.0, 13)
    np.testing.assert_allclose(SEEN.density(t), exact.density(t), rtol=1e-4)
    late = tau * np.array([8.5, 30.0])
    np.testing.assert_allclose(SEEN.density(late), exact.density(late), rtol=1e-9)


@settings(max_examples=20)
@given(reversible_schemes(most_states=5))
def test_random_schemes(made):
    channel = partition(made.scheme, {"GABA": 1e-6} if "GABA" in made.scheme.ligands else {})
    fastest = np.abs(np.diagonal(channel.generator)).max()
    perfect = MissedEvents(channel, 1e-9 / fastest)
    assert perfect.mean_s == pytest.approx(open_time(channel).mean_s, rel=1e-6)
    seen = MissedEvents(channel, 0.5 / fastest)
    for side in (seen, seen.swapped):
        np.testing.assert_allclose(side.next_class.sum(axis=1), 1.0, rtol=1e-9)
        roots = side.roots_per_s
        assert np.all(roots < 0) and np.all(np.diff(roots) >= 0)
        for root in roots:
            # det(s I - H(s)) is 0 to the last digits of its largest term
            whole = np.linalg.svd(root * np.eye(len(roots)) - side.reduced(root), compute_uv=False)
            assert whole.min() <= 1e-10 * max(whole.max(), fastest)
    # time is not lost: apparent openings and shuttings are longer than true ones, and as many of each
    assert seen.mean_s > open_time(channel).mean_s
    assert seen.swapped.mean_s > shut_time(channel).mean_s


def test_a_simulated_record():
    """Mean apparent times of a record of plain simulation, seen through `resolve`."""
    opened, shut = sojourns(GENERATOR, CHANNEL.is_open, 0, 4000, 30, seed=8)
    pairs = []
    for one, other in zip(opened, shut, strict=True):
        record = resolve(np.stack([one, other], axis=1).ravel(), np.arange(60) % 2 == 0, 5e-4)
        # the third apparent opening and the shutting after it, one pair from each channel
        third = record.duration_s[record.is_open][2], record.duration_s[~record.is_open][2]
        assert len(record.duration_s) > 8
        pairs.append(third)
    means = SEEN.mean_s, SEEN.swapped.mean_s
    ideal = open_time(CHANNEL).mean_s, shut_time(CHANNEL).mean_s
    for times, mean, true, name in zip(
        np.transpose(pairs), means, ideal, ("open", "shut"), strict=True
    ):
        spread = times.std() / np.sqrt(len(times))
        assert_z((times.mean() - mean) / spread, f"apparent {name} time of a simulated record")
        assert_detects((times.mean() - true) / spread, f"{name} time with no event missed")


def test_resolve_joins_what_cannot_be_seen():
    # units of the resolution; too short: 0.5 at the start, then 0.4 and 0.3
    duration = [0.5, 2.0, 0.4, 3.0, 5.0, 0.3, 0.2, 1.5]
    is_open = [True, False, True, False, True, False, True, False]
    record = resolve(duration, is_open, 1.0)
    np.testing.assert_allclose(record.duration_s, [5.4, 5.5, 1.5])
    assert list(record.is_open) == [False, True, False]
    # one unresolved after another belong to the same long interval, whatever their class
    joined = resolve([2.0, 0.5, 0.5, 3.0], [True, False, True, False], 1.0)
    np.testing.assert_allclose(joined.duration_s, [3.0, 3.0])
    with pytest.raises(BadInput, match="resolution_s"):
        resolve([0.1, 0.2], [True, False], 1.0)
    with pytest.raises(BadInput, match="duration_s"):
        resolve([1.0, -0.2], [True, False], 0.1)


def test_bursts_of_a_record():
    duration = [9.0, 1.0, 2.0, 3.0, 50.0, 4.0, 60.0, 5.0, 1.0]
    record = resolve(duration, [k % 2 == 1 for k in range(9)], 0.5)
    found = record.bursts(10.0)
    assert [list(burst) for burst in found] == [[1.0, 2.0, 3.0], [4.0]]


def test_the_likelihood_is_a_product_of_densities():
    bursts, crit = [np.array([2e-3, 7e-4, 5e-3]), np.array([1e-3])], 4e-3
    ends = burst_ends(SEEN, crit)
    first = ends.start @ SEEN.transition_density(bursts[0][[0]])[0]
    first = first @ SEEN.swapped.transition_density(bursts[0][[1]])[0]
    first = first @ SEEN.transition_density(bursts[0][[2]])[0] @ ends.end
    second = ends.start @ SEEN.transition_density(bursts[1])[0] @ ends.end
    wanted = np.log(first) + np.log(second)
    assert log_likelihood(SEEN, bursts, crit) == pytest.approx(wanted, rel=1e-12)
    assert ends.start.sum() == pytest.approx(1.0) and np.all((ends.end >= 0) & (ends.end <= 1))


def test_equal_rates_need_no_coefficients():
    # two like open states: two rates of the scheme coincide
    a, b = 300.0, 40.0
    generator = np.array([[-2 * b, b, b], [a, -a, 0.0], [a, 0.0, -a]])
    twin = MissedEvents(partition_of(generator, [False, True, True]), 1e-3, n_exact=4)
    single = MissedEvents(partition_of([[-2 * b, 2 * b], [a, -a]], [False, True]), 1e-3, n_exact=4)
    t = np.array([1e-3, 2.5e-3, 4.2e-3, 9e-3])
    np.testing.assert_allclose(twin.density(t), single.density(t), rtol=1e-10)
    three = np.zeros((4, 4))
    three[0, 1:], three[1:, 0] = b, a
    three -= np.diag(three.sum(axis=1))
    with pytest.raises(Failure, match="near_defective"):
        MissedEvents(partition_of(three, [False, True, True, True]), 1e-3).exact_coefficients(1)


def test_every_default_scheme_has_apparent_times():
    for name in ("default_synaptic_abg_mwc", "jedlicka_2011_hybrid_as_coded"):
        channel = partition(load_scheme(name), {"GABA": 1e-5})
        seen = MissedEvents(channel, 1e-4)
        assert seen.mean_s > open_time(channel).mean_s
        assert seen.swapped.asymptotic().areas.sum() == pytest.approx(1.0, abs=0.01)


def test_what_is_refused():
    for resolution in (0.0, np.nan):
        with pytest.raises(BadInput, match="resolution_s"):
            MissedEvents(CHANNEL, resolution)
    with pytest.raises(BadInput, match="n_exact"):
        MissedEvents(CHANNEL, 1e-4, 0)
    with pytest.raises(BadInput, match="t_crit_s"):
        burst_ends(SEEN, 1e-3)
    with pytest.raises(BadInput, match="apparent means"):
        two_state_solutions(0.0, 1.0, 0.1)
    still = partition(load_scheme("jones_westbrook_1995"), {})
    with pytest.raises(BadInput, match="does not move between"):
        MissedEvents(still, 1e-4).entry  # noqa: B018
