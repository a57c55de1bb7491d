"""A population of unconnected point neurons under excitatory noise and a given inhibition."""

import math
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, Key, Shaped, UInt32

from gabatone.kernels.bounds import require
from gabatone.kernels.engine.streams import threefry
from gabatone.kernels.errors import BadInput, Failure
from gabatone.kernels.neuron.cells import Cell, cell_cards, cell_path, load_cell, si_value
from gabatone.kernels.neuron.membrane import Membrane, at_rest, step_membrane

# name of the excitatory stream among those derived from one key
_EXCITATION = int.from_bytes(b"exci")
# events of one step that the counter can tell apart, and the mean that this bounds
_EVENTS = 8
_LARGEST_MEAN = 0.5


class Excitation(eqx.Module):
    """Shot noise: each Poisson event adds one quantum of conductance, which decays exponentially.

    All in SI; rate, quantum and decay are 0 or more (decay above 0), else `BadInput`.
    """

    rate_Hz: float
    quantal_conductance_S: float
    decay_s: float
    reversal_V: float

    def __check_init__(self):
        require("excitation.rate_Hz", self.rate_Hz, least=0.0)
        require("excitation.quantal_conductance_S", self.quantal_conductance_S, least=0.0)
        require("excitation.decay_s", self.decay_s, above=0.0)
        require("excitation.reversal_V", self.reversal_V)


class Population(eqx.Module):
    """``n_neurons`` like cells, each with its own excitatory stream and its own inhibition."""

    cell: Cell
    n_neurons: int = eqx.field(static=True)
    excitation: Excitation
    gaba_reversal_V: float

    def __check_init__(self):
        require("n_neurons", self.n_neurons, least=1)
        require("gaba_reversal_V", self.gaba_reversal_V)


class State(eqx.Module):
    """Where a population stands after ``step`` grid steps; hand it on to the next chunk.

    ``bad_step`` is the first grid step that left the voltage not finite, or -1.
    """

    step: Int[Array, ""]
    membrane: Membrane
    excitatory_S: Float[Array, " neuron"]
    spike_count: Int[Array, " neuron"]
    bad_step: Int[Array, " neuron"]


class Firing(eqx.Module):
    """Spikes counted after the discarded start.

    ``voltage_V`` holds the recorded neurons at the end of each grid step, [time, recorded].
    ``bad_step`` is -1 for each neuron of a sound run.
    """

    rate_Hz: Float[Array, " neuron"]
    spike_count: Int[Array, " neuron"]
    mean_rate_Hz: Float[Array, ""]
    voltage_V: Float[Array, "time recorded"]
    bad_step: Int[Array, " neuron"]


def load_population(name: str | Path, n_neurons: int) -> Population:
    """Build a population of a stored cell with the excitation and GABA reversal of its cards."""
    file, cards = cell_path(name).name, cell_cards(name)
    si = partial(si_value, file, cards)
    return Population(
        load_cell(name),
        n_neurons,
        Excitation(
            si("excitation_rate", "frequency"),
            si("excitation_quantum", "conductance"),
            si("excitation_decay", "time"),
            si("excitation_reversal", "voltage"),
        ),
        si("gaba_reversal", "voltage"),
    )


def event_bounds(rate_Hz: float, step_s: float) -> np.ndarray:
    """Integers that a uniform 32-bit word exceeds once for each event of a step, uint32 [8].

    The number exceeded is Poisson with mean ``rate_Hz * step_s`` by inversion, to within 2^-32.
    Raises `BadInput` where the mean is too large for 8 events to suffice.
    """
    mean = rate_Hz * step_s
    if mean > _LARGEST_MEAN:
        raise BadInput(
            "excitation.rate_Hz",
            rate_Hz,
            f"{mean:.3g} events in a grid step of {step_s:g} s",
            f"use at most {_LARGEST_MEAN / step_s:g} Hz, or a shorter step_s",
        )
    bounds, term, below = [], math.exp(-mean), 0.0
    for count in range(_EVENTS):
        below += term
        term *= mean / (count + 1)
        bounds.append(min(round(below * 2**32), 2**32) - 1)
    return np.array(bounds, np.uint32)


def excitatory_words(key: Key[Array, ""] | UInt32[Array, "2"]) -> UInt32[Array, "2"]:
    """Two key words of the excitatory stream; any kind of key will do."""
    return jax.random.bits(jax.random.fold_in(key, _EXCITATION), (2,), jnp.uint32)


def excitatory_events(
    words: UInt32[Array, "2"], bounds: UInt32[Array, " level"], step: Int[Array, ""], n_neurons: int
) -> Int[Array, " neuron"]:
    """Poisson number of events of each neuron in one grid step (see `event_bounds`)."""
    neuron = jnp.arange(n_neurons, dtype=jnp.uint32)
    tick = jnp.broadcast_to(step.astype(jnp.uint32), neuron.shape)
    word, _ = threefry(words, neuron, tick)
    return sum((word > bounds[i]).astype(jnp.int32) for i in range(bounds.size))


def start(population: Population, dtype=jnp.float32) -> State:
    """All neurons at the leak reversal potential with steady gates and no excitation yet."""
    n, cell = population.n_neurons, population.cell
    voltage = jnp.full((n,), cell.leak_reversal_V, dtype)
    none = jnp.zeros((n,), jnp.int32)
    rest = at_rest(cell, voltage)
    return State(jnp.int32(0), rest, jnp.zeros((n,), dtype), none, none - 1)


@eqx.filter_jit
def advance(words, bounds, population, state, inhibitory_S, step_s, substeps, discard, recorded):
    """Run one chunk of grid steps: the new `State` and voltage [time, recorded].

    ``words`` are the two key words of the excitatory stream. The result does not depend on how a
    run is cut into chunks: events depend on key, neuron and absolute step only.
    """
    cell, noise = population.cell, population.excitation
    dtype = inhibitory_S.dtype
    dt = step_s / substeps
    fade = jnp.exp(-dt / noise.decay_s).astype(dtype)
    # mean of the decaying conductance over one membrane step
    mean = (-jnp.expm1(-dt / noise.decay_s) * noise.decay_s / dt).astype(dtype)
    quantum = jnp.asarray(noise.quantal_conductance_S, dtype)

    def membrane_step(inhibitory, counted, carry):
        membrane, excitatory, count = carry
        now = excitatory * mean
        current = now * noise.reversal_V + inhibitory * population.gaba_reversal_V
        after = step_membrane(cell, membrane, now + inhibitory, current, dt)
        low = membrane.voltage_V < cell.spike_threshold_V
        crossed = low & (after.voltage_V >= cell.spike_threshold_V)
        return after, excitatory * fade, count + (crossed & counted)

    def grid_step(state, inhibitory):
        events = excitatory_events(words, bounds, state.step, population.n_neurons)
        excitatory = state.excitatory_S + events.astype(dtype) * quantum
        carry = (state.membrane, excitatory, state.spike_count)
        # a rolled loop: the compiler would draw the events anew for each of its outputs
        body = partial(membrane_step, inhibitory, state.step >= discard)
        membrane, excitatory, count = jax.lax.fori_loop(0, substeps, lambda _, c: body(c), carry)
        lost = ~jnp.isfinite(membrane.voltage_V) & (state.bad_step < 0)
        bad = jnp.where(lost, state.step, state.bad_step)
        seen = membrane.voltage_V[jnp.array(recorded, int)] if recorded else jnp.zeros((0,), dtype)
        return State(state.step + 1, membrane, excitatory, count, bad), seen

    return jax.lax.scan(grid_step, state, inhibitory_S)


def fire(
    key: Key[Array, ""] | UInt32[Array, "2"],
    population: Population,
    inhibitory_conductance_S: Shaped[ArrayLike, "time neuron"] | Iterable,
    *,
    step_s: float,
    substeps: int = 2,
    discard_s: float = 0.0,
    recorded: tuple[int, ...] = (),
    throw: bool = True,
) -> Firing:
    """Simulate the population under an inhibitory conductance and count its spikes.

    Parameters
    ----------
    key : PRNG key
        Decides the excitatory input, and nothing else does: neuron i gets the same events at the
        same grid step whatever the inhibition, the chunks or the number of neurons.
    population : Population
    inhibitory_conductance_S : float [time, neuron], or an iterable of such chunks
        Held over each grid step. A long run is handed over in chunks, which bound its memory; the
        result is the same bit for bit. The membrane is computed in the dtype of the conductance.
    step_s : float
        Grid step of the conductance.
    substeps : int
        Membrane steps in one grid step.
    discard_s : float
        Spikes before this time are not counted.
    recorded : tuple of int
        Neurons whose voltage is kept.
    throw : bool
        Whether a voltage that is not finite raises, or is left to ``Firing.bad_step``.

    Raises
    ------
    BadInput
        A conductance of another shape or below 0, or a membrane step longer than the cell allows.
    Failure
        ``nan_voltage``, with neuron, time and the state before.
    """
    _check(population, step_s, substeps, discard_s, recorded)
    bounds = jnp.asarray(event_bounds(population.excitation.rate_Hz, step_s))
    words = excitatory_words(key)
    discard = jnp.int32(round(discard_s / step_s))
    state, traces = None, []
    for chunk in _chunks(inhibitory_conductance_S, population.n_neurons):
        if state is None:
            state = start(population, chunk.dtype)
            numbers = jax.tree.map(lambda x, t=chunk.dtype: jnp.asarray(x, t), _numbers(population))
            run = partial(advance, words, bounds, _with_numbers(population, numbers))
            rest = (float(step_s), int(substeps), discard, tuple(recorded))
        before = state
        state, trace = run(before, chunk, *rest)
        traces.append(trace)
        if throw and bool(jnp.any(state.bad_step >= 0)):
            raise _explain(run, before, state, chunk, rest)
    _require_counted(state, int(discard), step_s, discard_s)
    rate = state.spike_count / ((state.step - discard) * step_s)
    voltage = jnp.concatenate(traces)
    return Firing(rate, state.spike_count, jnp.mean(rate), voltage, state.bad_step)


def _require_counted(state: State | None, discard: int, step_s, discard_s) -> None:
    if state is None or int(state.step) <= discard:
        raise BadInput(
            "discard_s",
            discard_s,
            f"the run is only {0 if state is None else int(state.step) * step_s:g} s long",
            "run for longer or discard less",
        )


def _numbers(population: Population):
    return population.excitation, population.gaba_reversal_V


def _with_numbers(population: Population, numbers) -> Population:
    return eqx.tree_at(_numbers, population, numbers)


def _chunks(conductance, n_neurons: int) -> Iterator[Array]:
    whole = hasattr(conductance, "shape")
    for i, chunk in enumerate([conductance] if whole else conductance):
        field = "inhibitory_conductance_S" + ("" if whole else f" (chunk {i})")
        chunk = jnp.asarray(chunk)
        if chunk.ndim != 2 or chunk.shape[1] != n_neurons:
            cause = f"needs the shape [time, {n_neurons}]"
            raise BadInput(f"{field}.shape", chunk.shape, cause, "give a column for each neuron")
        if not jnp.issubdtype(chunk.dtype, jnp.floating):
            chunk = chunk.astype(jnp.float32)
        if bool(jnp.any(chunk < 0)):
            step, neuron = (int(x) for x in np.argwhere(np.asarray(chunk) < 0)[0])
            name = f"{field}[{step}, {neuron}]"
            value = float(chunk[step, neuron])
            raise BadInput(name, value, "a conductance is not negative", "give 0 or more")
        yield chunk


def _check(population: Population, step_s, substeps, discard_s, recorded) -> None:
    require("step_s", step_s, above=0.0)
    require("substeps", substeps, least=1)
    require("discard_s", discard_s, least=0.0)
    if recorded:
        require("recorded", recorded, least=0, most=population.n_neurons - 1)
    largest = population.cell.largest_step_s
    # the tolerance lets a decimal step divide without rounding trouble
    if step_s / substeps > largest * (1.0 + 1e-9):
        needed = math.ceil(step_s / largest * (1.0 - 1e-9))
        raise BadInput(
            "step_s / substeps",
            step_s / substeps,
            f"cell {population.cell.name} is accurate up to {largest:g} s",
            f"use at least {needed} substeps, or a shorter step_s",
        )


def _explain(run, before: State, after: State, chunk, rest) -> Failure:
    step_s, bad = rest[0], np.asarray(after.bad_step)
    lost = np.flatnonzero(bad >= 0)
    neuron = int(lost[np.argmin(bad[lost])])
    step = int(bad[neuron])
    row = step - int(before.step)
    last, _ = run(before, chunk[:row], *rest)
    m = last.membrane
    return Failure(
        "nan_voltage",
        f"{lost.size} of {bad.size} neurons, first neuron {neuron} at {step * step_s:.6g} s "
        f"(grid step {step}). Before it: voltage {float(m.voltage_V[neuron]):.6g} V, "
        f"m {float(m.m[neuron]):.4g}, h {float(m.h[neuron]):.4g}, n {float(m.n[neuron]):.4g}, "
        f"excitatory {float(last.excitatory_S[neuron]):.4g} S; inhibitory in the step "
        f"{float(chunk[row, neuron]):.4g} S. Likely cause: (a) an inhibitory conductance that is "
        "not finite, from the receptor simulation; (b) a cell card out of range. "
        "Check the numbers named here.",
    )
