"""A drive cut into the steps of a time grid, handed out in blocks of one size."""

from dataclasses import replace

import numpy as np

from gabatone.kernels.drive.segments import Segments, compile_drive
from gabatone.kernels.engine.protocol import Request
from gabatone.kernels.errors import BadInput

_MOST_STEPS = 1 << 24
_SLIVER = 1e-6  # of a step: grid points nearer than this to a save time or a break are left out


def cut_steps(name: str, request: Request, dt_s: float) -> Segments:
    """The request's drive on steps of `dt_s` from 0, cut further at save times and breaks.

    Raises `BadInput`, naming ``{name}.dt_s``, for more steps than memory can list.
    """
    t1_s, save_s = request.t1_s, request.save_s
    number = t1_s / dt_s
    if number > _MOST_STEPS:
        raise BadInput(
            f"{name}.dt_s",
            dt_s,
            f"{number:.3g} steps up to t1_s = {t1_s:g}, more than {_MOST_STEPS}",
            f"take {t1_s / _MOST_STEPS:.3g} s or more, or simulate a shorter time",
        )
    fixed = np.unique(np.concatenate([[0.0, t1_s], save_s, request.drive.breaks_s(t1_s)]))
    grid = np.arange(1, int(np.ceil(number))) * dt_s
    grid = grid[grid < t1_s]
    after = np.searchsorted(fixed, grid)
    gap = np.minimum(fixed[after] - grid, grid - fixed[after - 1])
    edge = np.unique(np.concatenate([fixed, grid[gap > _SLIVER * dt_s]]))
    return compile_drive(request.drive, request.scheme.ligand_names, t1_s, cuts_s=edge)


def block_of(segments: Segments, first: int, size: int) -> Segments:
    """Windows ``first .. first + size``; what lies beyond the last one has no length.

    The bound is that of all windows, so that blocks of one size share what is compiled.
    """
    windows = len(segments.edge_s) - 1
    take = np.minimum(np.arange(first, first + size), windows - 1)
    top = np.asarray(segments.bound).max(axis=0)
    return replace(
        segments,
        edge_s=segments.edge_s[np.minimum(np.arange(first, first + size + 1), windows)],
        level=segments.level[take],
        slope=segments.slope[take],
        amplitude=segments.amplitude[take],
        bound=np.broadcast_to(top, (size, len(top))),
    )


def block_size(windows: int, most: int) -> int:
    """A power of two that holds all windows, or `most`."""
    return int(min(most, 1 << int(np.ceil(np.log2(max(windows, 16))))))


def halved(segments: Segments) -> Segments:
    """Each window as two of half its length."""
    half = segments.length_s[:, None] / 2
    edge = np.repeat(segments.edge_s, 2)[:-1]
    edge[1::2] = segments.edge_s[:-1] + half[:, 0]
    moved = segments.level + segments.slope * half
    faded = segments.amplitude * np.exp(-half / segments.tau_s)
    return replace(
        segments,
        edge_s=edge,
        level=_in_turn(segments.level, moved),
        slope=np.repeat(segments.slope, 2, axis=0),
        amplitude=_in_turn(segments.amplitude, faded),
        bound=np.repeat(segments.bound, 2, axis=0),
    )


def _in_turn(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.stack([first, second], axis=1).reshape(2 * len(first), first.shape[1])
