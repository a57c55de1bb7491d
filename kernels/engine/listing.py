"""Event lists of individual channels, block by block: the slow and complete way to keep paths."""

import jax.numpy as jnp
import numpy as np

from gabatone.kernels.engine.draw import Shape
from gabatone.kernels.engine.paths import begin_listing, list_events
from gabatone.kernels.engine.records import Paths
from gabatone.kernels.engine.tables import Job
from gabatone.kernels.errors import BadInput, Failure

_BLOCK = 4096  # channels followed at a time, at most
_BLOCK_EVENTS = 1 << 24  # and the events that they may have
_TURNS = 64  # draws between two looks at whether anyone is still busy


def list_paths(
    words, job: Job, shape: Shape, scheme, n: int, t1_s: float, clock_s, max_events, most
):
    """Yield the `Paths` of each block of channels, in order.

    `clock_s` [window or 1] is the time at which lanes count 0 in each window. A block is so
    small that it holds some millions of events, one channel at least. Raises `Failure`
    ``event_limit`` with the channels that need more than `max_events` draws, and `BadInput` as
    soon as one block alone has more than `most` events.
    """
    block = _block(job, t1_s)
    source, target = np.array(scheme.source), np.array(scheme.target)
    for first in range(0, n, block):
        count, events = min(block, n - first), 0
        size = 1 << int(np.ceil(np.log2(count)))
        at = jnp.uint32(first)
        lane, begin = begin_listing(words, job, at, jnp.uint32(count), chunk=size, shape=shape)
        busy, found = jnp.arange(size) < count, []
        while True:
            (lane, busy), drawn = list_events(words, job, lane, busy, turns=_TURNS, shape=shape)
            found.append(_events(*(np.asarray(x) for x in drawn), clock_s))
            events += len(found[-1][0])
            if events > most:
                raise _too_many(n, first + count, events, most)
            still = np.flatnonzero(np.asarray(busy))
            if not len(still):
                break
            if int(np.asarray(lane.event)[still].max()) > max_events:
                raise Failure(
                    "event_limit",
                    f"channels {', '.join(str(first + c) for c in still[:8])} need more than "
                    f"{max_events} draws; shorten t1_s or raise Channels(max_events=...)",
                )
        number, edge, time = (np.concatenate(x) for x in zip(*found, strict=True))
        order = np.argsort(number, kind="stable")
        number, edge, time = number[order], edge[order], time[order]
        start = np.asarray(begin)[:count]
        yield Paths(number + first, time, source[edge], target[edge], start, t1_s)


def _block(job: Job, t1_s: float) -> int:
    draws = t1_s / float(np.min(job.rates.mean_s))
    return int(min(_BLOCK, max(1.0, _BLOCK_EVENTS / max(draws, 1.0))))


def _too_many(n: int, channels: int, events: float, most: int) -> BadInput:
    return BadInput(
        "n",
        n,
        f"the first {channels} channels have {events:.3g} transitions or more and the record "
        f"holds {most} of all {n}",
        f"simulate at most {max(1, int(most * channels / events))} channels, shorten t1_s, raise "
        "Events(most=...), or record Dwells(...)",
    )


def _events(edge, window, t, clock_s):
    """``(lane, edge, time)`` of the draws that were events, in time order within a lane."""
    turn, lane = np.nonzero(edge >= 0)
    since = clock_s[window[turn, lane]] if len(clock_s) > 1 else clock_s[0]
    return lane, edge[turn, lane], since + t[turn, lane].astype(np.float64)


def gather_paths(blocks, n: int, most: int) -> Paths:
    """All blocks as one `Paths`; `BadInput` as soon as more than `most` events are in sight."""
    kept, events, channels = [], 0, 0
    for block in blocks:
        kept.append(block)
        events += len(block.time_s)
        channels += len(block.start)
        if events > most or events / channels * n > 1.5 * most:
            raise _too_many(n, channels, events, most)
    fields = ("channel", "time_s", "source", "target", "start")
    merged = {f: np.concatenate([getattr(b, f) for b in kept]) for f in fields}
    return Paths(**merged, t1_s=kept[0].t1_s)


def occupancy_of(paths: Paths, save_s: np.ndarray, n_states: int) -> np.ndarray:
    """Channels in each state [time, state] at the save times, as the paths have it."""
    slot = np.searchsorted(save_s, paths.time_s, side="left")
    change = np.zeros((len(save_s) + 1, n_states), np.int64)
    np.add.at(change, (slot, paths.source), -1)
    np.add.at(change, (slot, paths.target), 1)
    return np.bincount(paths.start, minlength=n_states) + np.cumsum(change[:-1], axis=0)
