"""One membrane step of a point neuron: gates and voltage relax exponentially in turn.

Voltage is known at whole steps and gates at half steps, so that each sees the other at the middle
of its own step: second order at the price of first (staggering after Hines 1984, Int J Biomed
Comput 15:69; exponential step after Rush & Larsen 1978, IEEE Trans Biomed Eng 25:389).
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from gabatone.kernels.neuron.cells import Cell, Gate, Rate

# below this |x| the series of x / (exp(x) - 1) beats the quotient in any precision
_SERIES = 0.1


class Membrane(eqx.Module):
    """Voltage (V) and gates of many neurons."""

    voltage_V: Float[Array, " neuron"]
    m: Float[Array, " neuron"]
    h: Float[Array, " neuron"]
    n: Float[Array, " neuron"]


def _linoid(x):
    x2 = x * x
    series = 1.0 - 0.5 * x + x2 * (1.0 / 12.0 - x2 * (1.0 / 720.0 - x2 / 30240.0))
    small = jnp.abs(x) < _SERIES
    return jnp.where(small, series, x / (jnp.exp(jnp.where(small, 1.0, x)) - 1.0))


def rate_per_s(rate: Rate, voltage_V: Float[Array, " *shape"]) -> Float[Array, " *shape"]:
    """Rate in 1/s at each voltage, at the temperature of the source (form: see `Rate`)."""
    x = (rate.midpoint_V - voltage_V) / rate.slope_V
    if rate.form == "linoid":
        return rate.scale_per_s * _linoid(x)
    if rate.form == "exponential":
        return rate.scale_per_s * jnp.exp(x)
    return rate.scale_per_s / (1.0 + jnp.exp(x))


def steady_gate(gate: Gate, voltage_V: Float[Array, " *shape"]) -> Float[Array, " *shape"]:
    """Open fraction that a gate reaches at each voltage."""
    opening, closing = rate_per_s(gate.opening, voltage_V), rate_per_s(gate.closing, voltage_V)
    return opening / (opening + closing)


def relax_gate(
    gate: Gate, open_fraction: Float[Array, " *shape"], voltage_V: Float[Array, " *shape"], time_s
) -> Float[Array, " *shape"]:
    """Open fraction after ``time_s`` at a fixed voltage: exact. Time as the source's clock runs."""
    opening, closing = rate_per_s(gate.opening, voltage_V), rate_per_s(gate.closing, voltage_V)
    total = opening + closing
    steady = opening / total
    return steady + (open_fraction - steady) * jnp.exp(-time_s * total)


def at_rest(cell: Cell, voltage_V: Float[Array, " neuron"]) -> Membrane:
    """Neurons held at a voltage until the gates are steady."""
    return Membrane(voltage_V, *(steady_gate(gate, voltage_V) for gate in (cell.m, cell.h, cell.n)))


def step_membrane(
    cell: Cell,
    membrane: Membrane,
    synaptic_S: Float[Array, " neuron"],
    synaptic_A: Float[Array, " neuron"],
    dt_s: float,
) -> Membrane:
    """Advance by ``dt_s`` with synaptic conductance held.

    ``synaptic_S`` is the summed synaptic conductance and ``synaptic_A`` the sum of conductance
    times reversal potential. The voltage step is exact for the conductances at mid-step:
    C dV/dt = sum g (E - V).
    """
    v, clock = membrane.voltage_V, dt_s * cell.rate_factor
    m = relax_gate(cell.m, membrane.m, v, clock)
    h = relax_gate(cell.h, membrane.h, v, clock)
    n = relax_gate(cell.n, membrane.n, v, clock)
    sodium = cell.sodium_S * (m * m * m) * h
    n2 = n * n
    potassium = cell.potassium_S * (n2 * n2)
    total = cell.leak_S + sodium + potassium + synaptic_S
    drive = (
        cell.leak_S * cell.leak_reversal_V
        + sodium * cell.sodium_reversal_V
        + potassium * cell.potassium_reversal_V
        + synaptic_A
    )
    target = drive / total
    v = target + (v - target) * jnp.exp(total * (-dt_s / cell.capacitance_F))
    return Membrane(v, m, h, n)
