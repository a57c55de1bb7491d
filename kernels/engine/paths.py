"""Exact event-driven paths of individual channels: one compiled loop.

Each lane carries one channel at a time from event to event (Gillespie's direct method)
and takes the next channel when its time is up. Windows are stretches of time over which
the rates have one constant bound; a pending event that would fall beyond its window is
drawn again in the next one, which memorylessness allows.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.xla_metadata import set_xla_metadata

from gabatone.kernels.engine.draw import (
    Lanes,
    Move,
    Shape,
    advance,
    at_group,
    edge_of,
    look,
    settle,
    settled,
)
from gabatone.kernels.engine.streams import SHORT, threefry
from gabatone.kernels.engine.tables import Job

_TURNS = 8  # draws between two looks at whether anyone is still busy


class Tally(NamedTuple):
    """What the loop adds up."""

    events: jax.Array  # int32 [row * bin * column]
    seen: jax.Array  # float32 [(1 + ligand) * state * lane]: seconds, and molar seconds
    lost: jax.Array  # float32, what rounding has kept out of `seen`


class Pending(NamedTuple):
    """What the last turn drew and the next one adds: kept apart, so that it is worked out once."""

    place: jax.Array  # [lane]
    added: jax.Array  # [lane]
    spot: jax.Array  # [(1 + ligand) * lane], empty without an audit
    spent: jax.Array


class Span(NamedTuple):
    """The channels of one call and where they start."""

    begin: jax.Array
    first: jax.Array
    end: jax.Array
    most_events: jax.Array


def _run_paths(
    words,
    job: Job,
    save_rel,
    first_channel,
    n_channels,
    most_events,
    *,
    lanes: int,
    chunk: int,
    shape: Shape,
    one_kernel: bool = False,
):
    """Simulate channels ``first_channel .. + n_channels`` (at most `chunk`) and tabulate their events.

    Returns ``(table int32 [row, bin, column], starts int32 [row, state], seen float32
    [2, 1 + ligand, state, lane], stuck uint32 [lane])``; the last bin collects events after the
    last save time. `seen` is a sum in two parts, empty without ``shape.audit``. `stuck` holds the channels that
    reached `most_events` draws, which stops the loop, and the end of the range where none did.
    `save_rel` is None for a uniform grid of save times. `one_kernel` is the form for a CPU. No
    result depends on it, on `lanes` or on `chunk`.
    """
    end = first_channel + n_channels
    begin, starts = begin_states(words, job, first_channel, end, chunk, shape)
    span = Span(begin, first_channel, end, most_events)
    channel = first_channel + jnp.arange(lanes, dtype=jnp.uint32)
    lane = first_lanes(words, job, begin, first_channel, channel, shape)
    n_states, n_ligands = job.start_state.shape[1], job.windows.level.shape[1]
    watched = (1 + n_ligands) * lanes if shape.audit else 0
    tally = Tally(
        jnp.zeros(shape.n_rows * (shape.n_bins + 1) * shape.n_columns, jnp.int32),
        jnp.zeros(watched * n_states, jnp.float32),
        jnp.zeros(watched * n_states, jnp.float32),
    )
    nothing = Pending(
        jnp.zeros(lanes, jnp.int32),
        jnp.zeros(lanes, jnp.int32),
        jnp.zeros(watched, jnp.int32),
        jnp.zeros(watched, jnp.float32),
    )
    follow = partial(_follow, lanes=lanes, shape=shape, one_kernel=one_kernel)
    if one_kernel:
        # no dispatch, and no hand-over to other threads, for each operation of each turn
        with set_xla_metadata(xla_cpu_small_call="true", inlineable="false"):
            lane, tally = jax.jit(follow)(words, job, save_rel, span, lane, tally, nothing)
    else:
        lane, tally = follow(words, job, save_rel, span, lane, tally, nothing)
    return (
        tally.events.reshape(shape.n_rows, -1, shape.n_columns),
        starts.reshape(shape.n_rows, n_states),
        jnp.stack([tally.seen, tally.lost]).reshape(2, 1 + n_ligands, n_states, -1),
        jnp.where(lane.event > most_events, jnp.minimum(lane.channel, end), end),
    )


def _follow(
    words, job: Job, save_rel, span: Span, lane, tally, pending, *, lanes, shape, one_kernel
):
    """All channels of the span, turn by turn: ``(lanes, tally)``."""

    def turn(_, carry):
        lane, tally, pending = carry
        tally = _add(tally, pending, one_kernel)
        lane = settle(lane, shape)
        move = advance(words, job, lane, shape)
        spot, spent = pending.spot, pending.spent
        if shape.audit:
            spot, spent = _seen(job, lane, move, lane.channel < span.end, shape)
        lane = next_lanes(words, job, span.begin, lane, move, span.first, span.end, lanes, shape)
        return lane, tally, Pending(*event_place(job, save_rel, lane, shape), spot, spent)

    def going(carry):
        busy = carry[0].channel < span.end
        return jnp.any(busy) & ~jnp.any(busy & (carry[0].event > span.most_events))

    lane, tally, pending = jax.lax.while_loop(
        going,
        lambda carry: jax.lax.fori_loop(0, _TURNS, turn, carry),
        (lane, tally, pending),
    )
    return lane, _add(tally, pending, one_kernel)


def _add(tally: Tally, pending: Pending, one_by_one: bool) -> Tally:
    put = _put_one_by_one if one_by_one else _put
    events = put(tally.events, pending.place, pending.added)
    if not len(pending.spot):
        return tally._replace(events=events)
    watch = _watch_one_by_one if one_by_one else _watch
    return Tally(events, *watch(tally.seen, tally.lost, pending.spot, pending.spent))


def _put(table, place, added):
    return table.at[place].add(added, mode="promise_in_bounds")


def _watch(seen, lost, spot, spent):
    # each lane has its own places, so that none is met twice
    old = seen.at[spot].get(mode="promise_in_bounds")
    total, rest = _two_sum(old, spent)
    return seen.at[spot].set(total, mode="promise_in_bounds"), _put(lost, spot, rest)


def _two_sum(a, b):
    """Rounded sum and its rounding error (Knuth 1997, The Art of Computer Programming 2, 4.2.2)."""
    total = a + b
    late = total - a
    return total, (a - (total - late)) + (b - late)


def _put_one_by_one(table, place, added):
    # a scatter has no place within one kernel of XLA's; unsigned indices need no wrapping
    place = place.astype(jnp.uint32)

    def one(k, table):
        at = _entry(place, k)[0]
        return jax.lax.dynamic_update_slice(table, _entry(table, at) + _entry(added, k), (at,))

    return jax.lax.fori_loop(np.uint32(0), np.uint32(len(place)), one, table, unroll=8)


def _watch_one_by_one(seen, lost, spot, spent):
    total, rest = _two_sum(seen.at[spot].get(mode="promise_in_bounds"), spent)
    at_spot = spot.astype(jnp.uint32)

    def one(k, seen):
        return jax.lax.dynamic_update_slice(seen, _entry(total, k), (_entry(at_spot, k)[0],))

    seen = jax.lax.fori_loop(np.uint32(0), np.uint32(len(spot)), one, seen, unroll=8)
    return seen, _put_one_by_one(lost, spot, rest)


def _entry(table, at):
    return jax.lax.dynamic_slice(table, (at,), (1,))


_STATIC = ("lanes", "chunk", "shape")
run_paths = jax.jit(_run_paths, static_argnames=_STATIC)
# as wide as the processor goes: XLA's own choice is half of an AVX-512 register
run_paths_on_cpu = jax.jit(
    partial(_run_paths, one_kernel=True),
    static_argnames=_STATIC,
    compiler_options={"xla_cpu_prefer_vector_width": 512},
)


@partial(jax.jit, static_argnames=("chunk", "shape"))
def begin_listing(words, job: Job, first_channel, n_channels, *, chunk: int, shape: Shape):
    """``(lanes, start state [channel])`` with one lane for each channel, for `list_events`."""
    begin, _ = begin_states(words, job, first_channel, first_channel + n_channels, chunk, shape)
    channel = first_channel + jnp.arange(chunk, dtype=jnp.uint32)
    lane = first_lanes(words, job, begin, first_channel, channel, shape)
    return lane, jnp.broadcast_to(begin, (chunk,))


@partial(jax.jit, static_argnames=("turns", "shape"))
def list_events(words, job: Job, lane: Lanes, busy, *, turns: int, shape: Shape):
    """`turns` draws of each lane, one channel a lane.

    Returns ``((lanes, busy), (edge, window, t))``, the latter [turn, lane]: `edge` is -1 where a
    draw was no event, `t` counts as in `advance`. `busy` tells whose channel is not through.
    """

    def turn(carry, _):
        lane, busy = carry
        lane = settle(lane, shape)
        move = advance(words, job, lane, shape)
        moved = _moved(lane, move, busy, shape)
        wait_bits, pick_bits = threefry(words, moved.channel, moved.event, SHORT)
        moved = moved._replace(wait_bits=wait_bits, pick_bits=pick_bits)
        return (moved, busy & ~move.over), (edge_of(moved.code), move.window, move.t)

    return jax.lax.scan(turn, (lane, busy), None, length=turns)


def next_lanes(
    words, job: Job, begin, lane: Lanes, move: Move, first_channel, end, lanes: int, shape: Shape
) -> Lanes:
    """The lanes after a draw; those whose channel is through take the next one."""
    busy = lane.channel < end
    done = busy & move.over
    moved = _moved(lane, move, busy, shape)
    following = jnp.where(done, lane.channel + np.uint32(lanes), lane.channel)
    group = lane.group
    if job.group_first.shape[0] > 1:
        group = jnp.where(done, _group_of(job, following, shape), group)
    fresh = _start_of(begin, first_channel, following, shape)
    event = jnp.where(done, np.uint32(1), moved.event)
    return Lanes(
        following,
        event,
        jnp.where(done, fresh, moved.state),
        group,
        jnp.where(done, at_group(job.group_first, group), moved.window),
        jnp.where(done, np.float32(0), moved.t),
        *threefry(words, following, event, SHORT),
        moved.code,
    )


def _moved(lane: Lanes, move: Move, busy, shape: Shape) -> Lanes:
    """The lanes after a draw, each with the channel it had."""
    code = jnp.where(move.jump & busy, move.way_out, np.uint32(0))
    return lane._replace(
        state=lane.state if shape.smooth else settled(code, lane.state),
        event=lane.event + np.uint32(1),
        window=lane.window
        if shape.framed
        else jnp.where(busy & move.crossed, lane.window + 1, lane.window),
        t=move.t if shape.framed else jnp.where(move.crossed, np.float32(0), move.t),
        code=code,
    )


def event_place(job: Job, save_rel, lane: Lanes, shape: Shape):
    """Where in the flat table the event that each lane drew last counts, and what it adds there."""
    slot = _event_bin(job, save_rel, lane.window, lane.t, shape)
    edge = jnp.maximum(edge_of(lane.code), 0)
    column = edge if shape.plain else look(job.edge_column, edge)
    row = at_group(job.group_row, lane.group) * (shape.n_bins + 1) if shape.n_rows > 1 else 0
    weight = np.int32(1) if shape.plain else look(job.edge_weight, edge)
    return (row + slot) * shape.n_columns + column, jnp.where(lane.code > 0, weight, np.int32(0))


def _seen(job: Job, lane: Lanes, move: Move, busy, shape: Shape):
    """The time that each lane spent, and the integral of each concentration over it, with their places."""
    windows, lanes, window = job.windows, lane.channel.shape[0], move.window
    n_states, n_ligands = job.start_state.shape[1], windows.level.shape[1]
    t0, t1 = lane.t, move.t
    place = lane.state * lanes + jnp.arange(lanes, dtype=jnp.int32)
    spent = [t1 - t0]
    for k in range(n_ligands):
        total = look(windows.level[:, k], window) * (t1 - t0)
        if shape.sloped:
            middle = (t0 + t1) * np.float32(0.5) - look(windows.begin_s, window)
            total = total + look(windows.slope[:, k], window) * (t1 - t0) * middle
        for d in range(job.minus_per_tau.shape[0]):
            fade, age = job.minus_per_tau[d], t0 - look(windows.onset_s[:, d], window)
            piece = look(windows.amplitude[:, d], window) * jnp.exp(age * fade)
            piece = piece * jnp.expm1((t1 - t0) * fade) / fade
            piece = jnp.where(age >= 0, piece, np.float32(0))
            total = total + jnp.where(job.decay_ligand[d] == k, piece, np.float32(0))
        spent.append(total)
    spot = [place + k * n_states * lanes for k in range(len(spent))]
    spent = [jnp.where(busy, value, np.float32(0)) for value in spent]
    return jnp.concatenate(spot), jnp.concatenate(spent)


def _event_bin(job: Job, save_rel, window, t, shape: Shape):
    """Index of the first save time at or after `t` in `window`."""
    if shape.framed:
        # one row of save times serves all windows
        window = jnp.zeros_like(window)
    if save_rel is None:
        since = t - look(job.windows.offset_s, window)
        ahead = jnp.ceil(since * job.saves_per_s).astype(jnp.int32)
    else:
        width = save_rel.shape[1]
        ahead, high = jnp.zeros_like(window), jnp.full_like(window, width - 1)
        for _ in range(int(np.ceil(np.log2(width))) + 1):
            middle = (ahead + high) // 2
            below = save_rel[window, middle] < t
            ahead, high = jnp.where(below, middle + 1, ahead), jnp.where(below, high, middle)
    first = look(job.windows.first_bin, window)
    return jnp.minimum(first + jnp.maximum(ahead, 0), shape.n_bins)


def _group_of(job: Job, channel, shape: Shape):
    if job.group_first.shape[0] == 1:
        return jnp.zeros(jnp.shape(channel), jnp.int32)
    return jnp.minimum(
        (channel // np.uint32(shape.per_group)).astype(jnp.int32), job.group_first.shape[0] - 1
    )


def begin_states(words, job: Job, first_channel, end, chunk: int, shape: Shape):
    """Start states, [channel] or [1] where all are the same, and their number in each output row."""
    n_states = job.start_state.shape[1]
    if shape.one_start:
        state = job.start_state[0, -1:].astype(jnp.int32)
        starts = jnp.zeros(shape.n_rows * n_states, jnp.int32)
        return state, starts.at[state[0]].set((end - first_channel).astype(jnp.int32))
    everyone = first_channel + jnp.arange(chunk, dtype=jnp.uint32)
    begin = _start_states(words, job, everyone, shape)
    owner = at_group(job.group_row, _group_of(job, everyone, shape)) * n_states + begin
    starts = jnp.zeros(shape.n_rows * n_states, jnp.int32)
    return begin, starts.at[owner].add((everyone < end).astype(jnp.int32))


def first_lanes(words, job: Job, begin, base, channel, shape: Shape) -> Lanes:
    """Lanes at the start of `channel` [lane]; `base` is the channel that ``begin[0]`` belongs to."""
    group = _group_of(job, channel, shape)
    return Lanes(
        channel,
        jnp.ones_like(channel),
        _start_of(begin, base, channel, shape),
        group,
        jnp.broadcast_to(at_group(job.group_first, group), channel.shape),
        jnp.zeros(channel.shape, jnp.float32),
        *threefry(words, channel, jnp.ones_like(channel), SHORT),
        jnp.zeros_like(channel),
    )


def _start_of(begin, base, channel, shape: Shape):
    if shape.one_start:
        return jnp.broadcast_to(begin[0], channel.shape)
    # lanes beyond the range look up the last channel's state and stay idle
    return look(begin, jnp.minimum((channel - base).astype(jnp.int32), begin.shape[0] - 1))


def _start_states(words, job: Job, channel, shape: Shape):
    """State of each channel at t = 0, drawn with its event number 0."""
    bits, _ = jax.lax.optimization_barrier(threefry(words, channel, jnp.zeros_like(channel), SHORT))
    laws, n_states = job.start_state.shape
    law = jnp.minimum((channel // np.uint32(shape.per_group)).astype(jnp.int32), laws - 1)
    pick = sum(
        (bits >= job.start_thresholds[law, k]).astype(jnp.int32) for k in range(n_states - 1)
    )
    return job.start_state[law, pick]
