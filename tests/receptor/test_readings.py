"""Three readings of steroid binding: explicit, quasi-static and fast, compared in their limits."""

import equinox as eqx
import jax
import numpy as np
import pytest
from scipy.linalg import expm

from gabatone.kernels.errors import BadInput
from gabatone.kernels.receptor.catalogue import load_scheme, load_steroid, scheme_names
from gabatone.kernels.receptor.mixture import Mixture
from gabatone.kernels.receptor.reversibility import cycle_ratios
from helpers.law import generator
from helpers.statistics import assert_chi2, assert_detects

SYNAPTIC, EXTRASYNAPTIC = "default_synaptic_abg_mwc", "default_extrasynaptic_abd_mwc"
TIMES_S = (1e-4, 1e-3, 1e-2, 0.1, 1.0)
CYCLIC = "pugh_raman_2005_patch"
READ = [SYNAPTIC, "jones_westbrook_1995", CYCLIC]


def changed(steroid, **fields):
    for name, value in fields.items():
        steroid = eqx.tree_at(lambda s, name=name: getattr(s, name), steroid, value)
    return steroid


def explicit(scheme, steroid, conc, gaba=1e-3, times_s=TIMES_S):
    """Occupancy [time, state] of the product scheme summed over bound steroids, by expm."""
    product = scheme.with_steroid(steroid)
    start = np.asarray(product.initial_occupancy({steroid.ligand: conc}))
    q = generator(product, {"GABA": gaba, steroid.ligand: conc})
    path = np.array([start @ expm(q * t) for t in times_s])
    return path.reshape(len(times_s), steroid.n_sites + 1, -1).sum(axis=1)


def followed(scheme, gaba=1e-3, times_s=TIMES_S):
    """Occupancy [time, state] of a scheme without steroid ligand, by expm."""
    start, q = np.asarray(scheme.initial_occupancy()), generator(scheme, {"GABA": gaba})
    return np.array([start @ expm(q * t) for t in times_s])


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("conc", [3e-8, 1e-6])
def test_fast_is_the_limit_of_fast_unbinding(name, conc):
    scheme, steroid = load_scheme(name), load_steroid()
    # expm itself loses digits in proportion to fastest rate x time
    times_s = TIMES_S[:-1]
    limit = followed(steroid.fast(scheme, conc), times_s=times_s)
    paths = [
        explicit(scheme, changed(steroid, unbinding_closed_per_s=k), conc, times_s=times_s)
        for k in (1e8, 2e8)
    ]
    # the error is of first order in 1 / unbinding: taken off, the limit remains
    assert 1e-8 < np.abs(paths[1] - limit).max() < 1e-5
    np.testing.assert_allclose(2 * paths[1] - paths[0], limit, rtol=0, atol=1e-8)
    # real unbinding is far from the limit
    assert np.abs(explicit(scheme, steroid, conc, times_s=times_s) - limit).max() > 1e-2


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("conc", [3e-8, 1e-6])
def test_quasi_static_is_the_limit_of_slow_unbinding(name, conc):
    scheme, steroid = load_scheme(name), load_steroid()
    mixture = steroid.quasi_static(scheme, conc)
    assert float(mixture.weights.sum()) == pytest.approx(1, abs=1e-15)
    each = np.array([followed(s) for s in mixture.schemes])
    limit = np.asarray(mixture.mean(each))
    slow = explicit(scheme, changed(steroid, unbinding_closed_per_s=1e-10), conc)
    np.testing.assert_allclose(slow, limit, rtol=0, atol=1e-10)
    # the mean number bound inside the rates is another model
    mean_bound = float(mixture.weights @ np.arange(3))
    wrong = mixture.schemes[0].log_rate + mean_bound * (
        mixture.schemes[1].log_rate - mixture.schemes[0].log_rate
    )
    wrong = followed(eqx.tree_at(lambda s: s.log_rate, scheme, wrong))
    assert np.abs(wrong - limit).max() > 3e-3


@pytest.mark.parametrize("name", scheme_names())
def test_fast_keeps_cycles_and_the_law_at_equilibrium(name):
    scheme, steroid = load_scheme(name), changed(load_steroid(), c_desensitized=0.1)
    product = scheme.with_steroid(steroid)
    for conc in (1e-8, 3e-7, 1e-5):
        fast = steroid.fast(scheme, conc)
        assert fast.ligand_names == ("GABA",) and fast.n_states == scheme.n_states
        np.testing.assert_allclose(
            [c.ratio for c in cycle_ratios(fast)],
            [c.ratio for c in cycle_ratios(scheme)],
            rtol=1e-9,
        )
        if cycle_ratios(scheme):
            continue  # a ratio of 0.99 leaves a current, so that there is no equilibrium
        whole = np.asarray(product.steady_state({"GABA": 2e-6, "allopregnanolone": conc}))
        np.testing.assert_allclose(
            fast.steady_state({"GABA": 2e-6}), whole.reshape(3, -1).sum(axis=0), rtol=1e-9
        )


def test_fast_rate_by_hand():
    scheme, steroid, S = load_scheme(SYNAPTIC), load_steroid(), 1e-7
    q = generator(steroid.fast(scheme, S), {})
    r2, o2, df = (scheme.states.index(s) for s in ("R2", "O2", "Df"))
    x, c = S / 0.24e-6, 0.22
    law = np.array([1, 2 * x, x**2]) / (1 + x) ** 2
    np.testing.assert_allclose(q[r2, o2], 4517 * law @ c ** (-0.5 * np.arange(3)), rtol=1e-12)
    y = x / c
    law = np.array([1, 2 * y, y**2]) / (1 + y) ** 2
    np.testing.assert_allclose(q[o2, r2], 470 * law @ c ** (0.5 * np.arange(3)), rtol=1e-12)
    np.testing.assert_allclose(q[df, r2], 71 * law @ c ** np.arange(3.0), rtol=1e-12)
    np.testing.assert_allclose(q[r2, df], 2600, rtol=1e-12)


def test_gradient_of_the_fast_reading():
    scheme, steroid = load_scheme(EXTRASYNAPTIC), load_steroid()

    def po(log_conc):
        fast = steroid.fast(scheme, jax.numpy.exp(log_conc))
        return fast.open_probability(fast.steady_state({"GABA": 1e-6}))

    at, h = float(np.log(1e-7)), 1e-3
    slope = jax.jit(jax.grad(po))(at)
    expected = (8 * (po(at + h) - po(at - h)) - (po(at + 2 * h) - po(at - 2 * h))) / (12 * h)
    np.testing.assert_allclose(slope, expected, rtol=1e-7)


def test_law_of_bound_steroids():
    steroid, S = load_steroid(), 1.2e-7
    closed = np.array([1, 1, 0.25]) / 2.25
    named = steroid.quasi_static(load_scheme("jones_westbrook_1995"), S)
    np.testing.assert_allclose(named.weights, closed, rtol=1e-12)
    # at equilibrium with much GABA desensitized receptors hold more steroid
    scheme, levels = load_scheme(SYNAPTIC), {"GABA": 1e-4}
    soaked = steroid.quasi_static(scheme, S, levels)
    law = np.asarray(
        scheme.with_steroid(steroid).steady_state({**levels, "allopregnanolone": S})
    ).reshape(3, -1)
    np.testing.assert_allclose(soaked.weights, law.sum(axis=1), rtol=1e-10)
    assert float(soaked.weights[2]) > 2 * closed[2]
    # each scheme alone has the law that the product has given m
    for m, own in enumerate(soaked.schemes):
        np.testing.assert_allclose(own.steady_state(levels), law[m] / law[m].sum(), rtol=1e-9)
    np.testing.assert_allclose(soaked.steady_state(levels), law.sum(axis=0), rtol=1e-9)


def test_channels_drawn_from_the_law():
    mixture = load_steroid().quasi_static(load_scheme(SYNAPTIC), 1.2e-7)
    n, key = 3_000_000, jax.random.key(5)
    counts = mixture.draw(key, n)
    assert counts.sum() == n and counts.dtype == np.int64
    expected = n * np.asarray(mixture.weights)
    assert_chi2(((counts - expected) ** 2 / expected).sum(), 2, "bound steroids of channels")
    wrong = n * np.asarray(mixture.weights) * [1.0, 1.01, 1.0]
    wrong *= n / wrong.sum()
    assert_detects((counts - wrong) / np.sqrt(wrong), "one weight 1 % off")
    # the first channels are the same in a larger population
    block = 1 << 20
    more = mixture.draw(key, 2 * block) - mixture.draw(key, block)
    assert more.sum() == block and (more >= 0).all()
    sure = Mixture(jax.numpy.array([0.0, 1.0, 0.0]), mixture.schemes)
    np.testing.assert_array_equal(sure.draw(key, 1000), [0, 1000, 0])
    with pytest.raises(BadInput, match="n"):
        mixture.draw(key, 0)


@pytest.mark.parametrize("conc", [-1e-9, float("nan"), float("inf")])
def test_bad_level_of_a_reading(conc):
    for reading in (load_steroid().fast, load_steroid().quasi_static):
        with pytest.raises(BadInput, match="concentration of allopregnanolone"):
            reading(load_scheme(SYNAPTIC), conc)
