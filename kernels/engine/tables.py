"""What the path loop looks up, made on the host: windows, rates, save times and start laws."""

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from gabatone.kernels.drive.segments import Segments
from gabatone.kernels.engine.streams import cumulative_thresholds, refined_thresholds
from gabatone.kernels.errors import BadInput

LONGEST_WINDOW_S = 1.0  # keeps float32 offsets within a window finer than 0.1 us
NEVER_S = np.float32(3e38)  # mean dwell of a state that nothing leaves
RARE = 2.0**-16  # below this share of an exit the thresholds need their second word
_DRAW = 0.7  # wasted proposals that are as good as one window more
_MOST_EDGES, _MOST_LIGANDS = 1 << 14, 15


class Windows(NamedTuple):
    """Windows of one or more groups of channels, end to end (all arrays [window] unless said)."""

    row: np.ndarray  # which row of rates holds in the window
    begin_s: np.ndarray  # [window or 1] the time that lanes count at the window's start
    end_s: np.ndarray  # and at its end
    first_bin: np.ndarray  # [window or 1] index of the first save time in or after the window
    offset_s: np.ndarray  # that save time minus the time at which lanes count 0
    level: np.ndarray  # [window, ligand]
    slope: np.ndarray  # [window, ligand]
    amplitude: np.ndarray  # [window or 1, decay] height of each exponential ...
    onset_s: np.ndarray  # [window or 1, decay] ... at this time, as lanes count it
    bound: np.ndarray  # [window, ligand]


class Rates(NamedTuple):
    """Selection tables by cell, ``row * n_states + state``; `fan` is the largest number of exits."""

    mean_s: np.ndarray  # [cell] mean dwell
    thresholds: np.ndarray  # [fan - 1, cell] uint32
    fraction: np.ndarray  # [fan - 1, cell] uint32, the next 8 bits of each threshold
    way_out: np.ndarray  # [cell * fan] uint32: ligand + 1 (4 bits), target, edge + 1 (14 bits each)


class Job(NamedTuple):
    """Everything one call of the loop needs that is not a number of channels."""

    rates: Rates
    windows: Windows
    group_first: np.ndarray  # [group] first window of the group
    group_stop: np.ndarray  # [group] one past its last window
    group_row: np.ndarray  # [group] row of the output the group adds to
    minus_per_tau: np.ndarray  # [decay] -1 / time constant, 1/s
    decay_ligand: np.ndarray  # [decay]
    start_thresholds: np.ndarray  # [group or 1, state - 1]
    start_state: np.ndarray  # [group or 1, state]
    edge_column: np.ndarray  # [edge] output column
    edge_weight: np.ndarray  # [edge] what an event adds there
    saves_per_s: np.float32  # of a uniform grid of save times
    loose: np.ndarray  # [state or 1] whether the ends of windows do not concern the state


def rate_tables(
    scheme, bounds: np.ndarray, ligands: tuple[str, ...], each: bool = False
) -> tuple[np.ndarray, Rates]:
    """Tables for the distinct rows of `bounds` [window, ligand]; returns the row of each window too.

    `each` gives every window a row of its own, in order. Raises `BadInput` for more transitions
    or ligands than the tables can name.
    """
    rows = np.asarray(bounds, np.float64)
    row_of = np.arange(len(rows))
    if not each:
        rows, row_of = np.unique(rows, axis=0, return_inverse=True)
    source, target = np.array(scheme.source), np.array(scheme.target)
    ligand_of = np.array([ligands.index(name) if name else -1 for name in scheme.ligands])
    constant = np.exp(np.asarray(scheme.log_rate, np.float64))
    _require_few(scheme)
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
    order, thresholds, fraction = refined_thresholds(weights)
    edge = np.take_along_axis(np.broadcast_to(edges, order.shape), order, axis=-1)
    cells, total = len(rows) * scheme.n_states, weights.sum(-1)
    with np.errstate(divide="ignore"):
        mean = np.minimum(1.0 / total, float(NEVER_S))
    return row_of.reshape(-1).astype(np.int32), Rates(
        mean.reshape(cells).astype(np.float32),
        np.ascontiguousarray(thresholds.reshape(cells, fan - 1).T),
        np.ascontiguousarray(fraction.reshape(cells, fan - 1).T),
        ((ligand_of[edge] + 1) << 28 | target[edge] << 14 | (edge + 1))
        .reshape(-1)
        .astype(np.uint32),
    )


def _require_few(scheme) -> None:
    number = len(scheme.source)
    if number >= _MOST_EDGES or len(scheme.ligand_names) >= _MOST_LIGANDS:
        raise BadInput(
            "scheme",
            f"{number} transitions, {len(scheme.ligand_names)} ligands",
            f"at most {_MOST_EDGES - 1} transitions and {_MOST_LIGANDS - 1} ligands can be followed",
            "use engine=Counts() or a smaller scheme",
        )


def has_rare_exits(rates: Rates) -> bool:
    """Whether some possible exit is rarer than `RARE`, so that 32 bits alone would misweigh it."""
    possible = (rates.thresholds > 0) | (rates.fraction > 0)
    return bool((possible & (rates.thresholds < RARE * 2.0**32)).any())


def window_table(segments, save_s: np.ndarray, row: np.ndarray, framed: bool = False) -> Windows:
    """The windows of one group, with their place on the grid of save times.

    Framed windows share one clock, that of the first window, and one row of save times.
    """
    start = segments.edge_s[:-1]
    base = start[:1] if framed else start
    first = np.searchsorted(save_s, base, side="left")
    beyond = save_s[-1] + 1e6
    offset = np.append(save_s, beyond)[first] - base
    f32 = partial(np.asarray, dtype=np.float32)
    return Windows(
        row.astype(np.int32),
        f32(start if framed else [0.0]),
        f32(segments.edge_s[1:] if framed else segments.length_s),
        first.astype(np.int32),
        f32(offset),
        f32(segments.level),
        f32(segments.slope),
        *(f32(x) for x in (one_curve(segments) if framed else _by_window(segments))),
        f32(segments.bound),
    )


def _by_window(segments) -> tuple[np.ndarray, np.ndarray]:
    return segments.amplitude, np.zeros((1, len(segments.tau_s)))


def one_curve(segments: Segments) -> tuple[np.ndarray, np.ndarray] | None:
    """``(height, onset)`` [1, decay] if each exponential starts once and runs on; None otherwise."""
    start, heights = segments.edge_s[:-1], segments.amplitude
    first = np.argmax(heights > 0, axis=0)
    height, onset = heights[first, np.arange(len(segments.tau_s))], start[first]
    age = start[:, None] - onset
    curve = np.where(age >= 0, height * np.exp(-np.maximum(age, 0) / segments.tau_s), 0.0)
    if not np.allclose(curve, heights, rtol=1e-9, atol=0.0):
        return None
    return height[None], onset[None]


def worthwhile_windows(segments: Segments, scheme) -> Segments:
    """Join neighbouring windows of one smooth curve where a tighter bound saves too few draws.

    A window costs a channel one draw at its end; without it, it costs the proposals that
    thinning throws away, at most the excess of the bound over the curve times the fastest
    binding rate.
    """
    if not len(segments.tau_s):
        return segments
    length, tau = segments.length_s, segments.tau_s
    fade = np.exp(-length[:, None] / tau)
    ahead = segments.level + segments.slope * length[:, None]
    close = partial(np.isclose, rtol=1e-9, atol=0.0)
    joined = (
        close(ahead[:-1], segments.level[1:]).all(axis=1)
        & (segments.slope[:-1] == segments.slope[1:]).all(axis=1)
        & close((segments.amplitude * fade)[:-1], segments.amplitude[1:]).all(axis=1)
    )
    fastest = _fastest_binding(scheme, segments.ligands)[segments.decay_ligand]

    def wasted(window: int, span_s: float) -> float:
        height = segments.amplitude[window]
        return float(fastest @ (height * (span_s + tau * np.expm1(-span_s / tau))))

    keep, start = [0], 0
    for k in range(1, len(length)):
        span = float(segments.edge_s[k + 1] - segments.edge_s[start])
        apart = wasted(start, span - float(length[k])) + wasted(k, float(length[k]))
        if joined[k - 1] and span <= LONGEST_WINDOW_S and wasted(start, span) - apart < _DRAW:
            continue
        keep.append(k)
        start = k
    edge = segments.edge_s[[*keep, len(length)]]
    level, slope, height = (x[keep] for x in (segments.level, segments.slope, segments.amplitude))
    bound = level + np.maximum(slope, 0) * np.diff(edge)[:, None]
    for d, k in enumerate(segments.decay_ligand):
        bound[:, k] += height[:, d]
    return replace(segments, edge_s=edge, level=level, slope=slope, amplitude=height, bound=bound)


def _fastest_binding(scheme, ligands) -> np.ndarray:
    """Largest summed binding constant of a state for each ligand, 1/(M s)."""
    rate = np.exp(np.asarray(scheme.log_rate, np.float64))
    total = np.zeros((len(ligands), scheme.n_states))
    for value, state, name in zip(rate, scheme.source, scheme.ligands, strict=True):
        if name:
            total[ligands.index(name), state] += value
    return total.max(axis=1)


def loose_states(scheme, segments) -> np.ndarray:
    """Whether a state's exits have the same rates in all windows [state]."""
    steady = [
        not (np.ptp(segments.bound[:, k]) or np.any(segments.slope[:, k]))
        and k not in segments.decay_ligand
        for k in range(len(segments.ligands))
    ]
    loose = np.ones(scheme.n_states, bool)
    for state, name in zip(scheme.source, scheme.ligands, strict=True):
        if name and not steady[segments.ligands.index(name)]:
            loose[state] = False
    return loose


def bisect_table(segments, save_s: np.ndarray, framed: bool = False) -> np.ndarray:
    """Save times as lanes count them, [window, most + 1], padded with infinity; one row if framed."""
    edge = segments.edge_s[[0, -1]] if framed else segments.edge_s
    start, stop = edge[:-1], edge[1:]
    first, last = (
        np.searchsorted(save_s, start, side="left"),
        np.searchsorted(save_s, stop, side="left"),
    )
    most = max(1, int((last - first).max()))
    columns = first[:, None] + np.arange(most)
    inside = columns < last[:, None]
    times = np.where(inside, save_s[np.minimum(columns, len(save_s) - 1)] - start[:, None], np.inf)
    return np.concatenate([times, np.full((len(start), 1), np.inf)], axis=1).astype(np.float32)


def start_tables(p0: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Selection tables ``(thresholds, state)`` of the start law `p0` [group, state]."""
    order, thresholds = cumulative_thresholds(np.asarray(p0, np.float64))
    return thresholds, order.astype(np.int32)
