"""Exact paths of a reaction network by the direct method, many runs at a time."""

import numbers
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from gabatone.kernels.engine.network import ReactionNetwork, evaluate
from gabatone.kernels.engine.streams import key_words, threefry, uniform
from gabatone.kernels.errors import BadInput, Failure

MOST_EVENTS = 100_000_000  # of one run
_MOST_RUNS = 2**31 - 1
_MOST_CELLS = 1 << 24  # counts of one call of the loop that are held at a time
_LEAST_CHUNK = 16
_CAUSES = (
    ("event_limit", "ran into the limit of {most} events", "raise most_events or shorten t1_s"),
    (
        "propensity",
        "reached a propensity that is negative or not finite",
        "mend the rate so that it stays at 0 or above",
    ),
    (
        "count_range",
        "reached a count below 0 or above 2**31 - 1",
        "let the propensity vanish when a reactant is used up, or shorten t1_s",
    ),
)


class NetworkTrace(eqx.Module):
    """Counts of the species over time, summed up over independent runs.

    Parameters
    ----------
    time_s : float [time]
    mean, variance : float [time, species]
        Over the runs; the variance with n - 1 in the denominator (NaN for a single run).
    paths : int [run, time, species] or None
    events : int
        Reactions that fired, in all runs together.
    """

    time_s: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    species: tuple[str, ...] = eqx.field(static=True)
    n: int = eqx.field(static=True)
    events: int = eqx.field(static=True)
    paths: np.ndarray | None = None


class Runs(NamedTuple):
    """What each run carries (all [run], ``count`` a tuple of them by species)."""

    count: tuple[jax.Array, ...]
    draw: jax.Array
    fired: jax.Array
    fault: jax.Array


def simulate_network(
    key,
    network: ReactionNetwork,
    *,
    n: int,
    t1_s: float,
    save_s,
    paths: bool = False,
    most_events: int = MOST_EVENTS,
    chunk: int = 8192,
    progress=None,
) -> NetworkTrace:
    """Simulate `n` independent runs of `network` from 0 to `t1_s` (Gillespie 1977, direct method).

    Every run draws from the counter streams of the channel engine: the integers depend on the
    key and on the run's number, not on `chunk` or `n`. A wait that would end beyond the next
    save time is drawn again from there. Memory is that of one chunk and of the output.

    Parameters
    ----------
    key : jax.random.key
    n : int
        Runs, 1 to 2**31 - 1.
    t1_s, save_s : float
        End, and a step or the increasing times [time] to save at, within 0 to `t1_s`, in the
        time unit of the rates.
    paths : bool
        Keep the counts of every run.
    most_events : int
        Draws that one run may use.
    progress : callable or None
        Called with (runs done, runs in all) after each chunk.

    Raises
    ------
    BadInput
        For a number of runs or a time that makes no sense.
    Failure
        ``event_limit``, ``propensity`` or ``count_range``, with the runs that met it; no
        truncated result is ever returned.
    """
    n = _whole("n", n, _MOST_RUNS)
    most_events, chunk = _whole("most_events", most_events, 2**32 - 2), _whole("chunk", chunk, n)
    time, species = _times(save_s, t1_s), network.species
    chunk = min(chunk, max(_LEAST_CHUNK, _MOST_CELLS // (len(time) * len(species))))
    run = partial(_run, *_arguments(key, network, time), plan=plan_of(network), chunk=chunk)
    tally, kept = Tally(len(time), len(species)), []
    for first in range(0, n, chunk):
        saved, fired, fault = run(jnp.uint32(first), jnp.uint32(most_events))
        wanted = min(chunk, n - first)
        _refuse(np.asarray(fault)[:wanted], first, most_events)
        counts = np.asarray(saved)[:, :, :wanted]
        tally.add(counts, int(np.asarray(fired)[:wanted].astype(np.int64).sum()))
        if paths:
            kept.append(np.moveaxis(counts, 2, 0))
        if progress is not None:
            progress(first + wanted, n)
    everything = np.concatenate(kept) if paths else None
    return NetworkTrace(time, *tally.moments(n), species, n, tally.events, everything)


class Plan(NamedTuple):
    """The static side of a network: everything but initial counts and parameter values."""

    species: tuple[str, ...]
    parameters: tuple[str, ...]
    change: tuple[tuple[int, ...], ...]
    rates: tuple[str, ...]


def plan_of(network: ReactionNetwork) -> Plan:
    """The static side of a network, by which the compiled loop is told from others."""
    return Plan(
        network.species,
        tuple(network.parameters),
        tuple(map(tuple, network.change.tolist())),
        tuple(reaction.rate for reaction in network.reactions),
    )


def _arguments(key, network: ReactionNetwork, time: np.ndarray) -> tuple:
    """Key words, parameter values, initial counts and the lengths of the windows."""
    return (
        key_words(key),
        jnp.asarray([float(v) for v in network.parameters.values()], jnp.float32),
        jnp.asarray(network.initial, jnp.int32),
        jnp.asarray(np.diff(time, prepend=0.0), jnp.float32),
    )


@partial(jax.jit, static_argnames=("plan", "chunk"))
def _run(words, values, start, length, first, most_events, *, plan: Plan, chunk: int):
    """Counts [window, species, run] at the end of each window, events and fault of each run."""
    run = first + jnp.arange(chunk, dtype=jnp.uint32)
    zero = jnp.zeros(chunk, jnp.uint32)
    runs = Runs(
        tuple(jnp.full(chunk, start[s]) for s in range(len(plan.species))),
        zero,
        zero,
        jnp.zeros(chunk, jnp.int32),
    )
    parameters = dict(zip(plan.parameters, values, strict=True))

    def window(runs: Runs, span):
        runs = _through(words, run, runs, parameters, span, most_events, plan)
        return runs, jnp.stack(runs.count)

    runs, saved = jax.lax.scan(window, runs, length)
    return saved, runs.fired, runs.fault


def _through(words, run, runs: Runs, parameters: dict, span, most_events, plan: Plan) -> Runs:
    """All runs to the end of one window; each waits there for the slowest."""

    def step(carry):
        runs, t, lost, busy = carry
        wait_bits, pick_bits = jax.lax.optimization_barrier(threefry(words, run, runs.draw + 1))
        counts = dict(zip(plan.species, (c.astype(jnp.float32) for c in runs.count), strict=True))
        rates = [
            jnp.broadcast_to(
                jnp.asarray(evaluate(r, {**counts, **parameters}), jnp.float32), t.shape
            )
            for r in plan.rates
        ]
        total = sum(rates[1:], rates[0])
        sound = jnp.isfinite(total)
        for rate in rates:
            sound = sound & (rate >= 0)
        wait = jnp.where(total > 0, -jnp.log(uniform(wait_bits)) / total, jnp.inf)
        # compensated sum: short waits are not lost beside a long window
        gain = wait - lost
        later = t + gain
        crossed = later >= span
        jump = busy & sound & ~crossed
        pick = _pick(rates, uniform(pick_bits) * total)
        count = tuple(
            c + jnp.where(jump, _change(plan, s, pick), 0) for s, c in enumerate(runs.count)
        )
        within = jnp.all(jnp.stack([c >= 0 for c in count]), axis=0)
        draw = runs.draw + busy.astype(jnp.uint32)
        fault = jnp.where(draw > most_events, 1, 0)
        fault = jnp.where(~within, 3, jnp.where(~sound, 2, fault))
        fault = jnp.where(busy, fault, runs.fault)
        moved = Runs(count, draw, runs.fired + jump.astype(jnp.uint32), fault)
        still = jump & (fault == 0)
        lost = jnp.where(still, (later - t) - gain, 0.0)
        return moved, jnp.where(still, later, t), lost, still

    zero = jnp.zeros(run.shape, jnp.float32)
    carry = (runs, zero, zero, runs.fault == 0)
    return jax.lax.while_loop(lambda carry: jnp.any(carry[3]), step, carry)[0]


def _pick(rates: list, level):
    """Reaction whose share of the total holds `level`, shares stacked from the smallest up.

    Small shares lie where float32 is finest, so that rare reactions keep their probability.
    """
    pick, floor = jnp.zeros(level.shape, jnp.int32), jnp.full(level.shape, -1.0, jnp.float32)
    for r, rate in enumerate(rates):
        below = jnp.zeros_like(level)
        for q, other in enumerate(rates):
            if q != r:
                first = other < rate if q > r else other <= rate
                below = below + jnp.where(first, other, 0.0)
        taken = (rate > 0) & (below <= level) & (below > floor)
        pick, floor = jnp.where(taken, r, pick), jnp.where(taken, below, floor)
    return pick


def _change(plan: Plan, s: int, pick):
    change = jnp.zeros(pick.shape, jnp.int32)
    for r, row in enumerate(plan.change):
        if row[s]:
            change = jnp.where(pick == r, row[s], change)
    return change


class Tally:
    """Exact integer sums of counts and of their squares."""

    def __init__(self, times: int, species: int):
        self.events = 0
        self._sum = np.zeros((times, species), np.int64)
        self._high, self._low = np.zeros_like(self._sum), np.zeros_like(self._sum)

    def add(self, counts: np.ndarray, events: int) -> None:
        """Add counts [time, species, run]."""
        wide = counts.astype(np.int64)
        self._sum += wide.sum(axis=2)
        # squares reach 2**62: their halves are summed apart
        squares = wide * wide
        self._high += (squares >> 31).sum(axis=2)
        self._low += (squares & (2**31 - 1)).sum(axis=2)
        self.events += events

    def moments(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance [time, species]."""
        mean, variance = self._sum / n, np.full(self._sum.shape, np.nan)
        for at in np.ndindex(*self._sum.shape) if n > 1 else ():
            total, square = int(self._sum[at]), (int(self._high[at]) << 31) + int(self._low[at])
            variance[at] = (n * square - total**2) / (n * (n - 1))
        return mean, variance


def _refuse(fault: np.ndarray, first: int, most_events: int) -> None:
    for code, (name, what, fix) in enumerate(_CAUSES, 1):
        where = np.flatnonzero(fault == code) + first
        if where.size:
            shown = ", ".join(map(str, where[:8])) + (", ..." if where.size > 8 else "")
            raise Failure(
                name,
                f"{where.size} of the runs {what.format(most=most_events)}: run {shown}; {fix}",
            )


def _whole(field: str, value, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or value != value // 1:
        raise BadInput(field, value, "not a whole number", "give a whole number of 1 or more")
    if not 1 <= value or (field != "chunk" and value > most):
        raise BadInput(field, value, f"outside 1 to {most}", "give a number in that range")
    return int(min(value, most))


def _times(save_s, t1_s: float) -> np.ndarray:
    if not np.isfinite(t1_s) or t1_s <= 0:
        raise BadInput("t1_s", t1_s, "not a length of time", "give a time above 0")
    times = np.asarray(save_s, float)
    if times.ndim == 0 and 0 < times <= t1_s:
        number = int(np.floor(t1_s / times * (1 + 1e-12))) + 1
        return np.minimum(np.arange(number) * float(times), t1_s)
    if (
        times.ndim != 1
        or times.size == 0
        or not np.isfinite(times).all()
        or (np.diff(times) <= 0).any()
        or times[0] < 0
        or times[-1] > t1_s * (1 + 1e-12)
    ):
        raise BadInput(
            "save_s",
            np.ravel(times)[:5].tolist(),
            f"neither a step nor increasing times within 0 to t1_s = {t1_s}",
            "give a step above 0, or increasing times",
        )
    return np.minimum(times, t1_s)
