"""Propagator, stationary law and their gradients against scipy and finite differences."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm, null_space

from gabatone.kernels.errors import Failure
from gabatone.kernels.receptor.catalogue import load_scheme, load_steroid, scheme_names
from gabatone.kernels.receptor.spectral import occupancy_at, propagator, steady_state
from helpers.law import generator
from helpers.schemes import reversible_schemes

MM = {"GABA": 1e-3}
compiled = jax.jit(propagator)


def relative(found, expected) -> float:
    return float(np.max(np.abs(np.asarray(found, float) / expected - 1)))


@pytest.mark.parametrize("dt_s", [0.0, 1e-7, 1e-4, 1e-2, 1.0, 30.0])
@pytest.mark.parametrize(
    "name", ["jones_westbrook_1995", "pugh_raman_2005_patch", "haas_macdonald_1999_a1b3g2L"]
)
def test_propagator_is_expm(name, dt_s):
    q = generator(load_scheme(name), MM)
    found = np.asarray(propagator(q, dt_s))
    np.testing.assert_allclose(found, expm(q * dt_s), rtol=0, atol=1e-11)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=0, atol=1e-14)
    assert found.min() >= 0


@settings(max_examples=40)
@given(reversible_schemes(), st.floats(-6.0, 1.0), st.floats(0.0, 1.0))
def test_propagator_of_random_schemes(made, log_time, part):
    q, dt = generator(made.scheme, {"GABA": 2e-6}), 10.0**log_time
    whole = np.asarray(compiled(q, dt))
    np.testing.assert_allclose(whole, expm(q * dt), rtol=0, atol=1e-11)
    # two steps make the whole one, and the stationary law stays
    first, second = np.asarray(compiled(q, part * dt)), np.asarray(compiled(q, (1 - part) * dt))
    np.testing.assert_allclose(first @ second, whole, rtol=0, atol=1e-11)
    law = np.asarray(steady_state(q))
    np.testing.assert_allclose(law @ whole, law, rtol=0, atol=1e-12)
    if dt > 1e-2:
        np.testing.assert_allclose(
            law, null_space(q.T)[:, 0] / null_space(q.T)[:, 0].sum(), rtol=0, atol=1e-9
        )


def test_long_propagation_forgets_its_start():
    for name in scheme_names():
        q = generator(load_scheme(name), {"GABA": 2e-6})
        law = np.asarray(steady_state(q))
        np.testing.assert_allclose(
            np.asarray(compiled(q, 1e4)), np.tile(law, (len(q), 1)), rtol=1e-7, atol=1e-15
        )


def test_rare_transitions_keep_their_relative_accuracy_in_float32():
    # a chance near 1e-16 is as accurate as a common one: nothing cancels
    q = generator(load_scheme("jones_westbrook_1995"), {"GABA": 1e-9})
    exact = np.asarray(propagator(q, 1e-5))
    assert 0 < exact[exact > 0].min() < 1e-16
    with jax.enable_x64(False):
        found = np.asarray(propagator(jnp.asarray(q, jnp.float32), 1e-5))
    assert found.dtype == np.float32
    assert relative(found[exact > 0], exact[exact > 0]) < 1e-5


@pytest.mark.parametrize("name", scheme_names())
def test_float32_propagator_over_many_doublings(name):
    q = generator(load_scheme(name), MM)
    for dt in (1e-4, 1e-2, 1.0):
        with jax.enable_x64(False):
            found = np.asarray(compiled(jnp.asarray(q, jnp.float32), dt))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expm(q * dt), rtol=0, atol=1e-4)
        np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=0, atol=1e-6)


def test_steady_state_keeps_relative_accuracy_over_many_decades():
    # resting occupancy of a liganded state falls below 1e-20 and must still be right
    scheme = load_scheme("jones_westbrook_1995").with_steroid(load_steroid())
    q = generator(scheme, {"GABA": 1e-14, "allopregnanolone": 1e-9})
    law = np.asarray(steady_state(q))
    # detailed balance along every edge gives each weight from its neighbour's
    i, j = np.nonzero(np.triu((q > 0) & (q.T > 0)))
    assert law.min() < 1e-20
    np.testing.assert_allclose(law[i] * q[i, j], law[j] * q[j, i], rtol=1e-9)
    with jax.enable_x64(False):
        assert (
            relative(
                jax.jit(steady_state)(jnp.asarray(q, jnp.float32))[law > 1e-30], law[law > 1e-30]
            )
            < 1e-5
        )


def test_traced_and_plain_steady_state_agree():
    for name in scheme_names():
        q = generator(load_scheme(name), {"GABA": 3e-7})
        np.testing.assert_allclose(jax.jit(steady_state)(q), steady_state(q), rtol=1e-12)


def test_no_steady_state_is_said():
    q = np.array([[-1.0, 1.0, 0.0], [0.0, -2.0, 2.0], [0.0, 3.0, -3.0]])
    with pytest.raises(Failure, match="no_steady_state"):
        steady_state(q)
    # a state that is never entered does no harm
    q = np.array([[-1.0, 1.0, 0.0], [2.0, -2.0, 0.0], [0.0, 0.0, 0.0]])
    np.testing.assert_allclose(steady_state(q), [2 / 3, 1 / 3, 0.0], rtol=1e-14)


def test_occupancy_at_irregular_times():
    scheme = load_scheme("default_synaptic_abg_mwc")
    q, start = generator(scheme, MM), np.asarray(scheme.initial_occupancy())
    time = np.array([0.0, 1e-5, 3e-4, 2e-3, 0.7])
    expected = np.array([start @ expm(q * t) for t in time])
    np.testing.assert_allclose(occupancy_at(start, q, time), expected, rtol=0, atol=1e-11)


def difference(f, x, step):
    """Fourth-order central difference."""
    return (8 * (f(x + step) - f(x - step)) - (f(x + 2 * step) - f(x - 2 * step))) / (12 * step)


def with_log_rates(scheme, change):
    return eqx.tree_at(lambda s: s.log_rate, scheme, scheme.log_rate + change)


@pytest.mark.parametrize("name", ["jones_westbrook_1995", "default_synaptic_abg_mwc"])
def test_gradient_of_the_steady_state(name):
    scheme = load_scheme(name)

    def po(change, conc):
        changed = with_log_rates(scheme, change)
        return changed.open_probability(steady_state(changed.generator({"GABA": conc})))

    none, conc = jnp.zeros(len(scheme.source)), 2e-6
    value = jax.jit(po)
    by_rate, by_conc = jax.jit(jax.grad(po, argnums=(0, 1)))(none, conc)
    assert np.isfinite(by_rate).all() and float(jnp.abs(by_rate).min()) > 0
    for e in range(len(scheme.source)):
        expected = difference(lambda x, e=e: value(none.at[e].set(x), conc), 0.0, 1e-3)
        np.testing.assert_allclose(by_rate[e], expected, rtol=1e-6, atol=1e-13)
    np.testing.assert_allclose(
        by_conc, difference(lambda x: value(none, x), conc, conc * 1e-3), rtol=1e-7
    )


def test_gradient_of_the_propagator_where_rates_are_zero_or_equal():
    scheme = load_scheme("jones_westbrook_1995")
    # at 0 GABA no binding step is possible, yet its derivative is not 0
    slope = jax.jit(jax.grad(lambda c: propagator(scheme.generator({"GABA": c}), 1e-3)[0, 1]))(0.0)
    q0, q1 = generator(scheme, {}), generator(scheme, {"GABA": 1.0})
    block = expm(np.block([[q0, q1 - q0], [np.zeros_like(q0), q0]]) * 1e-3)
    np.testing.assert_allclose(slope, block[0, 7 + 1], rtol=1e-9)

    def chain(k):
        return jnp.array([[-k, k, 0.0], [0.0, -100.0, 100.0], [50.0, 50.0, -100.0]])

    # here all three states are left equally fast
    def entries(k):
        return propagator(chain(k), 5e-3)

    slopes = jax.jit(jax.jacobian(entries))(100.0)
    np.testing.assert_allclose(
        slopes, difference(lambda k: np.asarray(compiled(chain(k), 5e-3)), 100.0, 0.1), rtol=1e-8
    )
