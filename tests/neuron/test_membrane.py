import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gabatone.kernels.errors import BadInput
from gabatone.kernels.neuron.cells import CELLS, cell_cards, cell_names, load_cell
from gabatone.kernels.neuron.membrane import (
    Membrane,
    at_rest,
    rate_per_s,
    relax_gate,
    steady_gate,
    step_membrane,
)

CELL = load_cell("traub_miles")
# the linoid rates divide zero by zero at -50, -48 and -23 mV
VOLTAGE_V = 1e-3 * np.array([-90.0, -63.0, -50.0, -48.0, -47.99, -40.0, -23.0, -22.6, 0.0, 45.0])


def linoid(rate, u, slope):
    """rate * u / (exp(u / slope) - 1), both ends of the removable singularity included."""
    x = u / slope
    return rate * slope * np.where(x == 0, 1.0, x / np.expm1(np.where(x == 0, 1.0, x)))


def rates_per_ms(voltage_V):
    """Opening and closing of m, h, n in 1/ms, written from the source in its own units."""
    v = 1e3 * np.asarray(voltage_V) + 63.0
    return {
        "m": (linoid(0.32, 13 - v, 4), linoid(0.28, v - 40, 5)),
        "h": (0.128 * np.exp((17 - v) / 18), 4 / (1 + np.exp((40 - v) / 5))),
        "n": (linoid(0.032, 15 - v, 5), 0.5 * np.exp((10 - v) / 40)),
    }


def passive(**changes):
    cell = eqx.tree_at(lambda c: (c.sodium_S, c.potassium_S), CELL, (0.0, 0.0))
    for field, value in changes.items():
        cell = eqx.tree_at(lambda c, f=field: getattr(c, f), cell, value)
    return cell


def relax(cell, time_s, steps, dtype=jnp.float64):
    """Voltage from -80 mV after a time with 1 nS of synaptic conductance at 0 V."""
    membrane = at_rest(cell, jnp.array([-0.08], dtype))
    synaptic = jnp.array([1e-9], dtype), jnp.array([0.0], dtype)
    for _ in range(steps):
        membrane = step_membrane(cell, membrane, *synaptic, time_s / steps)
    return float(membrane.voltage_V[0])


# C dV/dt = 2.5 nS (-60 mV - V) + 1 nS (0 - V), C = 50 pF
EXACT_V = -0.15 / 3.5 + (-0.08 + 0.15 / 3.5) * np.exp(-0.01 * 3.5e-9 / 50e-12)


@pytest.mark.parametrize("steps", [1, 7, 100])
def test_passive_relaxation(steps):
    assert relax(passive(), 0.01, steps) == pytest.approx(EXACT_V, rel=1e-12)


def test_passive_relaxation_in_float32():
    assert relax(passive(), 0.01, 200, jnp.float32) == pytest.approx(EXACT_V, rel=2e-6)


def test_a_wrong_leak_is_found():
    wrong = relax(passive(leak_S=1.001 * CELL.leak_S), 0.01, 7)
    assert abs(wrong / EXACT_V - 1) > 1e-5


@pytest.mark.parametrize("name", ["m", "h", "n"])
def test_rates_against_the_source(name):
    gate = getattr(CELL, name)
    ours = [1e-3 * rate_per_s(r, jnp.array(VOLTAGE_V)) for r in (gate.opening, gate.closing)]
    np.testing.assert_allclose(ours, rates_per_ms(VOLTAGE_V)[name], rtol=1e-11)
    single = [1e-3 * rate_per_s(r, jnp.float32(VOLTAGE_V)) for r in (gate.opening, gate.closing)]
    np.testing.assert_allclose(single, rates_per_ms(VOLTAGE_V)[name], rtol=1e-5)


@pytest.mark.parametrize("name", ["m", "h", "n"])
@pytest.mark.parametrize("steps", [1, 20])
def test_gates_at_fixed_voltage(name, steps):
    opening, closing = (1e3 * x for x in rates_per_ms(VOLTAGE_V)[name])
    steady, start, time_s = opening / (opening + closing), 0.3, 3e-4
    exact = steady + (start - steady) * np.exp(-time_s * (opening + closing))
    gate, voltage = getattr(CELL, name), jnp.array(VOLTAGE_V)
    ours = jnp.full(voltage.shape, start)
    for _ in range(steps):
        ours = relax_gate(gate, ours, voltage, time_s / steps)
    np.testing.assert_allclose(ours, exact, rtol=1e-11)
    np.testing.assert_allclose(steady_gate(gate, voltage), steady, rtol=1e-11)


def test_gates_run_faster_at_body_temperature():
    assert pytest.approx(3 ** (1 / 10), rel=1e-12) == CELL.rate_factor
    shut = eqx.tree_at(lambda c: c.leak_S, CELL, 1e3)  # the leak clamps the voltage at its reversal
    zero = jnp.zeros(1)
    before = Membrane(jnp.array([CELL.leak_reversal_V]), zero, zero, zero)
    after = step_membrane(shut, before, zero, zero, 1e-4)
    expected = relax_gate(CELL.n, zero, before.voltage_V, 1e-4 * 3**0.1)
    np.testing.assert_allclose(after.n, expected, rtol=1e-12)


def test_any_step_stays_finite_and_within_the_reversals():
    membrane = at_rest(CELL, jnp.linspace(-0.09, 0.05, 50))
    for _ in range(200):
        zero = jnp.zeros(50)
        membrane = step_membrane(CELL, membrane, zero, zero, 1e-3)
        for gate in (membrane.m, membrane.h, membrane.n):
            assert bool(jnp.all((gate >= 0) & (gate <= 1)))
        voltage = membrane.voltage_V
        assert bool(jnp.all((voltage >= -0.0901) & (voltage <= 0.0501)))


def test_single_precision_needs_no_switch():
    with jax.enable_x64(False):
        rest = at_rest(CELL, jnp.full((2,), -0.06))
        zero = jnp.zeros(2)
        after = step_membrane(CELL, rest, zero, zero, 5e-5)
        assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(after))


def test_size_of_the_cell():
    assert pytest.approx(50e-12) == CELL.capacitance_F
    assert pytest.approx(2.5e-9) == CELL.leak_S
    assert pytest.approx(5e-6) == CELL.sodium_S
    assert pytest.approx(1.5e-6) == CELL.potassium_S


def test_gaba_reversal_follows_from_its_ions():
    card = {key: c.value for key, c in cell_cards("traub_miles").items()}
    share = card["bicarbonate_permeability"]
    inside = card["chloride_inside"] + share * card["bicarbonate_inside"]
    outside = card["chloride_outside"] + share * card["bicarbonate_outside"]
    thermal_mV = 1e3 * 8.314462618 * (273.15 + card["temperature"]) / 96485.33212
    assert card["gaba_reversal"] == pytest.approx(thermal_mV * np.log(inside / outside), abs=0.005)
    assert card["gaba_reversal"] < card["leak_reversal"]


def test_no_number_of_the_cell_is_only_recalled():
    assert {c.status for c in cell_cards("traub_miles").values()} <= {"read", "derived", "assumed"}


def test_unknown_cell_gives_the_nearest():
    assert cell_names() == ["traub_miles"]
    with pytest.raises(BadInput, match="cell = 'traub'.*Fix: use traub_miles"):
        load_cell("traub")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[leak]", "[leek]", "mine.toml: leak .*missing"),
        ('unit = "um2"', 'unit = "um"', "area.unit = 'um'.*use um2"),
        ('form = "sigmoid"', 'form = "sigmoidal"', "h_closing.form = 'sigmoidal'"),
        ("value = -5.0", "value = 0.0", "m_closing_slope.value"),
        ('value = 1.0\nunit = "uF/cm2"', 'value = -1.0\nunit = "uF/cm2"', "capacitance_F = -"),
    ],
)
def test_a_spoiled_cell_file_is_named(tmp_path, old, new, message):
    text = (CELLS / "traub_miles.toml").read_text()
    assert old in text
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(BadInput, match=message):
        load_cell(path)
