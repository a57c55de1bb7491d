import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import poisson

from gabatone.kernels.engine.streams import threefry
from gabatone.kernels.errors import BadInput, Failure
from gabatone.kernels.neuron import population as module
from gabatone.kernels.neuron.membrane import at_rest, rate_per_s
from gabatone.kernels.neuron.population import (
    Excitation,
    Population,
    event_bounds,
    excitatory_events,
    excitatory_words,
    fire,
    load_population,
)
from helpers.statistics import assert_detects, assert_z

KEY = jax.random.key(7)
STEP_S = 1e-4


def tonic(conductance_S, n_neurons, seconds, dtype=np.float32):
    return np.full((round(seconds / STEP_S), n_neurons), conductance_S, dtype)


def silent(reversal_V):
    """One neuron without excitation whose 'GABA' reverses where we like."""
    stored = load_population("traub_miles", 1)
    return Population(stored.cell, 1, Excitation(0.0, 0.0, 5e-3, 0.0), reversal_V)


# ---- the membrane in time ----


def crossings(time_s, voltage_V):
    up = np.flatnonzero((voltage_V[:-1] < 0) & (voltage_V[1:] >= 0))
    low, high = voltage_V[up], voltage_V[up + 1]
    return time_s[up] - (time_s[up + 1] - time_s[up]) * low / (high - low)


def reference_spikes(cell, conductance_S, seconds):
    """Spike times by an adaptive solver at tolerance 1e-9, conductance reversing at 0 V."""

    def field(t, y, args):
        v, m, h, n = y
        change = [
            cell.rate_factor
            * (rate_per_s(gate.opening, v) * (1 - x) - rate_per_s(gate.closing, v) * x)
            for gate, x in ((cell.m, m), (cell.h, h), (cell.n, n))
        ]
        current = cell.leak_S * (cell.leak_reversal_V - v) - conductance_S * v
        current += cell.sodium_S * m**3 * h * (cell.sodium_reversal_V - v)
        current += cell.potassium_S * n**4 * (cell.potassium_reversal_V - v)
        return jnp.stack([current / cell.capacitance_F, *change])

    rest = at_rest(cell, jnp.array([cell.leak_reversal_V]))
    time_s = np.arange(0, seconds, 2e-6)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(field),
        diffrax.Tsit5(),
        0.0,
        seconds,
        1e-6,
        jnp.concatenate([rest.voltage_V, rest.m, rest.h, rest.n]),
        saveat=diffrax.SaveAt(ts=time_s),
        stepsize_controller=diffrax.PIDController(rtol=1e-9, atol=1e-11),
        max_steps=200_000,
    )
    return crossings(time_s, np.asarray(solution.ys[:, 0]))


def our_spikes(conductance_S, seconds, dt_s):
    population = silent(0.0)
    steps = round(seconds / dt_s)
    conductance = np.full((steps, 1), conductance_S)
    got = fire(KEY, population, conductance, step_s=dt_s, substeps=1, recorded=(0,))
    start = [population.cell.leak_reversal_V]
    return crossings(np.arange(steps + 1) * dt_s, np.append(start, got.voltage_V[:, 0]))


def test_spike_times_converge_to_the_reference_at_second_order():
    exact = reference_spikes(silent(0.0).cell, 1e-9, 0.1)
    assert exact.size == 6
    first, last = [], []
    for dt_s in (5e-5, 2.5e-5, 1.25e-5):
        ours = our_spikes(1e-9, 0.1, dt_s)
        assert ours.size == exact.size
        first.append(abs(ours[0] - exact[0]))
        last.append(abs((ours[-1] - ours[0]) / (exact[-1] - exact[0]) - 1))
    # stated error at the default step of 0.05 ms: 25 us in the first spike, 0.3 % in the rate
    assert first[0] < 25e-6
    assert last[0] < 3e-3
    for errors in (first, last):
        assert all(
            3.0 < coarse / fine < 5.0 for coarse, fine in zip(errors, errors[1:], strict=False)
        )


def test_a_passive_cell_settles_where_its_conductances_say():
    stored = silent(-0.0765)
    still = eqx.tree_at(lambda p: (p.cell.sodium_S, p.cell.potassium_S), stored, (0.0, 0.0))
    got = fire(KEY, still, tonic(0.5e-9, 1, 0.3, np.float64), step_s=STEP_S, recorded=(0,))
    time_s = STEP_S * np.arange(1, got.voltage_V.shape[0] + 1)
    end_V = (2.5 * -0.06 + 0.5 * -0.0765) / 3.0
    exact = end_V + (-0.06 - end_V) * np.exp(-time_s * 3e-9 / 50e-12)
    np.testing.assert_allclose(got.voltage_V[:, 0], exact, rtol=1e-11)


# ---- inhibition and firing ----


def test_firing_falls_with_each_step_of_tonic_inhibition():
    population = load_population("traub_miles", 60)
    rates = [
        float(fire(KEY, population, tonic(g, 60, 1.0), step_s=STEP_S, discard_s=0.1).mean_rate_Hz)
        for g in (0.0, 0.25e-9, 0.5e-9, 1e-9, 2e-9, 4e-9)
    ]
    assert all(high > low for high, low in zip(rates, rates[1:], strict=False))
    assert rates[0] > 15
    assert rates[-1] < 1


def test_untreated_cells_fire_as_they_were_set_to():
    n, steps = 100, 10_000
    arrivals = np.random.default_rng(1).random((steps, n)) < 50 * STEP_S
    conductance, phasic = np.empty((steps, n), np.float32), np.zeros(n)
    for i in range(steps):
        phasic = phasic * np.exp(-STEP_S / 16e-3) + 0.3e-9 * arrivals[i]
        conductance[i] = 0.5e-9 + phasic
    got = fire(KEY, load_population("traub_miles", n), conductance, step_s=STEP_S, discard_s=0.2)
    assert 5 < float(got.mean_rate_Hz) < 15


def test_rate_is_count_over_counted_time():
    population = load_population("traub_miles", 20)
    whole = fire(KEY, population, tonic(0.0, 20, 0.6), step_s=STEP_S)
    late = fire(KEY, population, tonic(0.0, 20, 0.6), step_s=STEP_S, discard_s=0.2)
    early = fire(KEY, population, tonic(0.0, 20, 0.2), step_s=STEP_S)
    np.testing.assert_array_equal(whole.spike_count, early.spike_count + late.spike_count)
    np.testing.assert_allclose(late.rate_Hz, late.spike_count / 0.4, rtol=1e-6)
    np.testing.assert_allclose(late.mean_rate_Hz, np.mean(late.rate_Hz), rtol=1e-6)
    assert whole.spike_count.dtype == jnp.int32


# ---- one stream of excitation ----


def test_threefry_known_answers():
    cases = [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 2, (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ]
    for key, counter, expected in cases:
        got = threefry(jnp.array(key, jnp.uint32), *(jnp.uint32(x) for x in counter))
        assert tuple(int(x) for x in got) == expected


@pytest.mark.parametrize("rate_Hz", [0.0, 20.0, 400.0, 5000.0])
def test_events_are_poisson_to_the_last_bit(rate_Hz):
    bounds = event_bounds(rate_Hz, STEP_S).astype(np.float64)
    above = (2.0**32 - 1 - bounds) / 2.0**32
    np.testing.assert_allclose(above, poisson.sf(np.arange(8), rate_Hz * STEP_S), atol=2.0**-32)


def event_z(words, rate_Hz, truth_Hz, n=2000, steps=2000):
    """z of the total number of events, and of events shared by neighbours in neuron and in time."""
    bounds = jnp.asarray(event_bounds(rate_Hz, STEP_S))
    draw = jax.jit(jax.vmap(lambda step: excitatory_events(words, bounds, step, n)))
    events = np.asarray(draw(jnp.arange(steps)), np.float64)
    mean = truth_Hz * STEP_S
    pairs = [events[:, 1:] * events[:, :-1], events[1:] * events[:-1]]
    variance = (mean + mean**2) ** 2 - mean**4
    # neighbouring products share a factor, which adds a covariance on each side
    shared = 2 * (mean + mean**2) * mean**2 - 2 * mean**4
    z = [(events.sum() - events.size * mean) / np.sqrt(events.size * mean)]
    z += [(p.sum() - p.size * mean**2) / np.sqrt(p.size * (variance + shared)) for p in pairs]
    return np.array(z)


def test_event_rate_and_independence():
    words = excitatory_words(KEY)
    assert_z(event_z(words, 400.0, 400.0), "excitatory events")
    assert_detects(event_z(words, 400.0, 392.0), "excitatory events 2 % too many")


def test_a_neuron_hears_the_same_events_in_any_company():
    words, bounds = excitatory_words(KEY), jnp.asarray(event_bounds(4000.0, STEP_S))
    for step in (0, 1, 12345):
        few, many = (excitatory_events(words, bounds, jnp.int32(step), n) for n in (5, 300))
        np.testing.assert_array_equal(few, many[:5])
    other = excitatory_words(jax.random.key(8))
    assert not np.array_equal(words, other)


def test_old_and_new_style_keys_agree():
    population = load_population("traub_miles", 10)
    old, new = (
        fire(key, population, tonic(0.0, 10, 0.2), step_s=STEP_S)
        for key in (jax.random.PRNGKey(7), jax.random.key(7))
    )
    np.testing.assert_array_equal(old.spike_count, new.spike_count)


# ---- chunks ----


@pytest.mark.parametrize("size", [1000, 700, 333])
def test_the_result_does_not_depend_on_chunks(size):
    population = load_population("traub_miles", 37)
    noise = np.random.default_rng(3).gamma(2.0, 0.25e-9, (3000, 37)).astype(np.float32)
    settings = {"step_s": STEP_S, "discard_s": 0.05, "recorded": (0, 36)}
    whole = fire(KEY, population, noise, **settings)
    pieces = fire(KEY, population, (noise[i : i + size] for i in range(0, 3000, size)), **settings)
    assert int(whole.spike_count.sum()) > 0
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(pieces), strict=True):
        np.testing.assert_array_equal(one, other)


def test_other_rates_and_keys_need_no_new_compilation(monkeypatch):
    traced = []

    def counted(*args):
        traced.append(1)
        return step(*args)

    step = module.step_membrane
    monkeypatch.setattr(module, "step_membrane", counted)
    stored = load_population("traub_miles", 11)
    counts = []
    for rate_Hz, reversal_V, seed in ((20.0, -0.07, 1), (30.0, -0.06, 2), (40.0, -0.05, 3)):
        noise = Excitation(rate_Hz, 1e-9 * seed, 5e-3, 0.0)
        population = Population(stored.cell, 11, noise, reversal_V)
        fire(jax.random.key(seed), population, tonic(1e-9, 11, 0.0123), step_s=STEP_S)
        counts.append(len(traced))
    assert counts[0] == counts[-1] > 0


def test_single_precision_is_the_rule_and_double_follows():
    population = load_population("traub_miles", 40)
    single = fire(KEY, population, tonic(0.5e-9, 40, 0.5), step_s=STEP_S, recorded=(0,))
    double = fire(KEY, population, tonic(0.5e-9, 40, 0.5, np.float64), step_s=STEP_S, recorded=(0,))
    assert single.voltage_V.dtype == jnp.float32
    assert double.voltage_V.dtype == jnp.float64
    # the same events: spikes shift by less than a step and few are gained or lost
    assert np.mean(np.asarray(single.spike_count) != np.asarray(double.spike_count)) < 0.1
    with jax.enable_x64(False):
        off = fire(KEY, population, tonic(0.5e-9, 40, 0.5), step_s=STEP_S)
    np.testing.assert_array_equal(off.spike_count, single.spike_count)


# ---- refusals and failures ----


def test_nan_names_neuron_time_and_state():
    population = load_population("traub_miles", 5)
    spoiled = tonic(0.5e-9, 5, 0.05)
    spoiled[321, 3] = np.nan
    for chunks in (spoiled, (spoiled[i : i + 100] for i in range(0, 500, 100))):
        with pytest.raises(Failure) as caught:
            fire(KEY, population, chunks, step_s=STEP_S)
        assert caught.value.name == "nan_voltage"
        for word in ("1 of 5", "neuron 3 at 0.0321 s", "grid step 321", "voltage -0.0", "nan S"):
            assert word in str(caught.value)
    quiet = fire(KEY, population, spoiled, step_s=STEP_S, throw=False)
    np.testing.assert_array_equal(quiet.bad_step, [-1, -1, -1, 321, -1])


def test_a_step_too_long_is_refused_with_the_largest():
    population = load_population("traub_miles", 2)
    with pytest.raises(BadInput, match="accurate up to 0.0001 s.*at least 5 substeps"):
        fire(KEY, population, tonic(0.0, 2, 0.1), step_s=5e-4, substeps=2)
    fire(KEY, population, tonic(0.0, 2, 0.1), step_s=5e-4, substeps=5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conductance": np.zeros((10, 3), np.float32)}, r"shape = \(10, 3\).*\[time, 2\]"),
        ({"conductance": np.full((10, 2), -1e-9)}, r"inhibitory_conductance_S\[0, 0\] = -1e-09"),
        ({"conductance": [np.zeros((10, 2)), np.zeros((5, 1))]}, r"\(chunk 1\).shape"),
        ({"conductance": []}, "run is only 0 s long"),
        ({"discard_s": 0.2}, "run is only 0.1 s long"),
        ({"discard_s": -1.0}, "discard_s = -1.0"),
        ({"step_s": 0.0}, "step_s = 0.0"),
        ({"substeps": 0}, "substeps = 0"),
        ({"recorded": (0, 2)}, r"recorded\[1\] = 2.0"),
    ],
)
def test_bad_arguments_are_named(changes, message):
    arguments = {"conductance": tonic(0.0, 2, 0.1), "step_s": STEP_S, **changes}
    conductance = arguments.pop("conductance")
    with pytest.raises(BadInput, match=message):
        fire(KEY, load_population("traub_miles", 2), conductance, **arguments)


def test_bad_excitation_is_named():
    with pytest.raises(BadInput, match="excitation.rate_Hz = -1.0"):
        Excitation(-1.0, 1e-9, 5e-3, 0.0)
    with pytest.raises(BadInput, match="excitation.decay_s = 0.0"):
        Excitation(1.0, 1e-9, 0.0, 0.0)
    with pytest.raises(BadInput, match="excitation.rate_Hz = 6000.0.*at most 5000 Hz"):
        event_bounds(6000.0, STEP_S)
    with pytest.raises(BadInput, match="n_neurons = 0"):
        load_population("traub_miles", 0)
