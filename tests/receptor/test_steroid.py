"""Limit cases of the steroid's sites, and temperature."""

import equinox as eqx
import jax
import numpy as np
import pytest
from scipy.linalg import expm

from gabatone.kernels.drive.ligand import Pulse, Tonic
from gabatone.kernels.engine.master import Master
from gabatone.kernels.engine.simulate import simulate
from gabatone.kernels.errors import BadInput
from gabatone.kernels.receptor.catalogue import load_scheme, load_steroid
from gabatone.kernels.receptor.reversibility import cycle_ratios
from helpers.law import generator

SYNAPTIC, EXTRASYNAPTIC = "default_synaptic_abg_mwc", "default_extrasynaptic_abd_mwc"
NAMES = [SYNAPTIC, "jones_westbrook_1995"]


def changed(steroid, **fields):
    for name, value in fields.items():
        steroid = eqx.tree_at(lambda s, name=name: getattr(s, name), steroid, value)
    return steroid


def response(scheme, steroid_M=None):
    """Occupancy [time, state] during and after 1 ms of 1 mM, summed over bound steroids."""
    drive = Pulse(1e-3, 0.0, 1e-3)
    if steroid_M is not None:
        drive = drive + Tonic(steroid_M, "allopregnanolone")
    time = np.array([0.0, 2e-4, 1e-3, 5e-3, 0.05, 0.3])
    trace = simulate(jax.random.key(0), scheme, drive, engine=Master(), t1_s=0.3, save_s=time)
    copies = 1 if scheme.copies is None else scheme.copies.n_sites + 1
    return np.asarray(trace.occupancy).reshape(len(time), copies, -1).sum(axis=1)


@pytest.mark.parametrize("name", NAMES)
def test_no_steroid_no_effect(name):
    scheme = load_scheme(name)
    product = scheme.with_steroid(load_steroid())
    assert product.n_states == 3 * scheme.n_states
    assert (
        product.states[: scheme.n_states] == scheme.states
        and product.states[-1] == f"{scheme.states[-1]}+2S"
    )
    np.testing.assert_allclose(response(product, 0.0), response(scheme), rtol=0, atol=1e-13)
    law = np.asarray(product.steady_state({"GABA": 1e-6}))
    np.testing.assert_allclose(
        law[: scheme.n_states], scheme.steady_state({"GABA": 1e-6}), rtol=1e-12
    )
    np.testing.assert_array_equal(law[scheme.n_states :], 0.0)


@pytest.mark.parametrize("name", NAMES)
def test_a_steroid_without_preference_does_nothing(name):
    scheme = load_scheme(name)
    idle = changed(load_steroid(), c_open=1.0, c_desensitized=1.0)
    np.testing.assert_allclose(
        response(scheme.with_steroid(idle), 3e-7), response(scheme), rtol=0, atol=1e-12
    )
    # the comparison can fail
    busy = response(scheme.with_steroid(load_steroid()), 3e-7)
    assert np.abs(busy - response(scheme)).max() > 1e-2


def test_gating_and_binding_rates_by_hand():
    scheme, steroid = load_scheme(SYNAPTIC), load_steroid()
    product, n = scheme.with_steroid(steroid), 9
    q = generator(product, {"GABA": 1e-6, "allopregnanolone": 1e-7})
    r2, o2, df = (scheme.states.index(s) for s in ("R2", "O2", "Df"))
    for m in (0, 1, 2):
        k = m * n
        np.testing.assert_allclose(q[k + r2, k + o2], 4517 * 0.22 ** (-0.5 * m), rtol=1e-12)
        np.testing.assert_allclose(q[k + o2, k + r2], 470 * 0.22 ** (0.5 * m), rtol=1e-12)
        np.testing.assert_allclose(q[k + r2, k + df], 2600, rtol=1e-12)
        np.testing.assert_allclose(q[k + df, k + r2], 71 * 0.22**m, rtol=1e-12)
    for state, c in ((r2, 1.0), (o2, 0.22), (df, 0.22)):
        np.testing.assert_allclose(q[state, n + state], 2 * 0.3 / 0.24e-6 * 1e-7, rtol=1e-12)
        np.testing.assert_allclose(q[n + state, 2 * n + state], 0.3 / 0.24e-6 * 1e-7, rtol=1e-12)
        np.testing.assert_allclose(q[n + state, state], 0.3 * c, rtol=1e-12)
        np.testing.assert_allclose(q[2 * n + state, n + state], 2 * 0.3 * c, rtol=1e-12)


def test_the_start_is_at_equilibrium_with_the_steroid():
    named = load_scheme("jones_westbrook_1995").with_steroid(load_steroid())
    start = np.asarray(named.initial_occupancy({"allopregnanolone": 0.12e-6, "GABA": 1e-3}))
    # K = 0.24 uM on the closed start state, so x = 0.5
    np.testing.assert_allclose(start[[0, 7, 14]], np.array([1, 1, 0.25]) / 2.25, rtol=1e-12)
    assert start.sum() == pytest.approx(1, abs=1e-15)
    for name in (SYNAPTIC, EXTRASYNAPTIC):
        product = load_scheme(name).with_steroid(load_steroid())
        start = np.asarray(product.initial_occupancy({"allopregnanolone": 1e-7, "GABA": 1e-3}))
        q = generator(product, {"allopregnanolone": 1e-7})
        np.testing.assert_allclose(start @ expm(q * 5.0), start, rtol=0, atol=1e-12)


def test_dissociation_scales_the_concentration():
    scheme, steroid = load_scheme(EXTRASYNAPTIC), load_steroid()
    weaker = changed(steroid, dissociation_closed_M=10 * steroid.dissociation_closed_M)
    one = scheme.with_steroid(steroid).steady_state({"GABA": 1e-6, "allopregnanolone": 1e-7})
    other = scheme.with_steroid(weaker).steady_state({"GABA": 1e-6, "allopregnanolone": 1e-6})
    np.testing.assert_allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize("celsius", [15.0, 37.0])
def test_temperature_changes_speed_only(celsius):
    scheme = load_scheme(SYNAPTIC).with_steroid(load_steroid())
    warm, levels = scheme.at_temperature(celsius), {"GABA": 1e-6, "allopregnanolone": 1e-7}
    speed = 2.4 ** ((celsius - 23.0) / 10)
    np.testing.assert_allclose(
        warm.generator(levels), speed * np.asarray(scheme.generator(levels)), rtol=1e-12
    )
    np.testing.assert_allclose(warm.steady_state(levels), scheme.steady_state(levels), rtol=1e-10)
    np.testing.assert_allclose([c.ratio for c in cycle_ratios(warm)], 1.0, rtol=0, atol=1e-9)
    assert warm.facts.temperature_C == celsius and warm.facts.temperature_C_status == "derived"
    back = warm.at_temperature(23.0)
    np.testing.assert_allclose(back.log_rate, scheme.log_rate, rtol=1e-13)
    given = load_scheme(SYNAPTIC).at_temperature(celsius, q10=3.0)
    np.testing.assert_allclose(
        given.log_rate - load_scheme(SYNAPTIC).log_rate, np.log(3.0) * (celsius - 23) / 10
    )


@pytest.mark.parametrize("celsius", [-1.0, 45.1, float("nan")])
def test_temperature_outside_living_tissue(celsius):
    with pytest.raises(BadInput, match="celsius"):
        load_scheme(SYNAPTIC).at_temperature(celsius)
