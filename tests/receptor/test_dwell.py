"""Ideal open and shut times against closed forms, numerical integrals and a plain simulation."""

from fractions import Fraction

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.linalg import expm

from gabatone.kernels.errors import BadInput, Failure
from gabatone.kernels.receptor.catalogue import load_scheme
from gabatone.kernels.receptor.dwell import (
    open_time,
    phase_type,
    shut_time,
    time_to_leave,
    visits_per_opening,
)
from gabatone.kernels.receptor.partition import (
    equilibrium,
    mean_times,
    partition,
    partition_of,
    stay_law,
)
from helpers.paths import sojourns
from helpers.schemes import reversible_schemes
from helpers.statistics import assert_detects, assert_pvalue

TWO = partition_of([[-20.0, 20.0], [300.0, -300.0]], [False, True])


def chain(*rates):
    """Generator of a line of states: rates forth and back between neighbours."""
    pairs = [(rates[2 * k], rates[2 * k + 1]) for k in range(len(rates) // 2)]
    found = np.zeros((len(pairs) + 1, len(pairs) + 1))
    for k, (forth, back) in enumerate(pairs):
        found[k, k + 1], found[k + 1, k] = forth, back
    return found - np.diag(found.sum(axis=1))


def log_times(law, points=300):
    """Times over which a law of sums of exponentials rises and dies, evenly in their logarithm."""
    rates = np.abs(np.linalg.eigvals(law.within))
    return np.geomspace(1e-13 / rates.max(), 60.0 / rates.min(), points)


def log_integral(t, values):
    """Integral of `values` over the times of `log_times`."""
    return np.trapezoid(values * t, np.log(t))


def test_two_states():
    opened, shut = open_time(TWO), shut_time(TWO)
    t = np.array([0.0, 1e-3, 0.1])
    np.testing.assert_allclose(opened.density(t), 300.0 * np.exp(-300.0 * t), rtol=1e-13)
    np.testing.assert_allclose(shut.survivor(t), np.exp(-20.0 * t), rtol=1e-13)
    assert opened.mean_s == pytest.approx(1 / 300, rel=1e-14)
    assert opened.variance_s2 == pytest.approx(1 / 300**2, rel=1e-13)
    assert TWO.open_probability == pytest.approx(20 / 320, rel=1e-14)
    assert TWO.openings_per_s == pytest.approx(300 * 20 / 320, rel=1e-14)
    # a single time gives a single number
    assert float(opened.density(1e-3)) == pytest.approx(300.0 * np.exp(-0.3), rel=1e-13)


def test_three_states_have_the_roots_of_a_quadratic():
    # C0 <-> C1 <-> O; the shut times start in C1
    k, back, opening, shutting = 40.0, 90.0, 700.0, 250.0
    channel = partition_of(chain(k, back, opening, shutting), [False, False, True])
    total, product = k + back + opening, k * opening
    root = np.sqrt(total**2 - 4 * product)
    fast, slow = (total + root) / 2, (total - root) / 2
    found = shut_time(channel).exponentials()
    np.testing.assert_allclose(found.rates_per_s, [fast, slow], rtol=1e-13)
    # density opening (k - s) / ... at each root
    areas = opening * np.array([(fast - k) / fast, (k - slow) / slow]) / (fast - slow)
    np.testing.assert_allclose(found.areas, areas, rtol=1e-12)
    assert found.mean_s == pytest.approx((1 + back / k) / opening, rel=1e-12)
    np.testing.assert_allclose(found.tau_s * found.amplitudes_per_s, areas, rtol=1e-12)


def test_equal_rates_in_a_row_give_a_gamma_law():
    # O1 -> O2 -> C -> O1, a cycle that runs one way
    rate = 50.0
    channel = partition_of(
        [[-rate, rate, 0], [0, -rate, rate], [7.0, 0, -7.0]], [True, True, False]
    )
    law, t = open_time(channel), np.array([1e-3, 0.02, 0.2])
    np.testing.assert_allclose(law.density(t), stats.gamma.pdf(t, 2, scale=1 / rate), rtol=1e-12)
    np.testing.assert_allclose(law.survivor(t), stats.gamma.sf(t, 2, scale=1 / rate), rtol=1e-12)
    assert law.moment(3) == pytest.approx(24 / rate**3, rel=1e-13)
    with pytest.raises(Failure, match="near_defective"):
        law.exponentials()


def test_a_cycle_that_runs_one_way_has_no_real_components():
    ring = np.roll(np.eye(3), 1, axis=1) * 100.0
    generator = np.zeros((4, 4))
    generator[:3, :3], generator[0, 3], generator[3, 0] = ring, 1.0, 5.0
    generator -= np.diag(generator.sum(axis=1))
    law = open_time(partition_of(generator, [True, True, True, False]))
    t = log_times(law)
    assert log_integral(t, law.density(t)) == pytest.approx(1.0, abs=1e-9)
    with pytest.raises(Failure, match="complex_rates"):
        law.exponentials()


@settings(max_examples=15)
@given(reversible_schemes(), st.floats(-8.0, -3.0))
def test_laws_of_random_schemes(made, log_conc):
    conc = {"GABA": 10.0**log_conc} if "GABA" in made.scheme.ligands else {}
    channel = partition(made.scheme, conc)
    for law in (open_time(channel), shut_time(channel)):
        t = log_times(law)
        density, survivor = law.density(t), law.survivor(t)
        assert log_integral(t, density) == pytest.approx(1.0, abs=1e-9)
        assert log_integral(t, density * t) == pytest.approx(law.mean_s, rel=1e-9)
        assert log_integral(t, survivor) == pytest.approx(law.mean_s, rel=1e-9)
        assert log_integral(t, density * t**2) == pytest.approx(law.moment(2), rel=1e-9)
        mixture = law.exponentials()
        np.testing.assert_allclose(mixture.density(t), density, atol=1e-9 * density.max())
        np.testing.assert_allclose(mixture.survivor(t), survivor, atol=1e-9)
        assert mixture.areas.sum() == pytest.approx(1.0, abs=1e-12)
        assert np.all(np.diff(mixture.rates_per_s) <= 0)
    share = channel.openings_per_s * open_time(channel).mean_s
    assert share == pytest.approx(channel.open_probability, rel=1e-12)
    assert channel.swapped.openings_per_s == pytest.approx(channel.openings_per_s, rel=1e-12)
    visits = visits_per_opening(channel)
    stay = visits / -np.diagonal(channel.within)
    assert stay.sum() == pytest.approx(open_time(channel).mean_s, rel=1e-12)


def test_slow_exits_keep_every_digit():
    # a trap that is left 1e13 times more slowly than its states exchange
    fast, slow = 2**30, Fraction(1, 10000)
    within = np.array([[0.0, fast], [3.0 * fast, 0.0]])
    found = mean_times(within, [0.0, float(slow)], np.ones((2, 1)))[:, 0]
    # x0 = 1/f + x1, x1 (3f + e) = 1 + 3f x0
    x1 = 4 / Fraction(float(slow))
    np.testing.assert_allclose(found, [float(x1 + Fraction(1, fast)), float(x1)], rtol=1e-15)
    ends = mean_times(within, [0.0, float(slow)], np.array([[0.0], [float(slow)]]))
    np.testing.assert_allclose(ends, 1.0, rtol=1e-15)


def test_a_subset_of_states_may_be_watched():
    scheme = load_scheme("jones_westbrook_1995")
    channel = partition(scheme, {"GABA": 1e-4}, ["D1", "D2"])
    mask = np.isin(scheme.states, ["D1", "D2"])
    again = partition(scheme, {"GABA": 1e-4}, mask)
    assert open_time(channel).mean_s == open_time(again).mean_s
    occupancy = np.asarray(scheme.steady_state({"GABA": 1e-4}))
    assert channel.open_probability == pytest.approx(occupancy[mask].sum(), rel=1e-12)


def test_float32_sessions_get_the_same_numbers():
    scheme = load_scheme("jones_westbrook_1995")
    with jax.enable_x64(False):
        single = shut_time(partition(scheme, {"GABA": 1e-5})).mean_s
    assert single == shut_time(partition(scheme, {"GABA": 1e-5})).mean_s


def test_time_to_leave_counts_those_outside_as_gone():
    law = time_to_leave(TWO, [0.25, 0.75])
    assert law.at_zero == pytest.approx(0.25)
    assert law.mean_s == pytest.approx(0.75 / 300, rel=1e-14)
    assert float(law.survivor(0.0)) == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("generator", "is_open", "cause"),
    [
        (chain(1, 2, 3, 4), [False] * 3, "never left or never entered"),
        (chain(1, 2, 3, 4), [True] * 3, "never left or never entered"),
        (chain(1, 2, 3, 4), [True, False], "state, state"),
        (chain(1, -2, 3, 4), [True, False, False], "not negative"),
        (np.array([[-1.0, 2.0], [1.0, -1.0]]), [True, False], "sum to zero"),
        (np.array([[-np.inf, np.inf], [1.0, -1.0]]), [True, False], "finite"),
        (chain(0, 1, 1, 0), [True, False, False], "equilibrium depends on the start"),
    ],
)
def test_generators_that_are_refused(generator, is_open, cause):
    with pytest.raises(BadInput, match=cause):
        partition_of(generator, is_open)


def test_absorbing_states():
    scheme = load_scheme("jones_westbrook_1995")
    # without agonist the channel ends in its resting state, wherever that stands
    still = partition(scheme, {})
    rest = scheme.states.index("C0")
    np.testing.assert_array_equal(still.equilibrium, np.arange(scheme.n_states) == rest)
    for law in (open_time, shut_time):
        with pytest.raises(BadInput, match="does not move between"):
            law(still)
    # but an open channel still has a time to its first shutting
    assert time_to_leave(still, np.array(scheme.states) == "O1").mean_s > 0
    last = equilibrium(chain(5.0, 1.0, 2.0, 0.0)[::-1, ::-1])
    np.testing.assert_array_equal(last, [1.0, 0.0, 0.0])
    with pytest.raises(BadInput, match="never left"):
        phase_type([1.0, 0.0], [[-1.0, 1.0], [0.0, 0.0]], [0.0, 0.0])
    with pytest.raises(BadInput, match="not in scheme"):
        partition(scheme, {}, ["O9"])
    with pytest.raises(BadInput, match="t_s"):
        open_time(TWO).density([-1.0])


# C <-> B <-> O1 <-> O2, with openings that remember where they began
RATES = np.array(
    [[0, 30.0, 0, 0], [200.0, 0, 500.0, 20.0], [0, 900.0, 0, 60.0], [0, 15.0, 10.0, 0]]
)
MEMORY = RATES - np.diag(RATES.sum(axis=1))
OPEN = np.array([False, False, True, True])


def test_simulated_dwell_times_follow_the_theory():
    opened, shut = sojourns(MEMORY, OPEN, start=0, channels=50_000, openings=5, seed=5)
    slower = MEMORY.copy()
    slower[2, 1] *= 0.95
    slower[2, 2] -= slower[2, 1] - MEMORY[2, 1]
    for name, law_of, times in (("open", open_time, opened), ("shut", shut_time, shut)):
        # the fifth has forgotten the start, and channels are independent
        last = times[:, -1]
        right = law_of(partition_of(MEMORY, OPEN)).exponentials().survivor(last)
        assert_pvalue(stats.kstest(right, "uniform").pvalue, f"{name} times of a simulation")
        if name == "open":
            wrong = law_of(partition_of(slower, OPEN)).exponentials().survivor(last)
            assert_detects(
                p=stats.kstest(wrong, "uniform").pvalue, name="open times, one rate 5 % too low"
            )
    crossed = shut_time(partition_of(MEMORY, OPEN)).exponentials().survivor(opened[:, -1])
    assert_detects(p=stats.kstest(crossed, "uniform").pvalue, name="open times for shut times")


@settings(max_examples=15)
@given(reversible_schemes(), st.floats(-3.0, 3.0))
def test_stay_law_is_the_matrix_exponential(made, log_reach):
    channel = partition(made.scheme, {"GABA": 1e-6} if "GABA" in made.scheme.ligands else {})
    still, whole = np.zeros(made.scheme.n_states), channel.generator
    t = 10.0**log_reach / np.abs(whole).max() * np.array([[0.0, 0.3], [1.0, 2.0]])
    for matrix, out in ((whole, still), (channel.within, channel.leave.sum(axis=1))):
        found = stay_law(matrix, out, t)
        assert found.shape == (2, 2, len(matrix), len(matrix)) and np.all(found >= 0)
        np.testing.assert_allclose(found, expm(matrix * t[..., None, None]), rtol=1e-9, atol=1e-13)


def test_stay_law_far_beyond_the_fastest_rate():
    # a fast pair that is left 1e10 times more slowly, and times of many slow exits
    fast, slow = 1e6, 1e-4
    within = np.array([[-fast, fast], [fast, -fast - 2 * slow]])
    t = np.array([0.0, 1.0, 1e4, 1e5])
    found = stay_law(within, [0.0, 2 * slow], t).sum(axis=-1)
    np.testing.assert_allclose(found[:, 0], np.exp(-slow * t), rtol=1e-9)
