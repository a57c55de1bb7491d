"""Scalar event-driven peer in numba: Gillespie's direct method, one channel after the other."""

import numpy as np
from numba import njit


def event_tables(generators):
    """``(leave [window, state], cumulative [window, state, exit], target [window, state, exit])``."""
    q = np.stack([np.asarray(g, np.float64) for g in generators])
    exits = np.clip(q, 0.0, None)
    leave = exits.sum(axis=2)
    fan = int((exits > 0).sum(axis=2).max())
    # most likely exit first: the search ends early
    order = np.argsort(-exits, axis=2, kind="stable")[:, :, :fan]
    share = np.take_along_axis(exits, order, axis=2) / np.where(leave > 0, leave, 1.0)[:, :, None]
    return leave, np.cumsum(share, axis=2), order


@njit(cache=False, fastmath=False)
def _mix(x):
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@njit(cache=False, fastmath=False)
def open_counts(seed, n, leave, cumulative, target, is_open, start, stop_s, step_s, steps):
    """Summed open count [step + 1] of `n` channels that start in state `start`."""
    change = np.zeros(steps + 2, np.int64)
    golden = np.uint64(0x9E3779B97F4A7C15)
    stream = _mix(np.uint64(seed) * golden + np.uint64(1))
    last = cumulative.shape[2] - 1
    for _ in range(n):
        state = start
        t = 0.0
        for window in range(len(stop_s)):
            while True:
                rate = leave[window, state]
                if rate == 0.0:
                    break
                stream += golden
                bits = _mix(stream)
                wait = (np.float64(bits >> np.uint64(11)) + 0.5) * 2.0**-53
                t -= np.log(wait) / rate
                if t >= stop_s[window]:
                    break
                stream += golden
                pick = np.float64(_mix(stream) >> np.uint64(11)) * 2.0**-53
                k = 0
                while k < last and pick >= cumulative[window, state, k]:
                    k += 1
                new = target[window, state, k]
                if is_open[new] != is_open[state]:
                    slot = int(np.ceil(t / step_s))
                    change[slot] += 1 if is_open[new] else -1
                state = new
            t = stop_s[window]
    opened = np.cumsum(change[: steps + 1])
    if is_open[start]:
        opened += n
    return opened
