"""What the path loop looks up, made on the host: windows, rates, save times and start laws."""

from functools import partial
from typing import NamedTuple

import numpy as np

from gabatone.kernels.engine.streams import cumulative_thresholds, refined_thresholds
from gabatone.kernels.errors import BadInput

LONGEST_WINDOW_S = 1.0  # keeps float32 offsets within a window finer than 0.1 us
NEVER_S = np.float32(3e38)  # mean dwell of a state that nothing leaves
RARE = 2.0**-16  # below this share of an exit the thresholds need their second word
_MOST_EDGES = 1 << 16


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
    """Selection tables by cell, ``row * n_states + state``; `fan` is the largest number of exits."""

    mean_s: np.ndarray  # [cell] mean dwell
    thresholds: np.ndarray  # [fan - 1, cell] uint32
    fraction: np.ndarray  # [fan - 1, cell] uint32, the next 8 bits of each threshold
    way_out: np.ndarray  # [cell * fan] uint32, target << 16 | edge
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
    saves_per_s: np.float32  # of a uniform grid of save times


def rate_tables(scheme, bounds: np.ndarray, ligands: tuple[str, ...]) -> tuple[np.ndarray, Rates]:
    """Tables for the distinct rows of `bounds` [window, ligand]; returns the row of each window too.

    Raises `BadInput` for a rate that is NaN or infinite, naming the transition.
    """
    rows, row_of = np.unique(np.asarray(bounds, np.float64), axis=0, return_inverse=True)
    source, target = np.array(scheme.source), np.array(scheme.target)
    ligand_of = np.array([ligands.index(name) if name else -1 for name in scheme.ligands])
    constant = np.exp(np.asarray(scheme.log_rate, np.float64))
    _require_finite(scheme, constant)
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
        (target[edge] << 16 | edge).reshape(-1).astype(np.uint32),
        ligand_of.astype(np.int32),
    )


def _require_finite(scheme, rate_per_s: np.ndarray) -> None:
    wrong = np.flatnonzero(~np.isfinite(rate_per_s))
    if len(wrong):
        k = int(wrong[0])
        step = f"{scheme.states[scheme.source[k]]} -> {scheme.states[scheme.target[k]]}"
        raise BadInput(
            f"rate of {step}",
            float(rate_per_s[k]),
            "not a finite rate; a parameter may have overflowed or be NaN",
            "give a finite rate in 1/s, or 1/(M s) for a binding step",
        )
    if len(rate_per_s) >= _MOST_EDGES:
        raise BadInput(
            "scheme",
            len(rate_per_s),
            f"{_MOST_EDGES} transitions or more",
            "use engine=Counts() or a smaller scheme",
        )


def has_rare_exits(rates: Rates) -> bool:
    """Whether some possible exit is rarer than `RARE`, so that 32 bits alone would misweigh it."""
    possible = (rates.thresholds > 0) | (rates.fraction > 0)
    return bool((possible & (rates.thresholds < RARE * 2.0**32)).any())


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


def start_tables(p0: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Selection tables ``(thresholds, state)`` of the start law `p0` [group, state]."""
    order, thresholds = cumulative_thresholds(np.asarray(p0, np.float64))
    return thresholds, order.astype(np.int32)
