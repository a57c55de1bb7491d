"""Temperature by transition-state theory: enthalpies of states and of the barriers between them.

A step from state i over the barrier b has the rate
``k = kappa (kB T / h) exp(-(G_b - G_i) / (R T))`` with ``G = H - T S`` (Eyring 1935, J Chem Phys
3:107). Between two temperatures the entropies and the transmission factor cancel::

    k(T) / k(T0) = (T / T0) exp(-(H_b - H_i) / R (1/T - 1/T0))

Each state has one enthalpy and each barrier one for both directions, so the factors around any
cycle cancel: a cycle that is balanced at one temperature is balanced at all.
"""

from types import SimpleNamespace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import constants

from gabatone.kernels.bounds import require
from gabatone.kernels.errors import BadInput
from gabatone.kernels.receptor.reversibility import cycle_ratios

GAS_kJ_PER_MOL_K = constants.R / constants.kilo
Q10_SPAN_C = 10.0
_CYCLE_TOLERANCE = 1e-6


class Enthalpies(eqx.Module):
    """Enthalpy of every state and every barrier of a scheme, kJ/mol, from a common zero.

    Parameters
    ----------
    state_kJ_per_mol : float [state]
    barrier_kJ_per_mol : float [pair]
        One number for the two directions of a pair of states.
    pair : tuple of int [edge]
        The pair that an edge belongs to.
    """

    state_kJ_per_mol: Float[Array, " state"] | np.ndarray
    barrier_kJ_per_mol: Float[Array, " pair"] | np.ndarray
    pair: tuple[int, ...] = eqx.field(static=True)

    def activation_kJ_per_mol(self, source) -> Float[Array, " edge"] | np.ndarray:
        """Barrier minus starting state for each edge; `source` is that of the scheme."""
        return (
            self.barrier_kJ_per_mol[np.array(self.pair)] - self.state_kJ_per_mol[np.array(source)]
        )

    def log_speed(self, source, from_C, to_C) -> Float[Array, " edge"] | np.ndarray:
        """``ln k(to) - ln k(from)`` of each edge between two temperatures in degrees Celsius."""
        return eyring_log_speed(self.activation_kJ_per_mol(source), from_C, to_C)


def eyring_log_speed(activation_kJ_per_mol, from_C, to_C):
    """``ln k(to) - ln k(from)`` of a step with one activation enthalpy (equation above)."""
    start, end = constants.zero_Celsius + from_C, constants.zero_Celsius + to_C
    return np.log(end / start) - activation_kJ_per_mol / GAS_kJ_PER_MOL_K * (
        1.0 / end - 1.0 / start
    )


def activation_from_q10(q10, celsius):
    """Activation enthalpy, kJ/mol, of a step that speeds up `q10`-fold from `celsius` to 10 C above.

    Raises `BadInput` for a Q10 that is not finite and above 0.
    """
    require("q10", q10, above=0.0)
    start = constants.zero_Celsius + celsius
    end = start + Q10_SPAN_C
    log = jnp.log(q10) if isinstance(q10, jax.core.Tracer) else np.log(q10)
    return GAS_kJ_PER_MOL_K * (log - np.log(end / start)) / (1.0 / start - 1.0 / end)


def q10_from_activation(activation_kJ_per_mol, celsius):
    """Speed at `celsius` + 10 over that at `celsius`; the inverse of `activation_from_q10`."""
    log = eyring_log_speed(activation_kJ_per_mol, celsius, celsius + Q10_SPAN_C)
    return jnp.exp(log) if isinstance(log, jax.core.Tracer) else np.exp(log)


def pairs_of(source, target) -> tuple[tuple[int, ...], list[tuple[int, int]]]:
    """The pair of states that each edge joins: its number for each edge, and the pairs."""
    keys = [(min(i, j), max(i, j)) for i, j in zip(source, target, strict=True)]
    pairs = list(dict.fromkeys(keys))
    return tuple(pairs.index(key) for key in keys), pairs


def enthalpies_from_q10(states, source, target, q10, celsius: float, name: str = "") -> Enthalpies:
    """The enthalpies at which each step speeds up by its own Q10 [edge] from `celsius` to 10 C above.

    Q10s that differ between the directions of a step give its two states different
    enthalpies. Around a cycle these must add up to 0. Raises `BadInput`, naming the cycle,
    where they do not: which of the numbers is wrong cannot be told from here, and a
    correction spread over the cycle would change numbers that were read in a source.
    """
    q10 = np.asarray(q10, float)
    activation = np.asarray(activation_from_q10(q10, celsius))
    _require_balance(states, source, target, q10, name)
    pair, pairs = pairs_of(source, target)
    by_edge = dict(zip(zip(source, target, strict=True), activation, strict=True))
    level, front = {0: 0.0}, [0]
    while front:
        i = front.pop()
        for j in (b if a == i else a for a, b in pairs if i in (a, b)):
            if j not in level:
                forward = by_edge.get((i, j), by_edge.get((j, i)))
                level[j] = level[i] + forward - by_edge.get((j, i), forward)
                front.append(j)
    state = np.array([level[i] for i in range(len(states))])
    barrier = np.zeros(len(pairs))
    for (i, _), p, height in zip(by_edge, pair, activation, strict=True):
        barrier[p] = state[i] + height
    return Enthalpies(state, barrier, pair)


def _require_balance(states, source, target, q10, name: str) -> None:
    graph = SimpleNamespace(
        name=name,
        states=tuple(states),
        n_states=len(states),
        source=source,
        target=target,
        ligands=("",) * len(source),
        log_rate=np.log(q10),
    )
    for cycle in cycle_ratios(graph):
        if abs(np.log(cycle.ratio)) > _CYCLE_TOLERANCE:
            raise BadInput(
                f"{name}: q10 around cycle {'-'.join(cycle.states)}",
                cycle.ratio,
                "the Q10s of one direction multiply to another number than those of the other, "
                "so the cycle would not stay balanced when warmed",
                "change a q10 of this cycle until the ratio is 1, or give enthalpies of "
                "states and barriers; a step without q10 has the default",
            )


def read_enthalpies(file: str, data: dict, states, source, target, celsius, q10: float):
    """Enthalpies from the tables of a scheme file, or None where it gives no number of its own.

    Either ``q10`` on transitions, or ``enthalpy_kJ_per_mol`` on states and
    ``barrier_enthalpy_kJ_per_mol`` on transitions. A step without a number has the default
    `q10`; a barrier without one stands as high above the mean of its two states as the
    default does above equal states. Raises `BadInput` for a value that is not finite, a
    Q10 of 0 or less, both ways in one file, or two values for one barrier.
    """
    tables = data["transitions"]
    own_q10 = [t.get("q10") for t in tables]
    own_barrier = [t.get("barrier_enthalpy_kJ_per_mol") for t in tables]
    own_state = [s.get("enthalpy_kJ_per_mol") for s in data["states"]]
    by_energy = any(v is not None for v in (*own_state, *own_barrier))
    if not by_energy and all(v is None for v in own_q10):
        return None
    for k, value in enumerate(own_q10):
        if value is not None and by_energy:
            raise BadInput(
                f"{file}: transitions[{k}].q10",
                value,
                "the file gives enthalpies as well",
                "give either q10 on transitions or enthalpies of states and barriers",
            )
        _number(f"{file}: transitions[{k}].q10", value, above=0.0)
    for k, value in enumerate(own_state):
        _number(f"{file}: states[{k}].enthalpy_kJ_per_mol", value)
    for k, value in enumerate(own_barrier):
        _number(f"{file}: transitions[{k}].barrier_enthalpy_kJ_per_mol", value)
    if not by_energy:
        filled = [q10 if v is None else float(v) for v in own_q10]
        return enthalpies_from_q10(states, source, target, filled, celsius, file)
    height = np.array([0.0 if v is None else float(v) for v in own_state])
    pair, pairs = pairs_of(source, target)
    barrier = np.array(
        [(height[i] + height[j]) / 2 + activation_from_q10(q10, celsius) for i, j in pairs]
    )
    given = {}
    for k, value in enumerate(own_barrier):
        if value is None:
            continue
        if given.setdefault(pair[k], value) != value:
            raise BadInput(
                f"{file}: transitions[{k}].barrier_enthalpy_kJ_per_mol",
                value,
                f"the other direction of this step has {given[pair[k]]}",
                "give one barrier for both directions",
            )
        barrier[pair[k]] = value
    return Enthalpies(height, barrier, pair)


def _number(field: str, value, above: float | None = None) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadInput(field, value, "not a number", "give a number")
    require(field, value, above=above)
