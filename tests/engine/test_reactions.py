"""Reaction networks: the noun, exactness of the streams, the law of simple networks, and refusals."""

from math import comb

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import gammaln

from gabatone.kernels.engine import reactions
from gabatone.kernels.engine.network import (
    Reaction,
    ReactionNetwork,
    evaluate,
    mass_action,
    names_in,
)
from gabatone.kernels.engine.reactions import simulate_network
from gabatone.kernels.engine.streams import uniform
from gabatone.kernels.errors import BadInput, Failure
from helpers import law
from helpers.statistics import assert_detects, assert_pvalue, assert_z

KEY = jax.random.key(5)


def decay(count=20, rate=1.0):
    return ReactionNetwork(
        ("X", "Gone"), (count, 0), (mass_action("decay", {"X": 1}, {"Gone": 1}, "k"),), {"k": rate}
    )


def binding(a=40, b=25):
    return ReactionNetwork(
        ("A", "B", "AB"),
        (a, b, 0),
        (
            mass_action("bind", {"A": 1, "B": 1}, {"AB": 1}, "on"),
            mass_action("part", {"AB": 1}, {"A": 1, "B": 1}, "off"),
        ),
        {"on": 0.02, "off": 0.5},
    )


# the noun


@given(st.integers(1, 4), st.integers(0, 30))
def test_mass_action_counts_the_combinations(m, x):
    rate = mass_action("r", {"X": m}, {}, "c").rate
    assert evaluate(rate, {"X": x, "c": 2.0}) == pytest.approx(2.0 * comb(x, m))


def arithmetic():
    leaf = st.sampled_from(["X", "k"]) | st.integers(1, 9).map(str)
    pair = lambda part: st.tuples(part, st.sampled_from("+-*"), part).map(  # noqa: E731
        lambda t: f"({t[0]} {t[1]} {t[2]})"
    )
    return st.recursive(leaf, pair, max_leaves=8)


@given(arithmetic(), st.integers(0, 50), st.integers(1, 5))
def test_expressions_have_the_value_of_python(rate, x, k):
    assert set(names_in(rate)) <= {"X", "k"}
    assert evaluate(rate, {"X": x, "k": k}) == eval(rate, {"X": x, "k": k})


def test_the_change_of_each_reaction():
    pair = mass_action("pair", {"P": 2}, {"P2": 1}, "k")
    network = ReactionNetwork(("P", "P2"), (9, 0), (pair,), {"k": 1.0})
    assert network.change.tolist() == [[-2, 1]]
    fed = ReactionNetwork(("P", "P2"), (9, 0), (pair,), {"k": 1.0}, boundary=("P",))
    assert fed.change.tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"species": ("X", "X")}, ["'X'", "used twice"]),
        ({"initial": (1,)}, ["network.initial", "2 species"]),
        ({"initial": (1, -1)}, ["network.initial: Gone", "-1"]),
        ({"initial": (2**31, 0)}, ["network.initial: X"]),
        ({"parameters": {"k": float("nan")}}, ["parameter k", "not a finite number"]),
        ({"parameters": {}}, ["reaction decay: rate", "'k'"]),
        ({"reactions": ()}, ["no reaction"]),
        ({"reactions": (Reaction("r", (("Y", 1),), (), "k"),)}, ["reaction r", "'Y'"]),
        ({"reactions": (Reaction("r", (), (), "abs(X)"),)}, ["reaction r: rate", "Call"]),
        ({"reactions": (Reaction("r", (), (), "k if X else 0"),)}, ["IfExp"]),
        ({"reactions": (Reaction("r", (), (), "k * 'a'"),)}, ["Constant"]),
        ({"reactions": (Reaction("r", (), (), "k *"),)}, ["not an expression"]),
    ],
)
def test_a_network_that_makes_no_sense_is_bad_input(change, parts):
    fields = {
        "species": ("X", "Gone"),
        "initial": (3, 0),
        "reactions": (mass_action("decay", {"X": 1}, {"Gone": 1}, "k"),),
        "parameters": {"k": 1.0},
    }
    with pytest.raises(BadInput) as caught:
        ReactionNetwork(**{**fields, **change})
    for part in parts:
        assert part in str(caught.value)


def test_stoichiometry_and_parameters_are_checked():
    with pytest.raises(BadInput, match="stoichiometry of X = 0"):
        mass_action("r", {"X": 0}, {}, "k")
    with pytest.raises(BadInput, match="parameter = 'j'"):
        decay().with_parameters(j=1.0)
    assert decay().with_parameters(k=3.0).parameters == {"k": 3.0}


# streams


@pytest.mark.parametrize("x64", [True, False], ids=["float64", "float32"])
def test_counts_depend_on_key_and_run_only(x64):
    whole = simulate_network(KEY, binding(), n=50, t1_s=2.0, save_s=0.5, paths=True)
    with jax.enable_x64(x64):
        parts = simulate_network(KEY, binding(), n=50, t1_s=2.0, save_s=0.5, paths=True, chunk=7)
        fewer = simulate_network(KEY, binding(), n=30, t1_s=2.0, save_s=0.5, paths=True)
    np.testing.assert_array_equal(whole.paths, parts.paths)
    np.testing.assert_array_equal(whole.paths[:30], fewer.paths)
    assert whole.events == parts.events > fewer.events
    np.testing.assert_array_equal(whole.mean, parts.mean)
    np.testing.assert_array_equal(whole.variance, parts.variance)
    other = simulate_network(
        jax.random.fold_in(KEY, 1), binding(), n=50, t1_s=2.0, save_s=0.5, paths=True
    )
    assert (other.paths != whole.paths).any()


def test_moments_are_those_of_the_paths_and_matter_is_kept():
    trace = simulate_network(KEY, binding(), n=60, t1_s=2.0, save_s=[0.0, 0.3, 2.0], paths=True)
    np.testing.assert_allclose(trace.mean, trace.paths.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(trace.variance, trace.paths.var(axis=0, ddof=1), rtol=1e-12)
    assert np.all(trace.paths[:, :, 0] + trace.paths[:, :, 2] == 40)
    assert np.all(trace.paths[:, :, 1] + trace.paths[:, :, 2] == 25)
    assert trace.paths[:, 0].tolist() == [[40, 25, 0]] * 60
    single = simulate_network(KEY, binding(), n=1, t1_s=2.0, save_s=2.0)
    assert np.isnan(single.variance).all() and single.paths is None


def test_sums_of_squares_beyond_float64_stay_exact():
    tally = reactions.Tally(1, 1)
    counts = 2**31 - 1 - np.arange(1000)
    tally.add(counts.reshape(1, 1, -1).astype(np.int32), 0)
    mean, variance = tally.moments(1000)
    assert mean[0, 0] == 2**31 - 1 - 499.5
    assert variance[0, 0] == pytest.approx(np.var(np.arange(1000), ddof=1), rel=1e-14)


def test_chunks_are_told_to_the_caller_and_an_absorbed_run_ends():
    seen = []
    trace = simulate_network(
        KEY,
        decay(3, 50.0),
        n=10,
        t1_s=100.0,
        save_s=50.0,
        chunk=4,
        progress=lambda a, b: seen.append((a, b)),
    )
    assert seen == [(4, 10), (8, 10), (10, 10)]
    np.testing.assert_array_equal(trace.mean[1:], [[0.0, 3.0]] * 2)
    assert trace.events == 30


# the law


def test_decay_is_binomial_at_every_time():
    n, time = 4000, np.array([0.1, 0.5, 1.5])
    trace = simulate_network(KEY, decay(), n=n, t1_s=1.5, save_s=time)
    left = np.round(trace.mean[:, 0] * n)
    assert_pvalue(law.binomial_p(left, 20 * n, np.exp(-time)), "decay of a network")
    wrong = law.binomial_p(left, 20 * n, np.exp(-1.03 * time))
    assert_detects(p=wrong, name="decay, 3 % too fast")


def test_binding_settles_at_the_law_of_its_energies():
    # mass action at equilibrium: weight of c complexes = (on/off)^c / ((A-c)! (B-c)! c!)
    n, c = 40_000, np.arange(26)
    trace = simulate_network(KEY, binding(), n=n, t1_s=40.0, save_s=[40.0])

    def deviate(ratio):
        log = c * np.log(ratio) - gammaln(41 - c) - gammaln(26 - c) - gammaln(c + 1)
        p = np.exp(log - log.max()) / np.exp(log - log.max()).sum()
        mean = p @ c
        var, fourth = p @ (c - mean) ** 2, p @ (c - mean) ** 4
        scatter = (trace.variance[0, 2] - var) / np.sqrt((fourth - var**2) / n)
        return [(trace.mean[0, 2] - mean) / np.sqrt(var / n), scatter]

    assert_z(deviate(0.02 / 0.5), "equilibrium of binding")
    assert_detects(deviate(1.03 * 0.02 / 0.5), "binding, on 3 % too fast")


def test_runs_do_not_know_of_one_another():
    n = 20_000
    trace = simulate_network(KEY, decay(), n=n, t1_s=1.0, save_s=[1.0], paths=True)
    x = trace.paths[:, 0, 0] - 20 * np.exp(-1.0)
    var = 20 * np.exp(-1.0) * (1 - np.exp(-1.0))
    assert_z((x[1:] * x[:-1]).sum() / var / np.sqrt(n - 1), "neighbouring runs")


def test_a_rare_reaction_keeps_its_share():
    # every draw near the bottom of 32 bits: a share of 1e-7 holds 429 of 2**32
    bits = jnp.arange(2000, dtype=jnp.uint32)
    for rates in ([1.0, 1e-7], [1e-7, 1.0], [0.0, 1.0, 1e-7]):
        each = [jnp.full(2000, rate, jnp.float32) for rate in rates]
        pick = np.asarray(reactions._pick(each, uniform(bits) * sum(each)))
        assert abs((pick == rates.index(1e-7)).sum() - 1e-7 * 2.0**32) <= 1
        assert not (pick == (rates.index(0.0) if 0.0 in rates else -1)).any()


@given(st.lists(st.sampled_from([0.0, 0.1, 0.1, 0.5, 2.0]), min_size=2, max_size=5).filter(sum))
def test_every_draw_picks_a_reaction_with_its_share(rates):
    bits = jnp.linspace(0, 2**32 - 1, 4001).astype(jnp.uint32)
    each = [jnp.full(4001, rate, jnp.float32) for rate in rates]
    pick = np.asarray(reactions._pick(each, uniform(bits) * sum(each)))
    share = np.bincount(pick, minlength=len(rates)) / 4001
    np.testing.assert_allclose(share, np.array(rates) / sum(rates), atol=1e-3)
    assert share[np.array(rates) == 0].sum() == 0


def test_short_waits_count_in_a_long_window():
    # four million waits of 10 us in 40 s, where float32 tells times 4 us apart
    network = ReactionNetwork(("X",), (0,), (mass_action("in", {}, {"X": 1}, "a"),), {"a": 1e5})
    n, mean = 32, 4e6
    trace = simulate_network(KEY, network, n=n, t1_s=40.0, save_s=[40.0])
    total = round(float(trace.mean[0, 0]) * n)
    p = 2 * min(stats.poisson.cdf(total, mean * n), stats.poisson.sf(total - 1, mean * n))
    assert_pvalue(min(p, 1.0), "Poisson arrivals in one window")
    scatter = float(trace.variance[0, 0]) / mean * (n - 1)
    p = 2 * min(stats.chi2.cdf(scatter, n - 1), stats.chi2.sf(scatter, n - 1))
    assert_pvalue(min(p, 1.0), "their variance")


# refusals


def explosive():
    return ReactionNetwork(
        ("X",), (5,), (mass_action("birth", {"X": 1}, {"X": 2}, "b"),), {"b": 1.0}
    )


def test_a_limit_on_events_is_a_failure_that_names_the_runs():
    with pytest.raises(Failure, match=r"event_limit: \d+ of the runs .* 60 events: run \d+"):
        simulate_network(KEY, explosive(), n=30, t1_s=2.0, save_s=1.0, most_events=60)
    # enough for every run
    trace = simulate_network(KEY, explosive(), n=30, t1_s=2.0, save_s=1.0, most_events=1000)
    assert trace.mean[-1, 0] > 5
    all_runs = "0, 1, 2, 3, 4, 5, 6, 7, ..."
    with pytest.raises(Failure, match=f"30 of the runs.*run {all_runs}"):
        simulate_network(KEY, explosive(), n=30, t1_s=2.0, save_s=1.0, most_events=2, chunk=40)


def test_runs_of_a_later_chunk_are_named_by_their_own_number():
    seen = []
    for n in range(1, 40):
        try:
            simulate_network(KEY, explosive(), n=n, t1_s=2.0, save_s=1.0, most_events=60, chunk=1)
        except Failure as error:
            seen.append(str(error))
            break
    assert seen and f"run {n - 1};" in seen[0]


def test_counts_and_propensities_out_of_range_are_failures():
    down = ReactionNetwork(("X",), (2,), (Reaction("out", (("X", 1),), (), "k"),), {"k": 9.0})
    with pytest.raises(Failure, match="count_range: 3 of the runs"):
        simulate_network(KEY, down, n=3, t1_s=10.0, save_s=1.0)
    below = ReactionNetwork(
        ("X",), (2,), (Reaction("r", (("X", 1),), (), "k * (X - 1)"),), {"k": 9}
    )
    with pytest.raises(Failure, match="propensity: .*negative or not finite"):
        simulate_network(KEY, below.with_parameters(k=-9.0), n=3, t1_s=10.0, save_s=1.0)
    high = ReactionNetwork(
        ("X",), (2**31 - 2,), (mass_action("in", {}, {"X": 1}, "a"),), {"a": 9.0}
    )
    with pytest.raises(Failure, match="count_range"):
        simulate_network(KEY, high, n=3, t1_s=10.0, save_s=1.0)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"n": 0}, "n"),
        ({"n": 2**31}, "n"),
        ({"n": True}, "n"),
        ({"t1_s": 0.0}, "t1_s"),
        ({"t1_s": float("inf")}, "t1_s"),
        ({"save_s": 0.0}, "save_s"),
        ({"save_s": 2.0}, "save_s"),
        ({"save_s": [0.5, 0.5]}, "save_s"),
        ({"save_s": [0.5, 1.5]}, "save_s"),
        ({"save_s": []}, "save_s"),
        ({"save_s": float("nan")}, "save_s"),
        ({"most_events": 0}, "most_events"),
        ({"chunk": 0}, "chunk"),
    ],
)
def test_numbers_that_make_no_sense_are_bad_input(change, field):
    with pytest.raises(BadInput) as caught:
        simulate_network(KEY, decay(), **{**dict(n=3, t1_s=1.0, save_s=0.5), **change})
    assert caught.value.field == field
