"""One draw of every lane: the next event of its channel, or the end of its window.

Plain array arithmetic, so that the compiled loop of `paths` and the fused kernel of `pallas`
share it word for word. Where concentrations change inside a window, ligand steps are thinned
against the window's bound (Lewis & Shedler 1979).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gabatone.kernels.engine.streams import SHORT, exponential, threefry, uniform
from gabatone.kernels.engine.tables import Job

_THINNING = 0x7C1A55E5  # tells the stream of thinning from that of events
_FEW = 8  # so many entries are chosen faster by comparison than by look-up


class Shape(NamedTuple):
    """The static side of a call: sizes of the output, and what the channels and drives need."""

    n_bins: int
    n_rows: int
    n_columns: int
    per_group: int  # channel c belongs to group c // per_group
    smooth: bool  # concentrations change inside windows ...
    sloped: bool = False  # ... some of them along ramps
    rare: bool = False  # exits so rare that thresholds need their second word
    plain: bool = False  # every edge has its own column and counts 1
    one_start: bool = False  # every channel starts in the same state
    audit: bool = False  # time and concentration seen in each state are added up
    framed: bool = False  # few windows in one stretch of time: see `advance`


class Lanes(NamedTuple):
    """What each lane carries [lane]."""

    channel: jax.Array
    event: jax.Array
    state: jax.Array
    group: jax.Array
    window: jax.Array
    t: jax.Array
    wait_bits: jax.Array  # the random words of this channel's next event: carried, since XLA would
    pick_bits: jax.Array  # otherwise write them out once for each of their uses
    code: jax.Array  # way out of `state` that was drawn last, 0 for none: `settle` takes it


class Move(NamedTuple):
    """One draw of every lane [lane]: an event, or the end of its window."""

    t: jax.Array  # time of the event or the window's end
    window: jax.Array
    jump: jax.Array
    crossed: jax.Array
    over: jax.Array  # crossed the end of the last window
    way_out: jax.Array


def edge_of(code):
    """Edge of a way out, -1 for none."""
    return (code & np.uint32(0x3FFF)).astype(jnp.int32) - 1


def settle(lane: Lanes, shape: Shape) -> Lanes:
    """The lanes in the states that their last draw led to.

    Under a smooth drive this is put off to the next turn, so that whether a draw was an event is
    worked out only once; otherwise `settled` has done it already.
    """
    return lane._replace(state=settled(lane.code, lane.state)) if shape.smooth else lane


def settled(code, state):
    """State after a way out was taken, or the same state where the code is 0."""
    target = ((code >> np.uint32(14)) & np.uint32(0x3FFF)).astype(jnp.int32)
    return jnp.where(code > 0, target, state)


def advance(words, job: Job, lane: Lanes, shape: Shape) -> Move:
    """One draw for every lane: the next event, or the end of its window.

    Times count from the start of the lane's window. In the framed form they count from 0, the
    window follows from the time, and a state whose rates are the same in all windows does not
    stop at the ends of windows.
    """
    rates, windows = job.rates, job.windows
    wait_bits, pick_bits = lane.wait_bits, lane.pick_bits
    n_states = job.start_state.shape[1]
    if shape.framed:
        window, limit = _frame(job, lane)
        cell = window * n_states + lane.state
    else:
        window, limit = lane.window, look(windows.end_s, lane.window)
        cell = look(windows.row, window) * n_states + lane.state
    t = lane.t + exponential(wait_bits) * look(rates.mean_s, cell)
    crossed = t >= limit
    if shape.framed:
        over = crossed & (limit >= windows.end_s[windows.end_s.shape[0] - 1])
    else:
        over = crossed & (window + 1 >= at_group(job.group_stop, lane.group))
    bars = [look(bar, cell) for bar in rates.thresholds]
    if shape.rare:
        # the last bits of the waiting time do not reach its float32 value: they refine the choice
        spare = wait_bits & np.uint32(0xFF)
        finer = [look(bar, cell) for bar in rates.fraction]
        above = [
            (pick_bits > bar) | ((pick_bits == bar) & (spare >= fine))
            for bar, fine in zip(bars, finer, strict=True)
        ]
    else:
        above = [pick_bits >= bar for bar in bars]
    pick = sum(passed.astype(jnp.int32) for passed in above)
    way_out = look(rates.way_out, cell * (len(bars) + 1) + pick)
    jump = ~crossed
    if shape.smooth:
        if shape.rare:
            again = [word ^ np.uint32(_THINNING) for word in (words[0], words[1])]
            place, width = (
                uniform(threefry(again, lane.channel, lane.event, SHORT)[0]),
                np.float32(1),
            )
        else:
            place, width = _between(bars, pick_bits, pick)
        ligand = (way_out >> np.uint32(28)).astype(jnp.int32) - 1
        jump = jump & _accepted(job, window, t, ligand, place, width, shape)
    return Move(jnp.minimum(t, limit), window, jump, crossed, over, way_out)


def _between(bars, bits, pick):
    """Place of `bits` between the two thresholds around them, and their distance.

    Given the choice their ratio is uniform in (0, 1), so it can serve for one more.
    """
    low, high = jnp.zeros_like(bits), bars[0]
    for k in range(len(bars)):
        low = jnp.where(pick > k, bars[k], low)
        high = jnp.where(pick > k, bars[k + 1] if k + 1 < len(bars) else np.uint32(0), high)
    # unsigned: the upper end 2**32 stands as 0, and so does a width of 2**32
    width = (high - low).astype(jnp.float32)
    width = jnp.where(width == 0, np.float32(2.0**32), width)
    return (bits - low).astype(jnp.float32) + np.float32(0.5), width


def _frame(job: Job, lane: Lanes):
    """The window of each lane's time, and where its next draw must stop at the latest."""
    ends = job.windows.end_s
    last = ends.shape[0] - 1
    window, limit = jnp.full_like(lane.window, last), jnp.broadcast_to(ends[last], lane.t.shape)
    for k in reversed(range(last)):
        before = lane.t < ends[k]
        window = jnp.where(before, np.int32(k), window)
        limit = jnp.where(before, ends[k], limit)
    return window, jnp.where(look(job.loose, lane.state), ends[last], limit)


def _accepted(job: Job, window, t, ligand, place, width, shape: Shape):
    """Thinning: a ligand step is kept with the chance of its concentration over the window's bound."""
    value, bound = jnp.zeros_like(t), jnp.ones_like(t)
    for k in range(job.windows.level.shape[1]):
        value = jnp.where(ligand == k, _concentration(job, window, t, k, shape), value)
        bound = jnp.where(ligand == k, look(job.windows.bound[:, k], window), bound)
    return (ligand < 0) | (place * bound < value * width)


def _concentration(job: Job, window, t, k: int, shape: Shape):
    """Concentration of ligand `k` at `t` (as lanes count it), mol/L."""
    windows = job.windows
    value = look(windows.level[:, k], window)
    if shape.sloped:
        value = value + look(windows.slope[:, k], window) * (t - look(windows.begin_s, window))
    for d in range(job.minus_per_tau.shape[0]):
        age = t - look(windows.onset_s[:, d], window)
        piece = look(windows.amplitude[:, d], window) * jnp.exp(age * job.minus_per_tau[d])
        if shape.framed:
            piece = jnp.where(age >= 0, piece, np.float32(0))
        value = value + jnp.where(job.decay_ligand[d] == k, piece, np.float32(0))
    return value


def look(table, index):
    """``table[index]`` for indices that are in range by construction.

    In a fused kernel a table is a column in device memory, which loads what it is asked for.
    """
    if table.shape[0] > _FEW:
        if isinstance(table, jax.Array):
            return table.at[index].get(mode="promise_in_bounds")
        return table[index]
    value = jnp.broadcast_to(table[0], jnp.shape(index))
    for k in range(1, table.shape[0]):
        value = jnp.where(index == k, table[k], value)
    return value


def at_group(values, group):
    """``values[group]``; a single group needs no look-up for each lane."""
    return values[0] if values.shape[0] == 1 else values[group]
