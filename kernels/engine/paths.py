"""Exact event-driven paths of individual channels: tables on the host, one compiled loop.

Each lane carries one channel at a time from event to event (Gillespie's direct method)
and takes the next channel when its time is up. Windows are stretches of time over which
the rates have one constant bound; a pending event that would fall beyond its window is
drawn again in the next one, which memorylessness allows. Where concentrations change
inside a window, ligand steps are thinned against the bound (Lewis & Shedler 1979).
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gabatone.kernels.engine.streams import cumulative_thresholds, threefry, uniform

LONGEST_WINDOW_S = 1.0  # keeps float32 offsets within a window finer than 0.1 us

_THINNING = 0x7C1A55E5  # tells the stream of thinning from that of events


class Windows(NamedTuple):
    """Windows of one or more groups of channels, end to end (all arrays [window] unless said)."""

    row: np.ndarray  # which row of rates holds in the window
    length_s: np.ndarray
    first_bin: np.ndarray  # index of the first save time in or after the window
    offset_s: np.ndarray  # that save time minus the window's start
    level: np.ndarray  # [window, ligand]
    slope: np.ndarray  # [window, ligand]
    amplitude: np.ndarray  # [window, decay]
    bound: np.ndarray  # [window, ligand]


class Rates(NamedTuple):
    """Selection tables for every (row, state), flattened; `fan` is the largest number of exits."""

    exit_per_s: np.ndarray  # [row * state]
    thresholds: np.ndarray  # [row * state, fan - 1] uint32
    edge: np.ndarray  # [row * state, fan]
    target: np.ndarray  # [edge]
    edge_ligand: np.ndarray  # [edge], -1 where the step binds nothing


class Job(NamedTuple):
    """Everything one call of the loop needs that is not a number of channels."""

    rates: Rates
    windows: Windows
    group_first: np.ndarray  # [group] first window of the group
    group_stop: np.ndarray  # [group] one past its last window
    group_row: np.ndarray  # [group] row of the output the group adds to
    tau_s: np.ndarray  # [decay]
    decay_ligand: np.ndarray  # [decay]
    start_thresholds: np.ndarray  # [group or 1, state - 1]
    start_state: np.ndarray  # [group or 1, state]
    edge_column: np.ndarray  # [edge] output column
    edge_weight: np.ndarray  # [edge] what an event adds there
    save_step_s: np.float32


def rate_tables(scheme, bounds: np.ndarray, ligands: tuple[str, ...]) -> tuple[np.ndarray, Rates]:
    """Tables for the distinct rows of `bounds` [window, ligand]; returns the row of each window too."""
    rows, row_of = np.unique(np.asarray(bounds, np.float64), axis=0, return_inverse=True)
    source, target = np.array(scheme.source), np.array(scheme.target)
    ligand_of = np.array([ligands.index(name) if name else -1 for name in scheme.ligands])
    constant = np.exp(np.asarray(scheme.log_rate, np.float64))
    factor = np.where(
        ligand_of[None] >= 0, rows[:, np.maximum(ligand_of, 0)] if rows.shape[1] else 1.0, 1.0
    )
    rate = constant[None] * factor
    leaving = [np.flatnonzero(source == s) for s in range(scheme.n_states)]
    fan = max(2, max(len(e) for e in leaving))
    edges = np.array(
        [np.concatenate([np.full(fan - len(e), e[0] if len(e) else 0), e]) for e in leaving]
    )
    real = np.array([np.arange(fan) >= fan - len(e) for e in leaving])
    weights = rate[:, edges] * real[None]
    order, thresholds = cumulative_thresholds(weights)
    edge = np.take_along_axis(np.broadcast_to(edges, order.shape), order, axis=-1)
    n = len(rows) * scheme.n_states
    return row_of.reshape(-1).astype(np.int32), Rates(
        weights.sum(-1).reshape(n).astype(np.float32),
        thresholds.reshape(n, fan - 1),
        edge.reshape(n, fan).astype(np.int32),
        target.astype(np.int32),
        ligand_of.astype(np.int32),
    )


def window_table(segments, save_s: np.ndarray, row: np.ndarray) -> Windows:
    """The windows of one group, with their place on the grid of save times."""
    start = segments.edge_s[:-1]
    first = np.searchsorted(save_s, start, side="left")
    beyond = save_s[-1] + 1e6
    offset = np.append(save_s, beyond)[first] - start
    f32 = partial(np.asarray, dtype=np.float32)
    return Windows(
        row.astype(np.int32),
        f32(segments.length_s),
        first.astype(np.int32),
        f32(offset),
        f32(segments.level),
        f32(segments.slope),
        f32(segments.amplitude),
        f32(segments.bound),
    )


def bisect_table(segments, save_s: np.ndarray) -> np.ndarray:
    """Save times relative to each window, [window, most + 1], padded with infinity."""
    start, stop = segments.edge_s[:-1], segments.edge_s[1:]
    first, last = (
        np.searchsorted(save_s, start, side="left"),
        np.searchsorted(save_s, stop, side="left"),
    )
    most = max(1, int((last - first).max()))
    columns = first[:, None] + np.arange(most)
    inside = columns < last[:, None]
    times = np.where(inside, save_s[np.minimum(columns, len(save_s) - 1)] - start[:, None], np.inf)
    return np.concatenate([times, np.full((len(start), 1), np.inf)], axis=1).astype(np.float32)


class Shape(NamedTuple):
    """The static side of a call: sizes of the output, and whether concentrations change inside windows."""

    n_bins: int
    n_rows: int
    n_columns: int
    per_group: int  # channel c belongs to group c // per_group
    smooth: bool


class Lanes(NamedTuple):
    """What each lane carries (all [lane], `table` excepted)."""

    channel: jax.Array
    event: jax.Array
    state: jax.Array
    group: jax.Array
    window: jax.Array
    t: jax.Array
    table: jax.Array


@partial(jax.jit, static_argnames=("lanes", "chunk", "shape"))
def run_paths(
    words, job: Job, save_rel, first_channel, n_channels, *, lanes: int, chunk: int, shape: Shape
):
    """Simulate channels ``first_channel .. + n_channels`` (at most `chunk`) and tabulate their events.

    Returns ``(table int32 [row, bin, column], starts int32 [row, state])``; the last bin
    collects events after the last save time. `save_rel` is None for a uniform grid of save
    times. No result depends on `lanes` or `chunk`.
    """
    n_states = job.start_state.shape[1]
    everyone = first_channel + jnp.arange(chunk, dtype=jnp.uint32)
    first_state = _start_states(words, job, everyone, shape)
    end = first_channel + n_channels
    owner = _at(job.group_row, _group_of(job, everyone, shape)) * n_states + first_state
    starts = (
        jnp.zeros(shape.n_rows * n_states, jnp.int32)
        .at[owner]
        .add((everyone < end).astype(jnp.int32))
    )
    channel = everyone[:lanes]
    group = _group_of(job, channel, shape)
    cells = shape.n_rows * (shape.n_bins + 1) * shape.n_columns
    carry = Lanes(
        channel,
        jnp.ones(lanes, jnp.uint32),
        first_state[:lanes],
        group,
        jnp.broadcast_to(_at(job.group_first, group), (lanes,)),
        jnp.zeros(lanes, jnp.float32),
        jnp.zeros(cells, jnp.int32),
    )

    def step(lane: Lanes) -> Lanes:
        moved = _advance(words, job, save_rel, lane, end, shape)
        done = (lane.channel < end) & (moved.window >= _at(job.group_stop, lane.group))
        following = jnp.where(done, lane.channel + np.uint32(lanes), lane.channel)
        group = jnp.where(done, _group_of(job, following, shape), lane.group)
        fresh = first_state[jnp.minimum(following - first_channel, chunk - 1)]
        return Lanes(
            following,
            jnp.where(done, np.uint32(1), moved.event),
            jnp.where(done, fresh, moved.state),
            group,
            jnp.where(done, _at(job.group_first, group), moved.window),
            jnp.where(done, 0.0, moved.t),
            moved.table,
        )

    carry = jax.lax.while_loop(lambda lane: jnp.any(lane.channel < end), step, carry)
    return carry.table.reshape(shape.n_rows, -1, shape.n_columns), starts.reshape(
        shape.n_rows, n_states
    )


def _advance(words, job: Job, save_rel, lane: Lanes, end, shape: Shape) -> Lanes:
    """One draw for every lane: the next event, or the end of its window."""
    rates, windows = job.rates, job.windows
    n_states, fan = job.start_state.shape[1], rates.edge.shape[1]
    busy = lane.channel < end
    # the barrier keeps the compiler from writing the draw out once for each of its uses
    wait_bits, pick_bits = jax.lax.optimization_barrier(threefry(words, lane.channel, lane.event))
    at = windows.row[lane.window] * n_states + lane.state
    rate = rates.exit_per_s[at]
    t = lane.t + jnp.where(rate > 0, -jnp.log(uniform(wait_bits)) / rate, jnp.inf)
    crossed = t >= windows.length_s[lane.window]
    pick = sum((pick_bits >= rates.thresholds[at, k]).astype(jnp.int32) for k in range(fan - 1))
    edge = rates.edge[at, pick]
    jump = busy & ~crossed
    if shape.smooth:
        jump = jump & _accepted(words, job, lane, t, edge)
    slot = _event_bin(job, save_rel, lane.window, jnp.where(crossed, 0.0, t), shape.n_bins)
    place = (
        _at(job.group_row, lane.group) * (shape.n_bins + 1) + slot
    ) * shape.n_columns + job.edge_column[edge]
    added = jnp.where(jump, job.edge_weight[edge], 0)
    return lane._replace(
        event=lane.event + np.uint32(1),
        state=jnp.where(jump, rates.target[edge], lane.state),
        window=jnp.where(busy & crossed, lane.window + 1, lane.window),
        t=jnp.where(crossed, 0.0, t),
        table=lane.table.at[place].add(added, mode="promise_in_bounds"),
    )


def _accepted(words, job: Job, lane: Lanes, t, edge):
    """Thinning: a ligand step is kept with the chance of its concentration over the window's bound."""
    windows, ligand = job.windows, job.rates.edge_ligand[edge]
    at = jnp.maximum(ligand, 0)
    value = windows.level[lane.window, at] + windows.slope[lane.window, at] * t
    for k in range(job.tau_s.shape[0]):
        piece = windows.amplitude[lane.window, k] * jnp.exp(-t / job.tau_s[k])
        value = value + jnp.where(job.decay_ligand[k] == at, piece, 0.0)
    bits, _ = threefry(words ^ np.uint32(_THINNING), lane.channel, lane.event)
    return (ligand < 0) | (uniform(bits) * windows.bound[lane.window, at] < value)


def _event_bin(job: Job, save_rel, window, t, n_bins: int):
    """Index of the first save time at or after `t` in `window`."""
    if save_rel is None:
        ahead = jnp.ceil((t - job.windows.offset_s[window]) / job.save_step_s).astype(jnp.int32)
    else:
        width = save_rel.shape[1]
        ahead, high = jnp.zeros_like(window), jnp.full_like(window, width - 1)
        for _ in range(int(np.ceil(np.log2(width))) + 1):
            middle = (ahead + high) // 2
            below = save_rel[window, middle] < t
            ahead, high = jnp.where(below, middle + 1, ahead), jnp.where(below, high, middle)
    return jnp.minimum(job.windows.first_bin[window] + jnp.maximum(ahead, 0), n_bins)


def _at(values, group):
    # a single group needs no look-up for each lane
    return values[0] if values.shape[0] == 1 else values[group]


def _group_of(job: Job, channel, shape: Shape):
    if job.group_first.shape[0] == 1:
        return jnp.zeros(jnp.shape(channel), jnp.int32)
    return jnp.minimum(
        (channel // np.uint32(shape.per_group)).astype(jnp.int32), job.group_first.shape[0] - 1
    )


def _start_states(words, job: Job, channel, shape: Shape):
    """State of each channel at t = 0, drawn with its event number 0."""
    bits, _ = jax.lax.optimization_barrier(threefry(words, channel, jnp.zeros_like(channel)))
    laws, n_states = job.start_state.shape
    law = jnp.minimum((channel // np.uint32(shape.per_group)).astype(jnp.int32), laws - 1)
    pick = sum(
        (bits >= job.start_thresholds[law, k]).astype(jnp.int32) for k in range(n_states - 1)
    )
    return job.start_state[law, pick]
