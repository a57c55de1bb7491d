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
from gabatone.kernels.errors import BadInput, Failure
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

    exact = end(64)
    coarse, fine = (float(jnp.abs(end(k) - exact).max()) for k in (8, 16))
    assert fine < 1e-7 and 10 < coarse / fine < 24


def test_traced_windows_that_are_not_resolved_give_nan():
    # 0.2 s in 32 parts: 40 events in each
    def of(log_rate):
        scheme = eqx.tree_at(lambda s: s.log_rate, JONES, log_rate)
        return run(scheme, LONG["up"], np.array([0.2])).occupancy

    assert np.isnan(jax.jit(of)(JONES.log_rate)).all()


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
    """Central difference of fourth order."""
    return (8 * (f(x + step) - f(x - step)) - (f(x + 2 * step) - f(x - 2 * step))) / (12 * step)


TRANSMITTER = Waveform([0.0, 1e-3, 4e-3], [0.0, 1e-3, 1e-5])
GRADED = {
    "constant": (Tonic, 1e-4),
    "pulse": (lambda c: Pulse(c, 0.0, 1e-3) + Tonic(1e-6), 1e-4),
    "decay": (lambda c: Decay(c, 2e-4) + Tonic(1e-6), 1e-3),
    "waveform": (lambda c: TRANSMITTER + Tonic(c), 1e-5),
}


def assert_gradient(value, exact, ways, name):
    """The derivative of ``exact`` at 0 along each of `ways` [way, entry] is that of ``value``."""
    found = ways @ jax.jit(jax.grad(value))(jnp.zeros(ways.shape[1]))
    exact = jax.jit(exact)
    wanted = [difference(lambda x, way=way: exact(x * way), 0.0, 1e-2) for way in ways]
    assert float(np.abs(found).max()) > 1e-3
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("case", GRADED)
def test_gradients_by_every_rate_and_the_concentration(case):
    drive, level = GRADED[case]
    time = np.array([8e-4, 4e-3])

    def opened(change, **settings):
        changed = eqx.tree_at(lambda s: s.log_rate, JONES, JONES.log_rate + change[:-1])
        trace = run(changed, drive(level * jnp.exp(change[-1])), time, **settings)
        return trace.open_probability.sum()

    ways = np.eye(13)
    if case in ("decay", "waveform"):
        # dearer: the concentration alone, and every rate at once with weights of either sign
        ways = np.stack([np.eye(13)[12], *np.cos(np.outer([1.0, 2.0, 4.0], np.arange(13)))])
    # differences of a finer solution, so that too few parts would show
    assert_gradient(opened, lambda x: opened(x, substeps=48), jnp.asarray(ways), case)


STEROID = ("dissociation_closed_M", "c_open", "c_desensitized", "unbinding_closed_per_s")


def test_gradients_by_steroid_parameters_and_level():
    steroid, time = load_steroid(), np.array([1e-3, 0.01])
    names = (*STEROID, "phi_open", "phi_desensitized")

    def opened(change):
        scaled = [getattr(steroid, name) * jnp.exp(change[k]) for k, name in enumerate(names)]
        changed = eqx.tree_at(lambda s: [getattr(s, name) for name in names], steroid, scaled)
        drive = Pulse(1e-3, 0.0, 1e-3) + Tonic(1e-7 * jnp.exp(change[-1]), "allopregnanolone")
        return run(JONES.with_steroid(changed), drive, time).open_probability.sum()

    assert_gradient(opened, opened, jnp.eye(len(names) + 1), "steroid")


def test_gradient_at_no_concentration():
    # the first agonist molecule counts in full, not by half
    def bound(conc):
        return run(JONES, Tonic(conc), np.array([1e-4])).occupancy[0, JONES.states.index("C1")]

    np.testing.assert_allclose(jax.grad(bound)(0.0), (bound(1e-9) - bound(0.0)) / 1e-9, rtol=1e-3)


def test_covariance_is_left_out_or_refused_where_it_is_large():
    time = np.linspace(0.0, 1.0, 200_001)
    bare = run(JONES, Tonic(1e-5), time[:11], covariance=False)
    assert bare.covariance is None
    full = run(JONES, Tonic(1e-5), time[:11])
    np.testing.assert_array_equal(bare.occupancy, full.occupancy)
    # 200,001 x 27 x 27 x 8 bytes are 1.09 GiB
    with pytest.raises(BadInput, match="takes 1.09 GiB") as caught:
        run(PRODUCT, Tonic(1e-5), time)
    assert caught.value.field == "save_s" and "covariance=False" in caught.value.fix
    most = int(caught.value.fix.split()[-4])
    assert most * 27 * 27 * 8 <= 2**30 < (most + 1) * 27 * 27 * 8


@pytest.mark.parametrize("drive", [Tonic(1e-4), CASES["decay"][1]], ids=["constant", "decay"])
def test_blocks_of_windows_change_nothing(drive, monkeypatch):
    time = np.arange(41) * 1e-4
    whole = run(JONES, drive, time).occupancy
    monkeypatch.setattr(master, "_BLOCK", 10)
    np.testing.assert_allclose(run(JONES, drive, time).occupancy, whole, rtol=0, atol=2e-9)
    np.testing.assert_allclose(
        run(JONES, drive, time[5:14]).occupancy, whole[5:14], rtol=0, atol=2e-8
    )


def test_bad_number_of_parts():
    with pytest.raises(BadInput, match="Master.substeps"):
        Master(substeps=0)
