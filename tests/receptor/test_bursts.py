"""Bursts against closed forms, the formulas of Colquhoun & Hawkes 1982, and each other."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm, inv

from gabatone.kernels.errors import BadInput
from gabatone.kernels.receptor.bursts import CRITERIA, bursts, critical_time, misclassified
from gabatone.kernels.receptor.dwell import open_time, shut_time
from gabatone.kernels.receptor.exponentials import Exponentials
from gabatone.kernels.receptor.partition import partition, partition_of
from helpers.paths import sojourns
from helpers.schemes import reversible_schemes
from helpers.statistics import assert_detects, assert_z

# C <-> B <-> O
BIND, UNBIND, OPEN, SHUT = 8.0, 900.0, 2500.0, 400.0
LINE = partition_of(
    [[-BIND, BIND, 0.0], [UNBIND, -UNBIND - OPEN, OPEN], [0.0, SHUT, -SHUT]],
    [False, False, True],
)
BRIEF = np.array([False, True, False])


def test_three_states():
    """del Castillo & Katz: geometric openings, one exponential for the time open in a burst."""
    found, again = bursts(LINE, BRIEF), OPEN / (OPEN + UNBIND)
    r = np.arange(1, 12)
    np.testing.assert_allclose(
        found.openings().probability(r), (1 - again) * again ** (r - 1), rtol=1e-12
    )
    assert found.mean_openings == pytest.approx(1 + OPEN / UNBIND, rel=1e-13)
    assert found.openings().mean == pytest.approx(found.mean_openings, rel=1e-12)
    np.testing.assert_allclose(found.last, 1 - again, rtol=1e-13)
    assert found.gap_within().mean_s == pytest.approx(1 / (OPEN + UNBIND), rel=1e-13)
    assert found.gap_within().variance_s2 == pytest.approx((OPEN + UNBIND) ** -2.0, rel=1e-12)
    total_open = (1 + OPEN / UNBIND) / SHUT
    assert found.open_time().mean_s == pytest.approx(total_open, rel=1e-13)
    assert found.open_time().variance_s2 == pytest.approx(total_open**2, rel=1e-12)
    total_shut = OPEN / UNBIND / (OPEN + UNBIND)
    assert found.shut_time().mean_s == pytest.approx(total_shut, rel=1e-13)
    assert found.shut_time().at_zero == pytest.approx(1 - again, rel=1e-13)
    assert found.length().mean_s == pytest.approx(total_open + total_shut, rel=1e-13)
    # C and B in turn until it opens, after one stay in B that leads to C
    trips = 1 + UNBIND / OPEN
    gap = 1 / (OPEN + UNBIND) + trips * (1 / BIND + 1 / (OPEN + UNBIND))
    assert found.gap_between().mean_s == pytest.approx(gap, rel=1e-13)


@st.composite
def channels_with_bursts(draw):
    made, conc = draw(reversible_schemes()), 10.0 ** draw(st.floats(-7.0, -5.0))
    shut = np.array(made.kinds) != "open"
    long = draw(st.sampled_from(list(np.flatnonzero(shut))))
    brief = np.array([draw(st.booleans()) for _ in shut])
    return made, conc, brief & shut & (np.arange(len(shut)) != long)


@settings(max_examples=40)
@given(channels_with_bursts())
def test_books_balance(made):
    """Time, openings and shuttings of random schemes, counted by burst and by opening."""
    made, conc, brief = made
    channel = partition(made.scheme, {"GABA": conc} if "GABA" in made.scheme.ligands else {})
    found = bursts(channel, brief)
    length, between = found.length().mean_s, found.gap_between().mean_s
    opened, shut = found.open_time().mean_s, found.shut_time().mean_s
    assert found.per_s * (length + between) == pytest.approx(1.0, rel=1e-11)
    assert found.per_s * opened == pytest.approx(channel.open_probability, rel=1e-11)
    assert found.per_s * found.mean_openings == pytest.approx(channel.openings_per_s, rel=1e-11)
    assert opened + shut == pytest.approx(length, rel=1e-11)
    assert found.start.sum() == pytest.approx(1.0) and np.all(found.last <= 1 + 1e-12)
    assert found.start @ found.last == pytest.approx(found.shut_time().at_zero, abs=1e-11)
    assert found.open_probability == pytest.approx(opened / length)
    n, counts = found.mean_openings, found.openings()
    assert counts.mean == pytest.approx(n, rel=1e-8)
    assert counts.probability(1) == pytest.approx(found.start @ found.last, abs=1e-10)
    if n - 1 > 1e-9:
        within = found.gap_within()
        assert (n - 1) * within.mean_s == pytest.approx(shut, rel=1e-9)
        # all shuttings: those within bursts and those between them
        law, t = shut_time(channel), np.array([0.0, 0.1, 1.0]) * shut_time(channel).mean_s
        mixed = ((n - 1) * within.density(t) + found.gap_between().density(t)) / n
        np.testing.assert_allclose(mixed, law.density(t), rtol=1e-8, atol=1e-9 / law.mean_s)


def test_ways_that_never_come_back_do_no_harm():
    # three open states behind one brief state, so that two of the ratios are 0
    made = np.zeros((5, 5))
    for i, j in [(0, 1), (1, 2), (1, 3), (1, 4), (2, 3), (3, 4), (0, 3)]:
        made[i, j] = made[j, i] = 1.0 + i
    channel = partition_of(made - np.diag(made.sum(axis=1)), [False, False, True, True, True])
    found = bursts(channel, np.arange(5) == 1)
    counts = found.openings()
    np.testing.assert_allclose(counts.ratios[1:], 0.0, atol=1e-14)
    assert counts.mean == pytest.approx(found.mean_openings, rel=1e-12)


def test_formulas_as_published():
    """Burst length (CH82 eq. 3.17) and total shut time (eqs 3.40, 3.41) written out with inverses."""
    rates = np.zeros((5, 5))
    # two open states, two brief ones, and a long one that is also reached from an open state
    for i, j, rate in [(0, 2, 900.0), (2, 0, 100.0), (1, 3, 300.0), (3, 1, 4000.0), (2, 3, 80.0)]:
        rates[i, j] = rate
    for i, j, rate in [(3, 2, 500.0), (2, 4, 700.0), (4, 2, 5.0), (0, 1, 20.0), (1, 0, 9.0)]:
        rates[i, j] = rate
    rates[0, 4], rates[4, 0] = 30.0, 0.4
    q = rates - np.diag(rates.sum(axis=1))
    found = bursts(partition_of(q, [True, True, False, False, False]), np.arange(5) % 4 > 1)
    a, b, e = slice(0, 2), slice(2, 4), slice(0, 4)
    g_ab, g_ba = -inv(q[a, a]) @ q[a, b], -inv(q[b, b]) @ q[b, a]
    ends = (np.eye(2) - g_ab @ g_ba) @ np.ones(2)
    np.testing.assert_allclose(found.last, ends, rtol=1e-12)
    for t in (0.0, 1e-3, 2e-2):
        stay = expm(q[e, e] * t)[a, a]
        wanted = found.start @ stay @ -q[a, a] @ ends
        assert float(found.length().density(t)) == pytest.approx(wanted, rel=1e-11)
        moves = expm((q[b, b] + q[b, a] @ g_ab) * t)
        wanted = found.start @ g_ab @ moves @ q[b, a] @ ends
        assert float(found.shut_time().density(t)) == pytest.approx(wanted, rel=1e-11)
    for r in (1, 2, 5):
        wanted = found.start @ np.linalg.matrix_power(g_ab @ g_ba, r - 1) @ ends
        assert float(found.openings().probability(r)) == pytest.approx(wanted, rel=1e-11)


def test_simulated_bursts():
    """Number and total length of the openings between visits to the long state, by simulation."""
    # the long state alone is watched, so that a shutting of this channel is all time away from it
    away = sojourns(
        LINE.generator, [True, False, False], start=1, channels=20_000, openings=2, seed=11
    )
    time = away[1][:, -1]
    law = open_time(partition_of(LINE.generator, [False, True, True]))
    # the same from the bursts: a stay in B, then with some chance a burst and a last stay in B
    found, stay = bursts(LINE, BRIEF), 1 / (OPEN + UNBIND)
    chance = OPEN / (OPEN + UNBIND)
    mean = stay + chance * (found.length().mean_s + stay)
    assert law.mean_s == pytest.approx(mean, rel=1e-12)
    spread = np.sqrt(law.variance_s2 / len(time))
    assert_z((time.mean() - mean) / spread, "time between visits to the long shut state")
    # one opening fewer in each burst
    wrong = stay + chance * (found.length().mean_s - 1 / SHUT + stay)
    assert_detects((time.mean() - wrong) / spread, "bursts without their last opening")


def mixture(tau_s, areas):
    return Exponentials(1.0 / np.array(tau_s), np.array(areas))


def test_critical_times_in_closed_form():
    fast, slow, share = 1e-4, 0.2, 0.7
    shut = mixture([fast, slow], [share, 1 - share])
    # the densities of the two components cross
    wanted = np.log(share * slow / ((1 - share) * fast)) / (1 / fast - 1 / slow)
    assert critical_time(shut, 1, "total") == pytest.approx(wanted, rel=1e-11)
    # with equal areas the other two criteria are the same
    even = mixture([fast, slow], [0.5, 0.5])
    assert critical_time(even, 1) == pytest.approx(critical_time(even, 1, "number"), rel=1e-11)


@settings(max_examples=30)
@given(
    st.lists(st.floats(1.0, 3.0), min_size=2, max_size=4),
    st.lists(st.floats(0.3, 1.0), min_size=5, max_size=5),
    st.integers(1, 4),
)
def test_each_criterion_does_what_it_says(steps, areas, n_brief):
    tau = 1e-5 * 10.0 ** np.cumsum([0.0, *steps])
    n_brief = min(n_brief, len(tau) - 1)
    areas = np.array(areas[: len(tau)]) / sum(areas[: len(tau)])
    shut = mixture(tau, areas)
    percent, number, total = (critical_time(shut, n_brief, name) for name in CRITERIA)
    wrong = misclassified(shut, n_brief, percent)
    assert wrong.brief_share == pytest.approx(wrong.long_share, rel=1e-9)
    wrong = misclassified(shut, n_brief, number)
    assert wrong.brief_number == pytest.approx(wrong.long_number, rel=1e-9)

    def all_wrong(t):
        found = misclassified(shut, n_brief, t)
        return found.brief_number + found.long_number

    least = all_wrong(total)
    assert all(least <= all_wrong(total * factor) for factor in (0.5, 0.9, 0.99, 1.01, 1.1, 2.0))


@pytest.mark.parametrize(
    ("brief", "cause"),
    [
        ([False, False, True], "mask of shut states"),
        ([True, True, False], "no burst ends"),
        ([True, False], "mask of shut states"),
    ],
)
def test_brief_states_that_are_refused(brief, cause):
    with pytest.raises(BadInput, match=cause):
        bursts(LINE, brief)


def test_bursts_of_single_openings_have_no_gaps():
    found = bursts(LINE, [True, False, False])
    # every shutting begins in B, which is long here
    assert found.mean_openings == pytest.approx(1.0)
    assert found.length().mean_s == pytest.approx(1 / SHUT, rel=1e-13)
    assert found.shut_time().at_zero == 1.0 and found.shut_time().mean_s == 0.0
    assert found.gap_between().mean_s == pytest.approx(shut_time(LINE).mean_s, rel=1e-12)
    with pytest.raises(BadInput, match="followed by another"):
        found.gap_within()


def test_critical_times_that_are_refused():
    shut = mixture([1e-4, 1e-3], [0.5, 0.5])
    with pytest.raises(BadInput, match="criterion"):
        critical_time(shut, 1, "mean")
    for n_brief in (0, 2):
        with pytest.raises(BadInput, match="n_brief"):
            critical_time(shut, n_brief)
    with pytest.raises(BadInput, match="positive areas"):
        critical_time(mixture([1e-4, 1e-3], [1.5, -0.5]), 1)
    with pytest.raises(BadInput, match="not told apart"):
        # so few brief gaps that the long density is higher everywhere
        critical_time(mixture([1e-4, 1.1e-4], [0.01, 0.99]), 1, "total")
