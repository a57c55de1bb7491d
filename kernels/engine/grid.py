"""`Grid`: individual channels on steps of one length, for rates that follow voltage."""

from functools import partial
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt32

from gabatone.kernels.bounds import require
from gabatone.kernels.engine.master import propagators
from gabatone.kernels.engine.protocol import Engine, Request
from gabatone.kernels.engine.stepping import block_of, block_size, cut_steps
from gabatone.kernels.engine.streams import key_words, threefry
from gabatone.kernels.engine.trace import Trace
from gabatone.kernels.engine.voltage import VoltageCourse
from gabatone.kernels.errors import BadInput

_BLOCK = 256  # steps of one compiled call
_KEPT_BYTES = 1 << 27  # tables kept for the next chunk of channels; beyond, made anew
_MOST_CHANNELS = 2**31 - 1
_MOST_OUTPUT_BYTES = 1 << 33
_STEPS_PER_HOUR = 3.6e11  # at 1e8 channel-steps a second, about what one core does


class StepTable(NamedTuple):
    """How 64 random bits choose the next state: outcomes by rising chance, and their thresholds."""

    order: np.ndarray | Array  # [..., state, outcome]
    high: np.ndarray | Array  # [..., state, outcome - 1] uint32
    low: np.ndarray | Array  # [..., state, outcome - 1] uint32


class Grid(Engine):
    """Individual channels moved from step to step by the exact transition matrix ``P(dt)``.

    Exact at every save time while the rates are constant over each step, and with ligands
    that change within a step, whose P comes from the fourth-order Magnus scheme of `Master`.
    A voltage is held over each step at its value in the step's middle: its law is that of the
    staircase, whose distance from a smooth voltage falls with the square of `dt_s`; jumps
    belong on multiples of `dt_s`. Steps are cut at save times and breaks of the drive.

    Each step of each channel draws 64 bits from its own counter (Threefry, Salmon et al.
    2011), so results do not depend on `chunk`. Outcomes are ranked by rising chance: one of
    chance p keeps it to a relative 2**-53 + 2**-64 / p, far below what 32 bits could resolve.

    Parameters
    ----------
    dt_s : float
        Length of a step, s.
    voltage : VoltageCourse or None
    substeps : int
        Parts of a step to begin with where a concentration changes inside it.
    chunk : int
        Channels moved together; memory grows with it and with the output alone.
    most_channel_steps : float
        Larger jobs are refused before they start.
    progress : callable or None
        Called with (channels done, channels in all) after each chunk.

    Raises
    ------
    BadInput
        For a bad setting, and for a job or an output too large, with what would fit.
    """

    dt_s: float = eqx.field(static=True, converter=float)
    voltage: VoltageCourse | None = None
    substeps: int = eqx.field(static=True, default=8)
    chunk: int = eqx.field(static=True, default=1 << 17)
    most_channel_steps: float = eqx.field(static=True, default=1e13)
    progress: object = eqx.field(static=True, default=None)

    exact: ClassVar[bool] = True

    def __check_init__(self):
        require("Grid.dt_s", self.dt_s, above=0.0)
        require("Grid.substeps", self.substeps, least=1)
        require("Grid.chunk", self.chunk, least=1, most=1 << 26)
        require("Grid.most_channel_steps", self.most_channel_steps, above=0.0)

    def run(self, key, request: Request) -> Trace:
        """Counts int [time, state] of ``request.n`` channels."""
        _check_size(self, request)
        if self.voltage is not None:
            self.voltage.dependence.check(request.scheme)
        segments = cut_steps("Grid", request, self.dt_s)
        keep = np.searchsorted(segments.edge_s, request.save_s)
        blocks = _Blocks(self, request.scheme, segments, keep)
        n, words = request.n, key_words(key)
        chunk = int(min(self.chunk, max(64, 1 << int(np.ceil(np.log2(n))))))
        start = jax.tree.map(jnp.asarray, step_table(np.asarray(request.p0, np.float64)[None]))
        total = np.zeros((len(keep), request.scheme.n_states), np.int64)
        for first in range(0, n, chunk):
            channel = jnp.uint32(first) + jnp.arange(chunk, dtype=jnp.uint32)
            live = jnp.arange(chunk) < n - first
            state, count = _begin(words, channel, live, start)
            total[keep == 0] += np.asarray(count)
            for number in range(len(blocks)):
                at = blocks.size * number
                state, counts = _walk(words, channel, live, state, at, *blocks[number])
                here = (keep > at) & (keep <= at + blocks.size)
                total[here] += np.asarray(counts)[keep[here] - at - 1]
            if self.progress is not None:
                self.progress(min(first + chunk, n), n)
        return Trace(request.save_s, total, request.scheme, n, "Grid", counts=True)


def grid_step(
    words, state: Int[Array, " channel"], step, law: Float[Array, "state state"], *, first=0
) -> Int[Array, " channel"]:
    """Next state of each channel by the transition matrix of one step; to be used inside any loop.

    `words` (uint32 [2], from `key_words`) and `step` (1 for the first step) name the draw of
    channel ``first, first + 1, ...``: the same names give the same draws however channels are
    grouped. `law` may be traced, say ``propagator(dependence.at(scheme, v).generator(conc), dt)``.
    Given a law in float64 the result is that of `Grid`; in float32 each chance keeps a relative
    accuracy of about 1e-6. Not finite rows of `law` give states that mean nothing.
    """
    channel = jnp.asarray(first, jnp.uint32) + jnp.arange(len(state), dtype=jnp.uint32)
    counter = jnp.broadcast_to(jnp.asarray(step).astype(jnp.uint32), channel.shape)
    return _move(threefry(words, channel, counter), state, step_table(law))


def step_table(law) -> StepTable:
    """Ranked outcomes and 64-bit thresholds of the rows of `law` [..., state, outcome].

    Adding up from the rarest keeps the relative size of each chance; those of 0 are never
    taken. Host arrays stay on the host.
    """
    xp = np if isinstance(law, np.ndarray) else jnp
    order = xp.argsort(law, axis=-1, stable=True)
    ranked = xp.maximum(xp.take_along_axis(law, order, axis=-1), 0.0)
    summed = xp.cumsum(ranked, axis=-1)
    scaled = summed[..., :-1] / summed[..., -1:] * 2.0**32
    high = xp.floor(scaled)
    low = xp.floor((scaled - high) * 2.0**32)
    return StepTable(order.astype(xp.int32), high.astype(xp.uint32), low.astype(xp.uint32))


def _move(bits, state: Int[Array, " channel"], table: StepTable) -> Int[Array, " channel"]:
    """Outcome whose thresholds enclose the bits, by bisection of each channel's row."""
    outcomes = table.order.shape[-1]
    order, high, low = (part.reshape(-1) for part in table)
    if outcomes == 1:
        return order[state]
    # the barrier keeps the compiler from writing the draw out once for each of its uses
    first, second = jax.lax.optimization_barrier(bits)
    row = state * (outcomes - 1)
    bottom, top = jnp.zeros_like(state), jnp.full_like(state, outcomes - 1)
    for _ in range(int(np.ceil(np.log2(outcomes)))):
        middle = jnp.minimum((bottom + top) // 2, outcomes - 2)
        limit = high[row + middle]
        reached = (first > limit) | ((first == limit) & (second >= low[row + middle]))
        below = (bottom < top) & reached
        bottom, top = (
            jnp.where(below, middle + 1, bottom),
            jnp.where(below, top, jnp.minimum(middle, top)),
        )
    return order[state * outcomes + bottom]


@jax.jit
def _begin(words, channel: UInt32[Array, " channel"], live, start: StepTable):
    """State of each channel at t = 0, drawn as its step 0, and how many are in each."""
    bits = threefry(words, channel, jnp.zeros_like(channel))
    state = _move(bits, jnp.zeros(channel.shape, jnp.int32), start)
    return state, _tally(state, live, start.order.shape[-1])


@jax.jit
def _walk(words, channel, live, state, first_step, table: StepTable, saved):
    """Move all channels through a block of steps; counts int32 [step, state] where `saved`."""
    n_states = table.order.shape[-1]

    def advance(state, item):
        k, now, save = item
        counter = jnp.broadcast_to((first_step + k + 1).astype(jnp.uint32), channel.shape)
        state = _move(threefry(words, channel, counter), state, now)
        none = partial(jnp.zeros, n_states, jnp.int32)
        return state, jax.lax.cond(save, lambda: _tally(state, live, n_states), none)

    return jax.lax.scan(advance, state, (jnp.arange(len(saved)), table, saved))


def _tally(state, live, n_states: int):
    inside = (state[None] == jnp.arange(n_states)[:, None]) & live
    return inside.sum(axis=1, dtype=jnp.int32)


class _Blocks:
    """Tables of all steps up to the last save time, block by block; kept while they are small."""

    def __init__(self, engine: Grid, scheme, segments, keep: np.ndarray):
        self.engine, self.scheme, self.segments, self.keep = engine, scheme, segments, keep
        self.size = block_size(int(keep[-1]), _BLOCK)
        self.made = {}
        step_bytes = 12 * scheme.n_states**2
        self.cached = len(self) * self.size * step_bytes <= _KEPT_BYTES

    def __len__(self) -> int:
        return -(-int(self.keep[-1]) // self.size)

    def __getitem__(self, number: int):
        if number in self.made:
            return self.made[number]
        block = block_of(self.segments, number * self.size, self.size)
        tilt = None
        if self.engine.voltage is not None:
            dependence = self.engine.voltage.dependence
            middle = (block.edge_s[:-1] + block.edge_s[1:]) / 2
            volts = self.engine.voltage.values_V(middle) - dependence.reference_V
            tilt = (np.asarray(dependence.per_volt, float), volts)
        with jax.enable_x64(True):
            laws = np.asarray(propagators(self.scheme, block, self.engine.substeps, tilt))
        saved = np.isin(number * self.size + 1 + np.arange(self.size), self.keep)
        made = jax.tree.map(jnp.asarray, (step_table(laws), saved))
        if self.cached:
            self.made[number] = made
        return made


def _check_size(engine: Grid, request: Request) -> None:
    """Refuse what cannot be finished or held, saying what would fit."""
    n, steps = request.n, float(np.ceil(request.save_s[-1] / engine.dt_s))
    if n > _MOST_CHANNELS:
        raise BadInput(
            "n", n, f"more than {_MOST_CHANNELS} individual channels", "use engine=Counts()"
        )
    if n * steps > engine.most_channel_steps:
        most = engine.most_channel_steps
        raise BadInput(
            "n",
            n,
            f"{n:.3g} channels x {steps:.3g} steps of {engine.dt_s:g} s are {n * steps:.3g} "
            f"channel-steps, about {n * steps / _STEPS_PER_HOUR:.3g} hours on one core",
            f"take {int(most // steps)} channels or fewer, steps of "
            f"{request.save_s[-1] * n / most:.3g} s or more, engine=Channels() or Counts(), "
            f"or raise Grid.most_channel_steps = {most:g}",
        )
    held = len(request.save_s) * request.scheme.n_states * 8
    if held > _MOST_OUTPUT_BYTES:
        fit = _MOST_OUTPUT_BYTES // (8 * request.scheme.n_states)
        raise BadInput(
            "save_s",
            len(request.save_s),
            f"counts at that many times take {held / 2**30:.3g} GiB",
            f"save at {fit} times or fewer",
        )
