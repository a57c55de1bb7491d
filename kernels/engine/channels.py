"""`Channels`: one exact path for every individual channel."""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from gabatone.kernels.bounds import require
from gabatone.kernels.drive.segments import compile_drive
from gabatone.kernels.engine.certificate import AUDIT_ALL, AUDIT_SHARE, certify
from gabatone.kernels.engine.draw import Shape
from gabatone.kernels.engine.listing import gather_paths, list_paths, occupancy_of
from gabatone.kernels.engine.memory import require_memory
from gabatone.kernels.engine.paths import run_paths, run_paths_on_cpu
from gabatone.kernels.engine.protocol import Engine, Request
from gabatone.kernels.engine.records import Dwells, DwellSum, Events, Readout
from gabatone.kernels.engine.streams import key_words
from gabatone.kernels.engine.tables import (
    LONGEST_WINDOW_S,
    Job,
    bisect_table,
    has_rare_exits,
    loose_states,
    one_curve,
    rate_tables,
    start_tables,
    window_table,
    worthwhile_windows,
)
from gabatone.kernels.engine.trace import Trace
from gabatone.kernels.errors import BadInput, Failure

_MOST_CHANNELS = 2**31 - 1  # the range in which a net change is told from its wrapped value
_MOST_AT_ONCE = 1 << 26
_MOST_EVENTS = 2**32 - 64  # beyond it an event's number would repeat
_LANES = {True: 256, False: 1 << 16}  # on a CPU what its nearest cache holds
_MOST_FRAMED = 16  # windows that are found from the time without a look-up
_SPAN = 1 << 22  # channels of which one share is audited
_LEAST_CHUNK = 1 << 16  # below it a second worker costs more than it gains


class Channels(Engine):
    """Exact paths of individual channels, event by event (Gillespie 1977, direct method).

    Exact under piecewise-constant drives, and by thinning under ramps and decays. The integers
    depend on the key and on each channel's number only, not on `chunk`, `lanes`, `workers` or
    the number of devices; another kind of device may round a time differently.

    Parameters
    ----------
    lanes : int or None
        Channels in flight at a time, at most; None for what suits the device.
    chunk : int
        Channels per call of the compiled loop, at most.
    workers : int or None
        Calls that run side by side, spread over the local devices; None for one on each
        device, or on each usable core where the device is a CPU.
    certify : bool
        Carry the certificate of `certificate.certify` on a share of the channels, all of them
        below 16,384. What it audits is the loop that makes tables; with `Events`, `Dwells` and
        `Readout` that loop runs once more on the first channels, from the same streams.
    kernel : str
        ``"loop"``, ``"fused"`` (one kernel on the device; on a CPU interpreted and slow), or
        ``"auto"``: fused on a GPU where the job allows it, else the loop. Audited channels
        take the loop in any case.
    throw : bool
        Raise `Failure` where the certificate is broken; False leaves that to the caller.
    max_events : int
        Draws that a channel may need. One that needs more raises `Failure` with its number.
    progress : callable or None
        Called with (channels done, channels in all) after each chunk.
    """

    lanes: int | None = eqx.field(static=True, default=None)
    chunk: int = eqx.field(static=True, default=1 << 22)
    workers: int | None = eqx.field(static=True, default=None)
    certify: bool = eqx.field(static=True, default=True)
    kernel: str = eqx.field(static=True, default="auto")
    throw: bool = eqx.field(static=True, default=True)
    max_events: int = eqx.field(static=True, default=_MOST_EVENTS)
    progress: object = eqx.field(static=True, default=None)

    exact: ClassVar[bool] = True

    def __check_init__(self):
        if self.lanes is not None:
            require("Channels.lanes", self.lanes, least=1, whole=True)
        require("Channels.chunk", self.chunk, least=1, most=_MOST_AT_ONCE, whole=True)
        require("Channels.max_events", self.max_events, least=1, most=_MOST_EVENTS, whole=True)
        if self.workers is not None:
            require("Channels.workers", self.workers, least=1, whole=True)
        if self.kernel not in ("auto", "loop", "fused"):
            raise BadInput(
                "Channels.kernel", self.kernel, "unknown", 'use "auto", "loop" or "fused"'
            )

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
        plan = plan_job(request)
        record = request.record
        if isinstance(record, Events | Dwells):
            return self._list(key, request, plan)
        require_memory(
            "save_s",
            len(request.save_s),
            4.0 * plan.shape.n_columns * _workers(self) + 8.0 * (3 * scheme.n_states),
        )
        if isinstance(record, Readout):
            return self._read_out(key, request, plan)
        events, starts, certificate = self._count(key, request, plan)
        n_edges = len(scheme.source)
        change = np.zeros((n_edges, scheme.n_states), np.int64)
        change[np.arange(n_edges), list(scheme.source)] -= 1
        change[np.arange(n_edges), list(scheme.target)] += 1
        occupancy = starts[0] + np.cumsum(_net(events[0, :-1] @ change), axis=0)
        return self._trace(request, occupancy, certificate)

    def _count(self, key, request: Request, plan: "Plan"):
        scheme = request.scheme if self.certify else None
        return count_events(
            key, plan.job, plan.save_rel, request.n, plan.shape, self, scheme=scheme
        )

    def _trace(self, request: Request, occupancy, certificate, recorded=None) -> Trace:
        return Trace(
            request.save_s,
            occupancy,
            request.scheme,
            request.n,
            "Channels",
            counts=True,
            certificate=certificate,
            recorded=recorded,
        )

    def _read_out(self, key, request: Request, plan: "Plan") -> Trace:
        """Sum of a function of the state; the certificate needs every edge and runs apart."""
        values = request.record.values
        sizes, column, sign = request.record.columns(request.scheme)
        apart = plan.job._replace(edge_column=column, edge_weight=sign)
        shape = plan.shape._replace(plain=False, n_columns=len(sizes))
        events, starts, _ = count_events(key, apart, plan.save_rel, request.n, shape, self)
        change = np.cumsum(_net(events[0, :-1]), axis=0)
        recorded = starts[0] @ values + change @ sizes
        return self._trace(request, None, self._certificate(key, request), recorded)

    def _list(self, key, request: Request, plan: "Plan") -> Trace:
        """Paths one by one: all transitions, or a histogram of their dwell times."""
        scheme, record = request.scheme, request.record
        job = jax.tree.map(jnp.asarray, plan.job)
        blocks = list_paths(
            key_words(key),
            job,
            plan.shape,
            scheme,
            request.n,
            request.t1_s,
            plan.clock_s,
            self.max_events,
            record.most if isinstance(record, Events) else np.inf,
        )
        if isinstance(record, Events):
            recorded = gather_paths(blocks, request.n, record.most)
            occupancy = occupancy_of(recorded, request.save_s, scheme.n_states)
        else:
            total, occupancy = DwellSum(record, scheme), 0
            for block in blocks:
                total.add(block)
                occupancy = occupancy + occupancy_of(block, request.save_s, scheme.n_states)
            recorded = total.table()
        return self._trace(request, occupancy, self._certificate(key, request), recorded)

    def _certificate(self, key, request: Request):
        """Certificate of the first channels, from the same streams."""
        if not self.certify:
            return None
        few = request._replace(
            n=min(request.n, AUDIT_ALL), save_s=request.save_s[-1:], uniform_step_s=None
        )
        return self._count(key, few, plan_job(few))[2]


class Plan(NamedTuple):
    """The tables of a request, and the time at which lanes count 0 in each window [window or 1]."""

    job: Job
    save_rel: object
    shape: Shape
    clock_s: np.ndarray


def plan_job(request: Request) -> Plan:
    """Tables of a request whose output is the number of events of each edge before each save time."""
    scheme = request.scheme
    segments = worthwhile_windows(
        compile_drive(request.drive, scheme.ligand_names, request.t1_s, longest_s=LONGEST_WINDOW_S),
        scheme,
    )
    framed = (
        request.t1_s <= LONGEST_WINDOW_S
        and len(segments.length_s) <= _MOST_FRAMED
        and one_curve(segments) is not None
    )
    row, rates = rate_tables(scheme, segments.bound, segments.ligands, each=framed)
    n_edges = len(scheme.source)
    p0 = np.asarray(request.p0, np.float64)
    job = Job(
        rates,
        window_table(segments, request.save_s, row, framed),
        np.zeros(1, np.int32),
        np.array([len(row)], np.int32),
        np.zeros(1, np.int32),
        (-1.0 / segments.tau_s).astype(np.float32),
        segments.decay_ligand.astype(np.int32),
        *start_tables(p0[None]),
        np.arange(n_edges, dtype=np.int32),
        np.ones(n_edges, np.int32),
        np.float32(1.0 / (request.uniform_step_s or 1.0)),
        loose_states(scheme, segments) if framed else np.zeros(1, bool),
    )
    save_rel = None if request.uniform_step_s else bisect_table(segments, request.save_s, framed)
    shape = Shape(
        len(request.save_s),
        1,
        n_edges,
        2**32 - 1,
        segments.smooth,
        sloped=bool(np.any(segments.slope)),
        rare=has_rare_exits(rates),
        plain=True,
        one_start=bool((p0 > 0).sum() == 1),
        framed=framed,
    )
    return Plan(job, save_rel, shape, np.zeros(1) if framed else segments.edge_s[:-1])


def _net(change: np.ndarray) -> np.ndarray:
    """Net change of counts from event numbers that may have wrapped at 2**32."""
    return ((change + 2**31) & (2**32 - 1)) - 2**31


def _workers(engine: Channels) -> int:
    devices = jax.local_devices()
    if engine.workers is not None:
        return int(engine.workers)
    if devices[0].platform == "cpu":
        return max(len(devices), _usable_cores())
    return len(devices)


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _most_counted(job: Job) -> int:
    """Channels whose events surely stay below 2**32 in one call."""
    ends = np.asarray(job.windows.end_s, np.float64)
    length = ends[-1] if len(job.loose) > 1 else ends.sum()
    return max(1, int(2.0**31 * float(np.min(job.rates.mean_s)) / length))


def _pieces(n: int, engine: Channels, audited: int) -> list[tuple[int, int, bool]]:
    """``(first channel, number, audited)`` of each call; what is audited depends on n alone.

    `audited` is the largest number in an audited call, 0 for no audit.
    """
    chunk = min(engine.chunk, max(_LEAST_CHUNK, -(-n // _workers(engine))))
    pieces = []
    for span in range(0, n, _SPAN):
        stop, head = min(span + _SPAN, n), span
        if audited:
            size = stop - span
            head = span + (size if size <= AUDIT_ALL else max(AUDIT_ALL, size // AUDIT_SHARE))
        for low, high, audit in ((span, head, True), (head, stop, False)):
            size = max(1, min(chunk, audited)) if audit else chunk
            pieces += [(first, min(size, high - first), audit) for first in range(low, high, size)]
    return pieces


def count_events(key, job: Job, save_rel, n: int, shape: Shape, engine: Channels, scheme=None):
    """Run all chunks and add up ``(events int64 [row, bin, column], starts int64 [row, state])``.

    Also returns the certificate against the rates of `scheme`, None without one. Each chunk
    counts its events modulo 2**32: differences of events that leave and enter a state stay
    true, totals of very many events do not. Raises `Failure` ``event_limit`` with the numbers
    of channels that need more draws than the engine allows.
    """
    words, devices = np.asarray(key_words(key)), jax.local_devices()
    events = np.zeros((shape.n_rows, shape.n_bins + 1, shape.n_columns), np.int64)
    starts = np.zeros((shape.n_rows, job.start_state.shape[1]), np.int64)
    pieces = _pieces(n, engine, 0 if scheme is None else _most_counted(job))
    workers = min(_workers(engine), len(pieces))
    placed = [jax.device_put((words, job, save_rel), d) for d in devices[: max(1, workers)]]

    def call(item):
        number, (first, count, audit) = item
        return _run_piece(placed[number % len(placed)], first, count, audit, shape, engine)

    done, audits = 0, []
    with ThreadPoolExecutor(max(1, workers)) as pool:
        for (_, count, audit), found in zip(pieces, pool.map(call, enumerate(pieces)), strict=True):
            table, begun, seen = found
            events += table
            starts += begun
            if audit:
                audits.append((table.view(np.uint32).sum(axis=(0, 1), dtype=np.int64), seen))
            done += count
            if engine.progress is not None:
                engine.progress(done, n)
    certificate = None if scheme is None else certify(scheme, audits, throw=engine.throw)
    return events, starts, certificate


def _run_piece(placed, first: int, count: int, audit: bool, shape: Shape, engine: Channels):
    """One call of the compiled loop: events, starts, and what was seen of each state."""
    words, job, save_rel = placed
    chunk = max(64, 1 << int(np.ceil(np.log2(count))))
    numbers = (jnp.uint32(first), jnp.uint32(count), jnp.uint32(engine.max_events))
    shape = shape._replace(audit=audit)
    platform = next(iter(job.group_row.devices())).platform
    wanted = engine.kernel == "fused" or (engine.kernel == "auto" and platform == "gpu")
    fits = save_rel is None and job.group_first.shape[0] == 1
    if engine.kernel == "fused" and not fits:
        raise BadInput(
            "Channels.kernel",
            "fused",
            "the fused kernel takes one population on a uniform grid of save times",
            'give save_s as a step, or use kernel="auto"',
        )
    if wanted and fits and not audit:
        # imported where it is used: its compiler is not there on every platform
        from gabatone.kernels.engine.pallas import run_fused

        table, begun, stuck = run_fused(
            words, job, *numbers, chunk=chunk, shape=shape, interpret=platform == "cpu"
        )
        seen = np.zeros((1, 1, 1, 1))
    else:
        run = run_paths_on_cpu if platform == "cpu" else run_paths
        table, begun, seen, stuck = run(
            words,
            job,
            save_rel,
            *numbers,
            lanes=int(min(engine.lanes or _LANES[platform == "cpu"], max(64, chunk // 64))),
            chunk=0 if shape.one_start else chunk,
            shape=shape,
        )
    stuck = np.unique(np.asarray(stuck))
    stuck = stuck[stuck < first + count]
    if len(stuck):
        shown = ", ".join(str(c) for c in stuck[:8]) + (", ..." if len(stuck) > 8 else "")
        raise Failure(
            "event_limit",
            f"channels {shown} need more than {engine.max_events} draws: rates too fast for the "
            "length of the run, or a limit too low; shorten t1_s, raise Channels(max_events=...), "
            "or use engine=Counts(), whose cost does not depend on the rates",
        )
    return np.asarray(table), np.asarray(begun), np.asarray(seen, np.float64).sum(axis=(0, 3))
