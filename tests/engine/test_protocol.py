"""What every engine owes, and what `simulate` refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gabatone.kernels.drive.ligand import Decay, Pulse, Tonic, Train, Waveform
from gabatone.kernels.engine.channels import Channels
from gabatone.kernels.engine.counts import Counts
from gabatone.kernels.engine.grid import Grid
from gabatone.kernels.engine.master import Master
from gabatone.kernels.engine.simulate import COUNTS_PAY_ABOVE, simulate
from gabatone.kernels.errors import BadInput
from gabatone.kernels.receptor.catalogue import load_scheme, load_steroid
from helpers.schemes import write_scheme

KEY = jax.random.key(11)
ENGINES = [Channels(), Counts(), Grid(1e-4), Master()]
DRIVES = {
    "tonic": Tonic(1e-5),
    "pulse": Pulse(1e-3, 1e-3, 2e-3) + Tonic(1e-6),
    "train": Train((1e-3, 2.5e-3), 1e-3, 1e-3),
    "decay": Decay(1e-3, 1e-3, 0.5e-3) + Tonic(1e-6),
    "waveform": Waveform([0.0, 2e-3, 5e-3], [0.0, 1e-4, 1e-5]),
}

engines = pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: type(engine).__name__)


def check_trace(trace, scheme, engine, n, time):
    assert trace.engine == type(engine).__name__ and type(engine).exact is True
    assert trace.n == n and trace.scheme is scheme
    assert isinstance(trace.time_s, np.ndarray)
    np.testing.assert_allclose(trace.time_s, time, rtol=1e-14)
    occupancy = np.asarray(trace.occupancy)
    assert occupancy.shape == (len(time), scheme.n_states)
    assert (occupancy >= 0).all()
    if isinstance(engine, Master):
        assert trace.counts is False
        np.testing.assert_allclose(occupancy.sum(axis=1), 1.0, rtol=0, atol=1e-12)
        assert trace.covariance.shape == (len(time), scheme.n_states, scheme.n_states)
    else:
        assert trace.counts is True and trace.covariance is None
        assert np.issubdtype(occupancy.dtype, np.integer)
        np.testing.assert_array_equal(occupancy.sum(axis=1), n)
    opened = np.asarray(trace.open_probability)
    assert opened.shape == (len(time),) and (opened >= 0).all() and (opened <= 1).all()
    assert np.asarray(trace.current_pA(-70.0, -70.0)).shape == (len(time),)


@engines
@pytest.mark.parametrize("drive", DRIVES)
def test_every_engine_takes_every_drive(engine, drive):
    scheme = load_scheme("jones_westbrook_1995")
    trace = simulate(KEY, scheme, DRIVES[drive], engine=engine, n=300, t1_s=5e-3, save_s=5e-4)
    check_trace(trace, scheme, engine, 300, np.arange(11) * 5e-4)
    assert np.asarray(trace.occupancy)[0, 0] == (1 if isinstance(engine, Master) else 300)
    assert float(trace.open_probability.max()) > 0


@engines
def test_every_engine_takes_a_product_scheme(engine):
    scheme = load_scheme("jones_westbrook_1995").with_steroid(load_steroid())
    drive = Pulse(1e-3, 0.0, 1e-3) + Tonic(0.24e-6, "allopregnanolone")
    trace = simulate(KEY, scheme, drive, engine=engine, n=4000, t1_s=5e-3, save_s=5e-4)
    check_trace(trace, scheme, engine, 4000, np.arange(11) * 5e-4)
    # at S = K half of the sites of the closed receptors are taken at the start: 1 : 2 : 1
    start = np.asarray(trace.occupancy)[0].reshape(3, 7)[:, 0] * (
        4000 if isinstance(engine, Master) else 1
    )
    np.testing.assert_allclose(
        start, [1000, 2000, 1000], atol=0 if isinstance(engine, Master) else 250
    )


@engines
def test_every_engine_takes_every_start(engine):
    scheme = load_scheme("jones_westbrook_1995")
    run = {"engine": engine, "n": 500, "t1_s": 2e-3, "save_s": 1e-3}
    whole = 1 if isinstance(engine, Master) else 500
    for p0, state in ((None, "C0"), ("D2", "D2"), (np.eye(7)[3], scheme.states[3])):
        trace = simulate(KEY, scheme, Tonic(1e-6), p0=p0, **run)
        expected = whole * (np.array(scheme.states) == state)
        np.testing.assert_array_equal(np.asarray(trace.occupancy)[0], expected)
        check_trace(trace, scheme, engine, 500, np.array([0.0, 1e-3, 2e-3]))
    mixed = simulate(KEY, scheme, Tonic(1e-6), p0=jnp.array([0.5, 0, 0, 0, 0, 0, 0.5]), **run)
    start = np.asarray(mixed.occupancy)[0]
    assert set(np.flatnonzero(start)) == {0, 6}


@engines
@pytest.mark.parametrize(
    ("save_s", "expected"),
    [
        (1e-3, np.arange(6) * 1e-3),
        (7e-4, np.arange(8) * 7e-4),
        (5e-3, [0, 5e-3]),
        (np.array([0.0, 1e-4, 3e-3, 5e-3]), [0.0, 1e-4, 3e-3, 5e-3]),
        (np.array([2.5e-3]), [2.5e-3]),
    ],
    ids=["step", "step that does not divide", "ends only", "times", "one time"],
)
def test_save_times(engine, save_s, expected):
    scheme = load_scheme("destexhe_1994_2state")
    trace = simulate(
        KEY, scheme, Pulse(1e-3, 0.0, 1e-3), engine=engine, n=200, t1_s=5e-3, save_s=save_s
    )
    check_trace(trace, scheme, engine, 200, np.asarray(expected, float))


@engines
def test_a_rate_of_zero_is_simulated(engine, tmp_path):
    # C binds, A never lets go, O is never entered
    path = write_scheme(
        tmp_path / "stuck.toml",
        [("C", "closed"), ("A", "closed"), ("O", "open")],
        [("C", "A", 1e6, "GABA"), ("A", "C", 0.0), ("A", "O", 0.0), ("O", "A", 1.0)],
    )
    scheme = load_scheme(path)
    trace = simulate(
        KEY, scheme, Pulse(1e-3, 0.0, 1e-3), engine=engine, n=100, t1_s=0.5, save_s=0.1
    )
    total = np.asarray(trace.occupancy)
    np.testing.assert_allclose(total[1:], np.tile(total[-1], (5, 1)), rtol=1e-12)
    assert (
        total[-1, 1] == pytest.approx(total.sum(axis=1)[0] * (1 - np.exp(-1)), rel=0.3)
        and total[-1, 2] == 0
    )
    # nothing at all happens without agonist
    still = np.asarray(
        simulate(KEY, scheme, Tonic(0.0), engine=engine, n=100, t1_s=0.5, save_s=0.1).occupancy
    )
    np.testing.assert_array_equal(still, np.tile(still[0], (6, 1)))


@engines
def test_the_key_decides(engine):
    scheme = load_scheme("destexhe_1994_2state")

    def run(seed):
        return np.asarray(
            simulate(
                jax.random.key(seed),
                scheme,
                Tonic(1e-3),
                engine=engine,
                n=200,
                t1_s=5e-3,
                save_s=1e-3,
            ).occupancy
        )

    np.testing.assert_array_equal(run(1), run(1))
    assert (run(1) == run(2)).all() == isinstance(engine, Master)


def test_auto_takes_counts_above_50000():
    scheme = load_scheme("destexhe_1994_2state")
    assert COUNTS_PAY_ABOVE == 50_000
    for n, name in ((1, "Channels"), (50_000, "Channels"), (50_001, "Counts")):
        assert simulate(KEY, scheme, Tonic(1e-3), n=n, t1_s=1e-3, save_s=1e-3).engine == name


GOOD = {"n": 10, "t1_s": 1e-3, "save_s": 1e-4}
BAD = {
    "no channels": ({"n": 0}, "n", 0),
    "fewer than none": ({"n": -5}, "n", -5),
    "a truth value": ({"n": True}, "n", True),
    "negative end": ({"t1_s": -1.0}, "t1_s", -1.0),
    "no length": ({"t1_s": 0.0}, "t1_s", 0.0),
    "endless": ({"t1_s": float("inf")}, "t1_s", float("inf")),
    "negative step": ({"save_s": -1e-4}, "save_s", -1e-4),
    "step of nothing": ({"save_s": 0.0}, "save_s", 0.0),
    "step beyond the end": ({"save_s": 1.0}, "save_s", 1.0),
    "unordered times": ({"save_s": np.array([0.0, 2e-4, 1e-4])}, "save_s", [0.0, 2e-4, 1e-4]),
    "a time twice": ({"save_s": np.array([0.0, 0.0])}, "save_s", [0.0, 0.0]),
    "times beyond the end": ({"save_s": np.array([0.0, 1.0])}, "save_s", [0.0, 1.0]),
    "times before 0": ({"save_s": np.array([-1e-4, 1e-4])}, "save_s", [-1e-4, 1e-4]),
    "no times": ({"save_s": np.zeros(0)}, "save_s", []),
    "unknown start": ({"p0": "C9"}, "p0", "C9"),
    "start that sums to 2": ({"p0": np.array([1.0, 1.0])}, "p0", [1.0, 1.0]),
    "negative start": ({"p0": np.array([1.5, -0.5])}, "p0", [1.5, -0.5]),
    "start of another length": ({"p0": np.array([1.0, 0.0, 0.0])}, "p0", (3,)),
    "unknown engine": ({"engine": "foo"}, "engine", "foo"),
    "unknown ligand": (
        {"drive": Tonic(1e-6) + Tonic(1e-7, "allopregnanolone")},
        "drive",
        "allopregnanolone",
    ),
    "no drive": ({"drive": 1e-6}, "drive", "float"),
    "no scheme": ({"scheme": "destexhe_1994_2state"}, "scheme", "str"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_call(case):
    changes, field, value = BAD[case]
    call = {"scheme": load_scheme("destexhe_1994_2state"), "drive": Tonic(1e-6), **GOOD, **changes}
    # checked types would stop some of these first; users run without them
    plain = getattr(simulate, "__wrapped__", simulate)
    with pytest.raises(BadInput) as caught:
        plain(KEY, **call)
    assert caught.value.field == field and caught.value.value == value
    assert caught.value.cause and caught.value.fix and "\n" not in str(caught.value)


@pytest.mark.parametrize("n", [2.5, float("nan"), "ten", None])
def test_number_of_channels_that_is_no_number(n):
    plain = getattr(simulate, "__wrapped__", simulate)
    with pytest.raises(BadInput, match="not a number of channels"):
        plain(KEY, load_scheme("destexhe_1994_2state"), Tonic(1e-6), n=n, t1_s=1e-3, save_s=1e-4)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Channels(lanes=0), "Channels.lanes"),
        (lambda: Channels(chunk=0), "Channels.chunk"),
        (lambda: Channels(chunk=1 << 40), "Channels.chunk"),
    ],
)
def test_bad_engine_settings(make, field):
    with pytest.raises(BadInput) as caught:
        make()
    assert caught.value.field == field


def test_too_many_channels_for_an_engine():
    for engine, n in ((Channels(), 2**31), (Counts(), 2**53 + 1)):
        with pytest.raises(BadInput, match="n = "):
            simulate(
                KEY,
                load_scheme("destexhe_1994_2state"),
                Tonic(1e-6),
                engine=engine,
                n=n,
                t1_s=1e-3,
                save_s=1e-4,
            )
