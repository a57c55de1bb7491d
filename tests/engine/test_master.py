"""Mean and covariance from the master equation, against scipy, diffrax and finite differences."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gabatone.kernels.drive.ligand import Decay, Pulse, Tonic, Train, Waveform
from gabatone.kernels.engine import master
from gabatone.kernels.engine.master import Master
from gabatone.kernels.engine.simulate import simulate
from gabatone.kernels.errors import Failure
from gabatone.kernels.receptor.catalogue import load_scheme, load_steroid
from helpers import law

KEY = jax.random.key(0)
JONES = load_scheme("jones_westbrook_1995")
PRODUCT = load_scheme("default_synaptic_abg_mwc").with_steroid(load_steroid())


def run(scheme, drive, time, n=1, p0=None, **settings):
    return simulate(
        KEY, scheme, drive, engine=Master(**settings), n=n, t1_s=float(time[-1]), save_s=time, p0=p0
    )


CASES = {
    "pulse": (JONES, Pulse(1e-3, 1e-3, 2e-3) + Tonic(1e-6), 1e-10),
    "train": (JONES, Train((0.0, 1e-3, 1.2e-3), 1e-3, 5e-4), 1e-10),
    "decay": (JONES, Decay(3e-3, 2e-4, 5e-4) + Tonic(1e-6), 2e-8),
    "waveform": (JONES, Waveform([5e-4, 1e-3, 4e-3], [0.0, 1e-3, 0.0]), 2e-8),
    "steroid pulse": (
        PRODUCT,
        Pulse(1e-3, 0.0, 1e-3) + Pulse(1e-7, 2e-3, 9.0, "allopregnanolone"),
        1e-10,
    ),
    "steroid decay": (
        PRODUCT,
        Decay(3e-3, 2e-4) + Waveform([0.0, 4e-3], [0.0, 1e-6], "allopregnanolone"),
        2e-8,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_mean_against_scipy(case):
    scheme, drive, tolerance = CASES[case]
    time = np.array([7e-4, 1e-3, 2.1e-3, 6e-3, 20e-3])
    trace = run(scheme, drive, time)
    start = scheme.initial_occupancy({"allopregnanolone": 0.0} if scheme is PRODUCT else None)
    np.testing.assert_allclose(
        trace.occupancy, law.occupancy(scheme, drive, time, start), rtol=0, atol=tolerance
    )


def test_smooth_drives_in_float32():
    time = np.array([1e-3, 5e-3])
    exact = run(JONES, CASES["decay"][1], time).occupancy
    with jax.enable_x64(False):
        found = run(JONES, CASES["decay"][1], time).occupancy
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-4)


def test_a_fixed_number_of_parts_converges_with_the_fourth_order():
    # one short ramp; rates that are being differentiated get as many parts as are asked for
    drive, time = Waveform([0.0, 1e-3], [0.0, 2e-3]), np.array([1e-3])

    def end(substeps):
        def of(log_rate):
            return run(
                eqx.tree_at(lambda s: s.log_rate, JONES, log_rate), drive, time, substeps=substeps
            ).occupancy

        return jax.jit(of)(JONES.log_rate)

    errors = [float(jnp.abs(end(k) - end(64)).max()) for k in (2, 4, 8)]
    assert errors[2] < 1e-6
    for coarse, fine in zip(errors, errors[1:], strict=False):
        assert 10 < coarse / fine < 24


LONG = {
    "up": Waveform([0.0, 0.2], [0.0, 1e-3]),
    "down": Waveform([0.0, 0.2], [1e-3, 0.0]),
    "slow decay": Decay(1e-3, 0.04),
}


@pytest.mark.parametrize("drive", LONG)
def test_long_ramps_saved_once(drive):
    # 10,000 events a second in one long window: a fixed few parts would err by 1e-4 and more
    time, start = np.array([0.2]), np.eye(7)[0]
    expected = law.occupancy(JONES, LONG[drive], time, start)
    np.testing.assert_allclose(run(JONES, LONG[drive], time).occupancy, expected, rtol=0, atol=2e-8)


def test_a_drive_too_steep_is_named(monkeypatch):
    monkeypatch.setattr(master, "_MOST_PARTS", 16)
    with pytest.raises(Failure, match="steep_drive: the drive between 0 s and 0.2 s"):
        run(JONES, LONG["up"], np.array([0.2]))


def test_a_decay_against_diffrax():
    drive, time = Decay(3e-3, 2e-4) + Tonic(1e-6), np.array([1e-4, 1e-3, 5e-3])
    still, slope = JONES.generator({}), JONES.generator({"GABA": 1.0}) - JONES.generator({})

    def field(t, p, args):
        return p @ (still + slope * (3e-3 * jnp.exp(-t / 2e-4) + 1e-6))

    found = diffrax.diffeqsolve(
        diffrax.ODETerm(field),
        diffrax.Kvaerno5(),
        0.0,
        5e-3,
        1e-7,
        JONES.initial_occupancy(),
        max_steps=100_000,
        saveat=diffrax.SaveAt(ts=time),
        stepsize_controller=diffrax.PIDController(rtol=1e-10, atol=1e-12),
    )
    np.testing.assert_allclose(run(JONES, drive, time).occupancy, found.ys, rtol=0, atol=2e-8)


def test_covariance_is_that_of_independent_channels():
    time = np.array([0.0, 5e-4, 3e-3])
    trace = run(JONES, Pulse(1e-3, 0.0, 1e-3), time, n=250)
    mean, full = law.covariance(
        np.eye(7)[0], law.transitions(JONES, Pulse(1e-3, 0.0, 1e-3), time[1:]), 250
    )
    np.testing.assert_allclose(trace.covariance[0], 0.0, atol=1e-10)
    np.testing.assert_allclose(np.asarray(trace.occupancy)[1:] * 250, mean, rtol=0, atol=1e-8)
    for k in (1, 2):
        np.testing.assert_allclose(trace.covariance[k], full[k - 1, :, k - 1, :], rtol=0, atol=1e-8)
    opened = JONES.is_open.astype(float)
    spread = np.einsum("tij,i,j->t", trace.covariance, opened, opened)
    share = np.asarray(trace.open_probability)
    np.testing.assert_allclose(spread, 250 * share * (1 - share), rtol=0, atol=1e-9)


def difference(f, x, step):
    return (8 * (f(x + step) - f(x - step)) - (f(x + 2 * step) - f(x - 2 * step))) / (12 * step)


GRADED = {
    "pulse": (JONES, lambda c: Pulse(c, 0.0, 1e-3) + Tonic(1e-6), 1e-4),
    "decay": (JONES, lambda c: Decay(c, 2e-4) + Tonic(1e-6), 1e-3),
    "steroid": (
        load_scheme("destexhe_1994_2state").with_steroid(load_steroid()),
        lambda c: Pulse(1e-3, 0.0, 1e-3) + Tonic(c, "allopregnanolone"),
        1e-7,
    ),
}


@pytest.mark.parametrize("case", GRADED)
def test_gradients(case):
    scheme, drive, level = GRADED[case]
    time = np.array([8e-4, 4e-3])

    def opened(change, conc):
        changed = eqx.tree_at(lambda s: s.log_rate, scheme, scheme.log_rate + change)
        return run(changed, drive(conc), time).open_probability.sum()

    value = jax.jit(opened)
    none = jnp.zeros(len(scheme.source))
    by_rate, by_conc = jax.jit(jax.grad(opened, argnums=(0, 1)))(none, level)
    np.testing.assert_allclose(
        by_conc, difference(lambda c: value(none, c), level, 1e-2 * level), rtol=1e-5
    )
    assert np.isfinite(by_rate).all() and float(jnp.abs(by_rate).max()) > 1e-3
    for edge in range(0, len(scheme.source), 3):
        expected = difference(lambda x, edge=edge: value(none.at[edge].set(x), level), 0.0, 1e-2)
        np.testing.assert_allclose(by_rate[edge], expected, rtol=1e-5, atol=1e-9)


def test_gradient_at_no_concentration():
    # the first agonist molecule counts in full, not by half
    def bound(conc):
        return run(JONES, Tonic(conc), np.array([1e-4])).occupancy[0, JONES.states.index("C1")]

    np.testing.assert_allclose(jax.grad(bound)(0.0), (bound(1e-9) - bound(0.0)) / 1e-9, rtol=1e-3)
