"""Channels on a grid: the law, rates that follow voltage, transitions of any rarity, and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.linalg import expm

from gabatone.kernels.drive.ligand import Decay, Pulse, Tonic, Train, Waveform
from gabatone.kernels.engine import grid
from gabatone.kernels.engine.grid import Grid, grid_step, step_table
from gabatone.kernels.engine.simulate import simulate
from gabatone.kernels.engine.streams import key_words
from gabatone.kernels.engine.voltage import VoltageCourse, VoltageDependence
from gabatone.kernels.errors import BadInput
from gabatone.kernels.receptor.catalogue import load_scheme, load_steroid
from helpers import law
from helpers.schemes import edge_named, scale_rate, write_scheme
from helpers.statistics import assert_detects, assert_pvalue

KEY = jax.random.key(31)
JONES = load_scheme("jones_westbrook_1995")
TWO = load_scheme("destexhe_1994_2state")


def counts(engine, drive, time, n, scheme=JONES, key=KEY, p0=None):
    trace = simulate(
        key, scheme, drive, engine=engine, n=n, t1_s=float(time[-1]), save_s=time, p0=p0
    )
    assert trace.engine == "Grid" and trace.counts is True and Grid.exact is True
    found = np.asarray(trace.occupancy)
    assert np.issubdtype(found.dtype, np.integer)
    np.testing.assert_array_equal(found.sum(axis=1), n)
    return found


TIME = np.array([3e-4, 1e-3, 2.13e-3, 6e-3, 0.02])  # one of them off the grid
CASES = {
    "pulse": Pulse(1e-3, 0.0, 5e-3) + Tonic(2e-5),
    "train": Train((0.0, 1e-3, 1.25e-3), 1e-3, 5e-4),
    "decay": Decay(3e-3, 2e-4, 1e-4) + Tonic(1e-6),
    "waveform": Waveform([0.0, 2e-3, 5e-3, 0.02], [0.0, 1e-3, 1e-4, 2e-5]),
}


@pytest.mark.parametrize("case", CASES)
def test_mean_and_power(case):
    # long steps and a break in the middle of one do no harm
    n, drive = 200_000, CASES[case]
    found = counts(Grid(4e-4), drive, TIME, n)
    start = np.eye(7)[0]
    assert_pvalue(
        law.binomial_p(found, n, law.occupancy(JONES, drive, TIME, start)), f"Grid mean, {case}"
    )
    for edge in (("C1", "C2"), ("O2", "C2"), ("C2", "D2")):
        wrong = scale_rate(JONES, edge_named(JONES, *edge), 1.05)
        assert_detects(
            p=law.binomial_p(found, n, law.occupancy(wrong, drive, TIME, start)),
            name=f"Grid, {edge} 5 % too fast, {case}",
        )


def test_two_time_covariance():
    # replicates of small populations: their scatter at two times and between them
    replicates, n, time, drive = 300, 1000, np.array([1e-3, 4e-3]), CASES["pulse"]
    states = [JONES.states.index(name) for name in ("O2", "D2", "C2")]
    samples = np.array(
        [
            counts(Grid(5e-4), drive, time, n, key=jax.random.fold_in(KEY, r))
            for r in range(replicates)
        ]
    )[:, :, states].reshape(replicates, -1)
    mean, full = law.covariance(np.eye(7)[0], law.transitions(JONES, drive, time), n)
    cov = full[:, states][:, :, :, states].reshape(6, 6)
    mean = mean[:, states].ravel()
    assert_pvalue(law.gaussian_p(samples, mean, cov), "Grid covariance")
    apart = cov * (np.arange(6)[:, None] // 3 == np.arange(6) // 3)
    assert_detects(p=law.gaussian_p(samples, mean, apart), name="Grid without memory")
    assert_detects(p=law.gaussian_p(samples, mean, 1.8 * cov), name="Grid, scatter")


def test_chunks_and_precision_change_nothing():
    for drive in (CASES["pulse"], CASES["decay"]):
        one = counts(Grid(4e-4), drive, TIME, 1000)
        np.testing.assert_array_equal(counts(Grid(4e-4, chunk=400), drive, TIME, 1000), one)
        with jax.enable_x64(False):
            np.testing.assert_array_equal(counts(Grid(4e-4), drive, TIME, 1000), one)


def test_tables_made_anew_change_nothing(monkeypatch):
    monkeypatch.setattr(grid, "_BLOCK", 16)
    run = (Grid(4e-4, chunk=400), CASES["pulse"], TIME, 1000)
    kept = counts(*run)
    monkeypatch.setattr(grid, "_KEPT_BYTES", 0)
    np.testing.assert_array_equal(counts(*run), kept)


def test_progress_is_told():
    told = []
    counts(
        Grid(1e-3, chunk=400, progress=lambda *at: told.append(at)),
        Tonic(1e-5),
        np.array([2e-3]),
        1000,
    )
    assert told == [(400, 1000), (800, 1000), (1000, 1000)]


def test_saving_more_often_on_the_grid_changes_nothing():
    fine = counts(Grid(2e-4), CASES["pulse"], np.arange(31) * 2e-4, 1000)
    coarse = counts(Grid(2e-4), CASES["pulse"], np.array([0.0, 1e-3, 6e-3]), 1000)
    np.testing.assert_array_equal(coarse, fine[[0, 5, 30]])
    assert coarse[0, 0] == 1000


def test_start_law_and_product_scheme():
    product = TWO.with_steroid(load_steroid())
    drive, n = Tonic(1e-3) + Tonic(1e-7, "allopregnanolone"), 200_000
    found = counts(Grid(1e-3), drive, np.array([0.0, 5e-3]), n, scheme=product)
    start = np.asarray(product.initial_occupancy({"allopregnanolone": 1e-7}))
    expected = [start, law.occupancy(product, drive, [5e-3], start)[0]]
    assert_pvalue(law.binomial_p(found, n, expected), "Grid, product scheme")


def test_a_rate_of_zero_and_an_absorbing_state(tmp_path):
    path = write_scheme(
        tmp_path / "stuck.toml",
        [("C", "closed"), ("A", "closed"), ("O", "open")],
        [("C", "A", 1e6, "GABA"), ("A", "C", 0.0), ("A", "O", 0.0), ("O", "A", 1.0)],
    )
    scheme = load_scheme(path)
    found = counts(Grid(1e-3), Pulse(1e-3, 0.0, 1e-3), np.array([0.1, 0.5]), 1000, scheme=scheme)
    np.testing.assert_array_equal(found[0], found[1])
    assert found[0, 2] == 0 and 500 < found[0, 1] < 760
    still = counts(Grid(1e-3), Tonic(0.0), np.array([0.0, 0.5]), 1000, scheme=scheme)
    np.testing.assert_array_equal(still[0], still[1])


# one step at a time

STEP = jax.jit(grid_step)


def jump(conc, dt):
    return jnp.asarray(expm(law.generator(JONES, {"GABA": conc}) * dt))


def test_grid_step_in_a_loop_is_grid():
    n, words, drive = 1000, key_words(KEY), Tonic(2e-4)
    step, state = jump(2e-4, 1e-4), jnp.zeros(n, jnp.int32)
    for k in range(1, 11):
        state = STEP(words, state, k, step)
    found = counts(Grid(1e-4), drive, np.array([1e-3]), n)[0]
    np.testing.assert_array_equal(np.bincount(state, minlength=7), found)


def test_grid_step_for_neurons_with_their_own_laws():
    words = key_words(KEY)
    laws = jnp.stack([jump(conc, 2e-4) for conc in (1e-5, 1e-4, 1e-3)])
    state = jnp.arange(3 * 50, dtype=jnp.int32).reshape(3, 50) % 7

    @jax.jit
    @jax.vmap
    def moved(number, state, step):
        return grid_step(words, state, 4, step, first=50 * number)

    together = moved(jnp.arange(3), state, laws)
    assert together.dtype == jnp.int32
    for k in range(3):
        alone = STEP(words, state[k], 4, laws[k], first=50 * k)
        np.testing.assert_array_equal(together[k], alone)
        # a channel is known by its number alone
        np.testing.assert_array_equal(
            STEP(words, state[k, 20:], 4, laws[k], first=50 * k + 20), alone[20:]
        )


def widths(table):
    """Exact chance [row, outcome] of each state: the number of 64-bit words that choose it."""
    edges = [
        [0, *((int(h) << 32) + int(low) for h, low in zip(high, low, strict=True)), 1 << 64]
        for high, low in zip(np.asarray(table.high), np.asarray(table.low), strict=True)
    ]
    chance = np.zeros(np.shape(table.order))
    for row, edge in enumerate(edges):
        assert all(b >= a for a, b in zip(edge, edge[1:], strict=False))
        for k, (a, b) in enumerate(zip(edge, edge[1:], strict=False)):
            chance[row, int(table.order[row, k])] = (b - a) / 2**64
    return chance


TABLE = jax.jit(step_table)
laws = npst.arrays(
    np.float64,
    (2, 5),
    elements=st.one_of(st.just(0.0), st.floats(1e-15, 1.0)),
).filter(lambda rows: (rows.sum(axis=1) > 0).all())


@given(laws)
def test_thresholds_carry_every_chance(weight):
    chance = weight / weight.sum(axis=1, keepdims=True)
    found = widths(step_table(chance))
    # 64 bits resolve 2**-64
    np.testing.assert_allclose(found, chance, rtol=1e-14, atol=2.0**-63)
    assert (found[weight == 0] == 0).all()
    # in float32 too a chance keeps its relative size
    with jax.enable_x64(False):
        single = widths(TABLE(jnp.asarray(chance, jnp.float32)))
    np.testing.assert_allclose(single, chance, rtol=2e-6, atol=2.0**-63)
    assert (single[weight == 0] == 0).all()


def test_the_second_word_decides_below_32_bits():
    # 1 in 2**40: the first word must be 0 and the second below 2**24
    table = step_table(np.array([[2.0**-40, 0.25, 0.75 - 2.0**-40]]))
    first = jnp.array([0, 0, 0, 1, 2**30, 2**30, 2**30 - 1, 2**32 - 1], jnp.uint32)
    second = jnp.array([0, 2**24 - 1, 2**24, 0, 2**24 - 1, 2**24, 0, 0], jnp.uint32)
    state = jnp.zeros(8, jnp.int32)
    moved = grid._move((first, second), state, jax.tree.map(jnp.asarray, table))
    np.testing.assert_array_equal(moved, [0, 0, 1, 1, 1, 2, 1, 2])


def test_a_transition_ten_million_times_slower_than_the_fastest(tmp_path):
    path = write_scheme(
        tmp_path / "rare.toml",
        [("C", "closed"), ("O", "open"), ("D", "desensitized")],
        [("C", "O", 1e7, "GABA"), ("O", "C", 1e4), ("C", "D", 1e-3), ("D", "C", 1e-9)],
    )
    scheme, n = load_scheme(path), 1 << 20
    found = counts(Grid(1e-3), Tonic(1e-3), np.array([0.2]), n, scheme=scheme)[0, 2]
    chance = expm(law.generator(scheme, {"GABA": 1e-3}) * 0.2)[0, 2]
    assert 90 < n * chance < 120
    assert_pvalue(law.binomial_p(found, n, chance), "rare transition")
    assert_detects(p=law.binomial_p(found, n, 2 * chance), name="a rare rate twice as high")


# voltage


PER_VOLT = np.linspace(-30.0, 40.0, len(JONES.source))


@pytest.mark.parametrize("case", ["pulse", "decay"])
def test_a_constant_voltage_is_a_scheme_of_other_rates(case):
    slopes = VoltageDependence(PER_VOLT, reference_V=-0.07)
    there = slopes.at(JONES, -0.04)
    held = counts(Grid(4e-4, voltage=VoltageCourse(slopes, -0.04)), CASES[case], TIME, 1000)
    np.testing.assert_array_equal(held, counts(Grid(4e-4), CASES[case], TIME, 1000, scheme=there))
    assert (held != counts(Grid(4e-4), CASES[case], TIME, 1000)).any()


def staircase(per_volt, volts, dt, conc):
    """Occupancy of the two-state scheme after each step, rate by rate."""
    (on, off), path = np.exp(TWO.log_rate), [np.eye(2)[0]]
    assert TWO.source == (0, 1) and TWO.ligands[0] == "GABA"
    for v in volts:
        forward, back = on * conc * np.exp(per_volt[0] * v), off * np.exp(per_volt[1] * v)
        rates = np.array([[-forward, forward], [back, -back]])
        path.append(path[-1] @ expm(rates * dt))
    return np.array(path[1:])


def test_rates_follow_a_voltage():
    """Mean under a moving voltage, a jump included, against matrix exponentials of each step."""
    per_volt, dt, n = np.array([20.0, -40.0]), 1e-3, 500_000

    def voltage(t):
        return np.where(t < 5e-3, -0.03, 0.02) + 0.03 * np.sin(300.0 * t)

    time = np.array([3e-3, 5e-3, 8e-3, 0.02])
    engine = Grid(dt, voltage=VoltageCourse(VoltageDependence(per_volt), voltage))
    found = counts(engine, Tonic(1e-4), time, n, scheme=TWO)
    volts = voltage((np.arange(20) + 0.5) * dt)
    at = np.array([2, 4, 7, 19])
    exact = staircase(per_volt, volts, dt, 1e-4)[at]
    assert_pvalue(law.binomial_p(found, n, exact), "Grid under a voltage")
    late = staircase(per_volt, voltage(np.arange(20) * dt), dt, 1e-4)[at]
    assert_detects(p=law.binomial_p(found, n, late), name="voltage of the step's start")
    still = staircase(per_volt, 0 * volts, dt, 1e-4)[at]
    assert_detects(p=law.binomial_p(found, n, still), name="no voltage")


def test_the_staircase_nears_a_smooth_voltage_by_the_square_of_the_step():
    def end(steps):
        dt = 0.02 / steps
        volts = 0.03 * np.sin(300.0 * (np.arange(steps) + 0.5) * dt)
        return staircase((20.0, -40.0), volts, dt, 1e-4)[-1, 1]

    errors = [abs(end(k) - end(640)) for k in (20, 40, 80)]
    for coarse, fine in zip(errors, errors[1:], strict=False):
        assert 3.5 < coarse / fine < 4.6


@pytest.fixture
def ring(tmp_path):
    """Three states in a balanced cycle."""
    states = [("A", "closed"), ("B", "open"), ("C", "closed")]
    pairs = [("A", "B"), ("B", "C"), ("C", "A")]
    path = write_scheme(
        tmp_path / "ring.toml",
        states,
        [(i, j, 10.0) for pair in pairs for i, j in (pair, pair[::-1])],
    )
    return load_scheme(path)


def test_a_cycle_must_close(ring):
    VoltageDependence(np.array([5.0, -3.0, 1.0, 2.0, -2.0, 5.0])).check(ring)
    with pytest.raises(BadInput, match="cycle") as caught:
        VoltageDependence(np.array([5.0, -3.0, 1.0, 2.0, -2.0, 4.0])).check(ring)
    assert abs(abs(caught.value.value) - 1.0) < 1e-9
    engine = Grid(1e-3, voltage=VoltageCourse(VoltageDependence(np.arange(6.0)), 0.0))
    with pytest.raises(BadInput, match="cycle"):
        counts(engine, Tonic(0.0), np.array([1e-2]), 10, scheme=ring)


GOOD = {"scheme": TWO, "drive": Tonic(1e-4), "t1_s": 1.0, "save_s": 0.1, "n": 10}
BAD = {
    "too much work": (Grid(1e-4), {"n": 2**31 - 1}, "n", "take 1000000000 channels or fewer"),
    "too many channels": (Grid(1e-4), {"n": 2**31}, "n", "Counts"),
    "too many steps": (Grid(1e-9), {}, "Grid.dt_s", "5.96e-08 s or more"),
    "slopes of another scheme": (
        Grid(1e-2, voltage=VoltageCourse(VoltageDependence(np.zeros(3)), 0.0)),
        {},
        "VoltageDependence.per_volt",
        "one slope for each",
    ),
    "a voltage that is not finite": (
        Grid(0.5, voltage=VoltageCourse(VoltageDependence(np.zeros(2)), lambda t: t * np.nan)),
        {},
        "VoltageCourse.voltage_V[0]",
        "finite",
    ),
    "a voltage of another length": (
        Grid(0.5, voltage=VoltageCourse(VoltageDependence(np.zeros(2)), lambda t: np.zeros(3))),
        {},
        "VoltageCourse.voltage_V",
        "same length",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_refusals(case):
    engine, changes, field, fix = BAD[case]
    with pytest.raises(BadInput) as caught:
        simulate(KEY, engine=engine, **{**GOOD, **changes})
    assert caught.value.field == field and fix in caught.value.fix


def test_the_estimate_is_in_the_refusal():
    with pytest.raises(BadInput, match="2.15e.13 channel-steps, about 59.7 hours"):
        simulate(KEY, engine=Grid(1e-4), **{**GOOD, "n": 2**31 - 1})
    with pytest.raises(BadInput, match="save at .* times or fewer"):
        times = np.broadcast_to(1.0, 2**29 + 1)
        grid._check_size(Grid(1e-2), grid.Request(TWO, Tonic(0.0), 1, 1.0, times, None, None))


@pytest.mark.parametrize("dt", [0.0, -1e-4, float("nan"), float("inf")])
def test_bad_steps(dt):
    with pytest.raises(BadInput, match="Grid.dt_s"):
        Grid(dt)
