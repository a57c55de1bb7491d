"""`Channels`: one exact path for every individual channel."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from gabatone.kernels.bounds import require
from gabatone.kernels.drive.segments import compile_drive
from gabatone.kernels.engine.paths import (
    LONGEST_WINDOW_S,
    Job,
    Shape,
    bisect_table,
    rate_tables,
    run_paths,
    window_table,
)
from gabatone.kernels.engine.protocol import Engine, Request
from gabatone.kernels.engine.streams import cumulative_thresholds, key_words
from gabatone.kernels.engine.trace import Trace
from gabatone.kernels.errors import BadInput

_MOST_CHANNELS = 2**31 - 1  # the range in which a net change is told from its wrapped value
_MOST_AT_ONCE = 1 << 26


class Channels(Engine):
    """Exact paths of individual channels, event by event (Gillespie 1977, direct method).

    Exact under piecewise-constant drives, and by thinning under ramps and decays. The
    integers depend on the key and on each channel's number only, not on `chunk` or `lanes`.

    Parameters
    ----------
    lanes : int
        Channels in flight at a time.
    chunk : int
        Channels per call of the compiled loop.
    progress : callable or None
        Called with (channels done, channels in all) after each chunk.
    """

    lanes: int = eqx.field(static=True, default=2048)
    chunk: int = eqx.field(static=True, default=1 << 20)
    progress: object = eqx.field(static=True, default=None)

    exact: ClassVar[bool] = True

    def __check_init__(self):
        require("Channels.lanes", self.lanes, least=1)
        require("Channels.chunk", self.chunk, least=1, most=_MOST_AT_ONCE)

    def run(self, key, request: Request) -> Trace:
        """Simulate ``request.n`` channels and return their summed occupancy on the save grid."""
        scheme, n = request.scheme, request.n
        if n > _MOST_CHANNELS:
            raise BadInput(
                "n",
                n,
                f"more than {_MOST_CHANNELS} individual channels",
                "use engine=Counts() for more",
            )
        segments = compile_drive(
            request.drive, scheme.ligand_names, request.t1_s, longest_s=LONGEST_WINDOW_S
        )
        row, rates = rate_tables(scheme, segments.bound, segments.ligands)
        n_edges = len(scheme.source)
        job = Job(
            rates,
            window_table(segments, request.save_s, row),
            np.zeros(1, np.int32),
            np.array([len(row)], np.int32),
            np.zeros(1, np.int32),
            segments.tau_s.astype(np.float32),
            segments.decay_ligand.astype(np.int32),
            *start_tables(np.asarray(request.p0)[None]),
            np.arange(n_edges, dtype=np.int32),
            np.ones(n_edges, np.int32),
            np.float32(request.uniform_step_s or 1.0),
        )
        save_rel = None if request.uniform_step_s else bisect_table(segments, request.save_s)
        shape = Shape(len(request.save_s), 1, n_edges, 2**32 - 1, segments.smooth)
        events, starts = count_events(key, job, save_rel, n, shape, self)
        change = np.zeros((n_edges, scheme.n_states), np.int64)
        change[np.arange(n_edges), list(scheme.source)] -= 1
        change[np.arange(n_edges), list(scheme.target)] += 1
        occupancy = starts[0] + np.cumsum(_net(events[0, :-1] @ change), axis=0)
        return Trace(request.save_s, occupancy, scheme, n, "Channels", counts=True)


def _net(change: np.ndarray) -> np.ndarray:
    """Net change of counts from event numbers that may have wrapped at 2**32."""
    return ((change + 2**31) & (2**32 - 1)) - 2**31


def start_tables(p0: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Selection tables ``(thresholds, state)`` of the start law `p0` [group, state]."""
    order, thresholds = cumulative_thresholds(np.asarray(p0, np.float64))
    return thresholds, order.astype(np.int32)


def count_events(key, job: Job, save_rel, n: int, shape: Shape, engine: Channels):
    """Run all chunks and add up ``(events int64 [row, bin, column], starts int64 [row, state])``.

    Each chunk counts its events modulo 2**32: differences of events that leave and enter
    a state stay true, totals of very many events do not.
    """
    chunk = int(min(engine.chunk, max(64, 1 << int(np.ceil(np.log2(n))))))
    lanes = int(min(engine.lanes, chunk, max(64, chunk // 8)))
    words = key_words(key)
    job = jax.tree.map(jnp.asarray, job)
    events = np.zeros((shape.n_rows, shape.n_bins + 1, shape.n_columns), np.int64)
    starts = np.zeros((shape.n_rows, job.start_state.shape[1]), np.int64)
    for first in range(0, n, chunk):
        count = min(chunk, n - first)
        table, begun = run_paths(
            words,
            job,
            save_rel,
            jnp.uint32(first),
            jnp.uint32(count),
            lanes=lanes,
            chunk=chunk,
            shape=shape,
        )
        events += np.asarray(table)
        starts += np.asarray(begun)
        if engine.progress is not None:
            engine.progress(first + count, n)
    return events, starts
