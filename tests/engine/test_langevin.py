"""The diffusion approximation: where it agrees with the law of channels, and where it must not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.linalg import expm

from gabatone.kernels.drive.ligand import Decay, Pulse, Tonic, Waveform
from gabatone.kernels.drive.segments import compile_drive
from gabatone.kernels.engine.grid import grid_step
from gabatone.kernels.engine.langevin import Langevin, langevin_paths, pairs_of
from gabatone.kernels.engine.master import propagators
from gabatone.kernels.engine.protocol import Request
from gabatone.kernels.engine.simulate import simulate
from gabatone.kernels.engine.stepping import halved
from gabatone.kernels.engine.streams import key_words
from gabatone.kernels.errors import BadInput
from gabatone.kernels.receptor.catalogue import load_scheme, load_steroid
from helpers import law
from helpers.statistics import assert_chi2, assert_detects, assert_pvalue, assert_z

KEY = jax.random.key(17)
JONES = load_scheme("jones_westbrook_1995")
TWO = load_scheme("destexhe_1994_2state")


def ensemble(dt, scheme, drive, time, n, replicates, p0):
    """Fractions [replicate, time, state]."""
    request = Request(scheme, drive, n, float(time[-1]), np.asarray(time, float), None, p0)
    return langevin_paths(Langevin(dt), jax.random.split(KEY, replicates), request)


CASES = {
    "pulse": Pulse(1e-3, 0.0, 2e-3) + Tonic(2e-5),
    "decay": Decay(3e-3, 1e-3, 1e-4) + Tonic(1e-5),
    "waveform": Waveform([0.0, 2e-3, 5e-3], [0.0, 1e-3, 1e-4]),
}


@pytest.mark.parametrize("case", CASES)
def test_many_channels_have_the_exact_mean_and_covariance(case):
    """A million channels in states of some size: the approximation is the law of the channels."""
    n, replicates, time, drive = 10**6, 3000, np.array([1e-3, 4e-3]), CASES[case]
    p0 = np.full(7, 1 / 7)
    states = [JONES.states.index(name) for name in ("O2", "D2", "C1")]
    found = ensemble(2e-5, JONES, drive, time, n, replicates, p0)
    samples = n * found[:, :, states].reshape(replicates, -1)
    mean, full = law.covariance(p0, law.transitions(JONES, drive, time), n)
    cov, mean = full[:, states][:, :, :, states].reshape(6, 6), mean[:, states].ravel()
    assert_pvalue(law.gaussian_p(samples, mean, cov), f"Langevin at n = 1e6, {case}")
    assert_detects(p=law.gaussian_p(samples, mean, 1.2 * cov), name=f"scatter, {case}")
    apart = cov * (np.arange(6)[:, None] // 3 == np.arange(6) // 3)
    assert_detects(p=law.gaussian_p(samples, mean, apart), name=f"no memory, {case}")
    assert_detects(p=law.gaussian_p(samples, mean * 1.001, cov), name=f"mean, {case}")


def test_the_mean_is_exact_for_a_few_channels_and_long_steps():
    time, start = np.array([1e-3, 5e-3]), np.eye(7)[0]
    found = ensemble(7e-5, JONES, CASES["pulse"], time, 10, 20_000, start)
    exact = law.occupancy(JONES, CASES["pulse"], time, start)
    error = found.std(axis=0, ddof=1) / np.sqrt(len(found))
    assert_z((found.mean(axis=0) - exact) / error, "mean of 10 channels")
    assert_detects((found.mean(axis=0) - 1.05 * exact) / error, "mean 5 % too high")


def test_few_channels_scatter_too_much():
    # states that are nearly empty: negative fractions, and a variance that is too large
    time, start, drive = np.array([5e-3]), np.eye(7)[0], Tonic(2e-5)
    found = ensemble(2e-5, JONES, drive, time, 10, 4000, start)[:, 0]
    p = law.occupancy(JONES, drive, time, start)[0]
    d2 = JONES.states.index("D2")
    assert (found[:, d2] < 0).mean() > 0.2
    square = (found[:, d2] - p[d2]) ** 2
    exact = p[d2] * (1 - p[d2]) / 10
    assert_detects((square.mean() - exact) / (square.std() / np.sqrt(4000)), "variance at n = 10")
    assert square.mean() > 2 * exact


def test_equilibrium_variance_falls_short_by_the_stated_factor():
    # one relaxation of rate r: the variance is x / sinh(x) of the exact one, x = r dt
    conc, n, replicates = 1e-4, 10**6, 100_000
    generator = law.generator(TWO, {"GABA": conc})
    rate, p = -np.trace(generator), np.asarray(TWO.steady_state({"GABA": conc}))
    dt = 0.499 / rate
    found = ensemble(dt, TWO, Tonic(conc), np.array([12 * dt]), n, replicates, p)[:, 0, 1]
    square = (found - p[1]) ** 2 * n / (p[0] * p[1])
    error = square.std() / np.sqrt(replicates)
    # what is left of the exact start after 12 steps
    left = np.exp(-24 * 0.499)
    short = 0.499 / np.sinh(0.499)
    assert_z((square.mean() - (short + (1 - short) * left)) / error, "variance of long steps")
    assert_detects((square.mean() - 1.0) / error, "long steps pass as exact")


def counts_chain(n, step):
    """Transition matrix [k, j] of the number of open channels of n two-state channels."""
    rows = []
    for k in range(n + 1):
        kept = stats.binom.pmf(np.arange(k + 1), k, step[1, 1])
        came = stats.binom.pmf(np.arange(n - k + 1), n - k, step[0, 1])
        rows.append(np.convolve(kept, came))
    return np.array(rows)


def first_crossing(opened, limit):
    """Index of the first sample at which each path [replicate, time] is above `limit`; -1 for never."""
    above = opened > limit
    return np.where(above.any(axis=1), above.argmax(axis=1), -1)


def test_ten_channels_cross_a_threshold_at_other_times():
    """First time at which 4 of 10 channels are open: exact from the chain of counts."""
    n, conc, dt, steps, replicates = 10, 5e-5, 1e-3, 40, 20_000
    p = np.asarray(TWO.steady_state({"GABA": conc}))
    assert 0.06 < p[1] < 0.2
    step = expm(law.generator(TWO, {"GABA": conc}) * dt)
    chain, low = counts_chain(n, step), np.arange(4)
    now = stats.binom.pmf(np.arange(n + 1), n, p[1])[low]
    alive = [now.sum()]
    for _ in range(steps):
        now = now @ chain[np.ix_(low, low)]
        alive.append(now.sum())
    chance = np.append(-np.diff(alive, prepend=1.0), alive[-1])

    def statistic(crossing):
        groups = np.array_split(np.arange(steps + 1), 8)
        seen = [np.isin(crossing, group).sum() for group in groups] + [(crossing == -1).sum()]
        expected = replicates * np.array([*(chance[g].sum() for g in groups), chance[-1]])
        assert expected.min() > 50
        return ((np.array(seen) - expected) ** 2 / expected).sum(), len(groups)

    words, state = key_words(KEY), jax.random.bernoulli(KEY, p[1], (replicates * n,))

    @jax.jit
    def exact_paths(state):
        def advance(state, k):
            return grid_step(words, state, k, jnp.asarray(step)), state

        return jax.lax.scan(advance, state, jnp.arange(1, steps + 2))[1]

    opened = np.asarray(exact_paths(state.astype(jnp.int32))).reshape(steps + 1, replicates, n)
    assert_chi2(*statistic(first_crossing(opened.sum(axis=2).T / n, 0.35)), "crossing, channels")
    # half-way between 3 and 4 channels, the limit that suits a continuous fraction best
    found = ensemble(dt / 2, TWO, Tonic(conc), np.arange(steps + 1) * dt, n, replicates, p)
    wrong, freedom = statistic(first_crossing(found[:, :, 1], 0.35))
    assert_detects(p=stats.chi2.sf(wrong, freedom), name="crossing, Langevin at n = 10")


def test_start_has_the_scatter_of_dealt_channels():
    p0 = np.array([0.5, 0.3, 0.2, 0, 0, 0, 0])
    found = ensemble(1e-4, JONES, Tonic(1e-6), np.array([0.0, 1e-4]), 100, 20_000, p0)[:, 0]
    assert (found[:, 3:] == 0).all()
    cov = (np.diag(p0) - np.outer(p0, p0))[:2, :2] / 100
    assert_pvalue(law.gaussian_p(found[:, :2], p0[:2], cov), "start")
    assert_detects(p=law.gaussian_p(found[:, :2], p0[:2], 1.3 * cov), name="start, scatter")


@pytest.mark.parametrize("case", [*CASES, "product"])
def test_the_trace(case):
    scheme, drive = JONES, CASES.get(case)
    if drive is None:
        scheme = TWO.with_steroid(load_steroid())
        drive = Tonic(1e-4) + Tonic(1e-7, "allopregnanolone")
    time = np.array([0.0, 3.3e-4, 2e-3, 5e-3])

    def run(seed=0):
        return simulate(
            jax.random.key(seed),
            scheme,
            drive,
            engine=Langevin(2e-5),
            n=500,
            t1_s=6e-3,
            save_s=time,
        )

    trace = run()
    assert Langevin.exact is False and trace.engine == "Langevin" and trace.counts is False
    assert trace.n == 500 and trace.covariance is None
    found = np.asarray(trace.occupancy)
    assert found.shape == (4, scheme.n_states)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=0, atol=1e-11)
    np.testing.assert_array_equal(run().occupancy, found)
    assert (run(1).occupancy != found).any()
    opened = found @ scheme.is_open
    np.testing.assert_allclose(trace.open_probability, opened, rtol=0, atol=1e-12)
    np.testing.assert_allclose(trace.open_count, 500 * opened, rtol=0, atol=1e-9)
    with jax.enable_x64(False):
        # the same noise; only the start law was computed in float32
        np.testing.assert_allclose(run().occupancy, found, rtol=0, atol=1e-5)


def test_one_path_is_that_of_its_key_alone():
    request = Request(JONES, CASES["pulse"], 50, 2e-3, np.array([2e-3]), None, np.eye(7)[0])
    keys = jax.random.split(KEY, 3)
    together = langevin_paths(Langevin(7e-5), keys, request)
    alone = Langevin(7e-5).run(keys[1], request).occupancy
    np.testing.assert_allclose(together[1], alone, rtol=0, atol=1e-13)


@pytest.mark.parametrize("case", CASES)
def test_halves_make_the_whole(case):
    segments = compile_drive(CASES[case], JONES.ligand_names, 5e-3, cuts_s=np.arange(1, 10) * 5e-4)
    whole = np.asarray(propagators(JONES, segments, 8))
    half = np.asarray(propagators(JONES, halved(segments), 8))
    np.testing.assert_allclose(half[::2] @ half[1::2], whole, rtol=0, atol=3e-8)


def test_pairs_hold_every_transition():
    pairs = pairs_of(JONES)
    assert len(pairs.first) == 6 and (pairs.first < pairs.second).all()
    np.testing.assert_array_equal((pairs.forward + pairs.back).sum(axis=1), 1)
    for edge, (i, j) in enumerate(zip(JONES.source, JONES.target, strict=True)):
        way = pairs.forward if i < j else pairs.back
        (pair,) = np.flatnonzero(way[edge])
        assert {int(pairs.first[pair]), int(pairs.second[pair])} == {i, j}


def test_a_step_too_long_is_refused_with_one_that_passes():
    run = {"n": 100, "t1_s": 4e-3, "save_s": 1e-3}
    with pytest.raises(BadInput, match="its noise is not resolved") as caught:
        simulate(KEY, JONES, CASES["pulse"], engine=Langevin(1e-3), **run)
    assert caught.value.field == "Langevin.dt_s"
    fits = float(caught.value.fix.split()[1])
    simulate(KEY, JONES, CASES["pulse"], engine=Langevin(fits), **run)
    with pytest.raises(BadInput, match="its noise is not resolved"):
        simulate(KEY, JONES, CASES["pulse"], engine=Langevin(1.02 * fits), **run)


@pytest.mark.parametrize("dt", [0.0, -1e-4, float("nan")])
def test_bad_steps(dt):
    with pytest.raises(BadInput, match="Langevin.dt_s"):
        Langevin(dt)


def test_too_many_steps():
    with pytest.raises(BadInput, match="more than 16777216"):
        simulate(KEY, TWO, Tonic(1e-4), engine=Langevin(1e-9), t1_s=1.0, save_s=0.1)
