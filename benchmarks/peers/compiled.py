"""Reference kernels in C, built on the spot with the system compiler: scalar and AVX-512."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
from benchmarks.job import Job
from benchmarks.peers.base import Peer, Run

NATIVE = Path(__file__).parent / "native"
LANE_STATES, LANE_EXITS = 8, 4  # what the vector tables hold for each of two windows


def build(source: str, folder: Path, *flags: str) -> ctypes.CDLL:
    """Compile one C file of `native/` for this processor and load it."""
    library = folder / (Path(source).stem + ".so")
    command = ["gcc", "-O3", "-march=native", *flags, "-shared", "-fPIC", "-o", str(library)]
    subprocess.run([*command, str(NATIVE / source), "-lm"], check=True, capture_output=True)
    return ctypes.CDLL(str(library))


def event_tables(generators, fan: int | None = None):
    """``(leave [w, s], limit uint32 [w, s, fan - 1], target int32 [w, s, fan])``, likeliest exit first."""
    q = np.stack([np.asarray(g, np.float64) for g in generators])
    exits = np.clip(q, 0.0, None)
    leave = exits.sum(axis=2)
    fan = int((exits > 0).sum(axis=2).max()) if fan is None else fan
    order = np.argsort(-exits, axis=2, kind="stable")[:, :, :fan]
    share = np.take_along_axis(exits, order, axis=2) / np.where(leave > 0, leave, 1.0)[:, :, None]
    limit = np.round(np.cumsum(share, axis=2)[:, :, :-1] * 2.0**32)
    return leave, np.minimum(limit, 2.0**32 - 1).astype(np.uint32), order.astype(np.int32)


def _at(array: np.ndarray):
    return array.ctypes.data_as(ctypes.c_void_p)


def _opened(change: np.ndarray, n: int, job: Job) -> np.ndarray:
    return np.cumsum(change[: job.steps + 1]) + n * int(job.is_open[job.start])


class ScalarC(Peer):
    name = "c_scalar"
    what = "scalar C, event by event, gcc -O3 -march=native"
    channels = 1 << 19

    def missing(self) -> str | None:
        return None if shutil.which("gcc") else "no gcc"

    def prepare(self, job: Job, n: int, folder: Path) -> None:
        self.job, self.call = job, build("events_scalar.c", folder).simulate
        self.call.restype = ctypes.c_int64
        leave, limit, target = event_tables(job.generators)
        kept = leave, limit, target, job.is_open.astype(np.uint8), np.array(job.stops_s)
        self.kept = [np.ascontiguousarray(array) for array in kept]

    def run(self, n: int, seed: int) -> Run:
        job, (leave, limit, target, is_open, stop_s) = self.job, self.kept
        change = np.zeros(job.steps + 2, np.int64)
        events = self.call(
            ctypes.c_uint64(seed),
            ctypes.c_int64(n),
            *(ctypes.c_int(size) for size in target.shape),
            *(_at(array) for array in (leave, limit, target, is_open)),
            ctypes.c_int(job.start),
            _at(stop_s),
            ctypes.c_double(job.step_s),
            _at(change),
        )
        return Run(_opened(change, n, job), events)


class _Gathered(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("wait_s", "stop_s", "limit")),
        *((name, ctypes.c_void_p) for name in ("edge", "target", "logarithm")),
        *((name, ctypes.c_int32) for name in ("windows", "states", "fan", "edges", "start")),
        ("per_step", ctypes.c_float),
    ]


class _Registers(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("wait_s", "stop_s", "after_s", "after")),
        *((name, ctypes.c_void_p) for name in ("limit", "targets", "logarithm")),
        ("open", ctypes.c_uint32),
        ("start", ctypes.c_int32),
        ("per_step", ctypes.c_float),
    ]


class VectorC(Peer):
    name = "c_avx512"
    what = (
        "AVX-512 C, event by event, recycled lanes, any scheme: gathers, histogram of every event"
    )
    channels = 1 << 20

    def missing(self) -> str | None:
        if not shutil.which("gcc"):
            return "no gcc"
        try:
            flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        except OSError:
            flags = ""
        return None if "avx512dq" in flags else "no AVX-512 on this processor"

    def prepare(self, job: Job, n: int, folder: Path) -> None:
        self.job, self.call = job, build("events_gather.c", folder).simulate
        self.call.restype = None
        leave, limit, target = event_tables(job.generators)
        edges = [edge[:2] for edge in job.edges()]
        number = {edge: k for k, edge in enumerate(edges)}
        windows, states, fan = target.shape
        named = [
            [number.get((s, j), 0) for j in target[w, s]]
            for w in range(windows)
            for s in range(states)
        ]
        self.kept = {
            "wait_s": _waits(leave).reshape(-1),
            "stop_s": np.array(job.stops_s, np.float32),
            "limit": np.ascontiguousarray(limit.reshape(windows * states, fan - 1).T),
            "edge": np.array(named, np.int32),
            "target": np.array([edge[1] for edge in edges], np.int32),
            "logarithm": _logarithm(),
        }
        pointers = {name: array.ctypes.data for name, array in self.kept.items()}
        sizes = dict(windows=windows, states=states, fan=fan, edges=len(edges))
        self.tables = _Gathered(**pointers, **sizes, start=job.start, per_step=1.0 / job.step_s)
        gain = job.is_open.astype(int)
        self.gain = np.array([gain[j] - gain[i] for i, j in edges])

    def run(self, n: int, seed: int) -> Run:
        events = np.zeros((self.job.steps + 2, len(self.gain)), np.uint32)
        self.call(ctypes.c_uint64(seed), ctypes.c_int64(n), ctypes.byref(self.tables), _at(events))
        return Run(_opened(events @ self.gain, n, self.job), int(events.sum(dtype=np.int64)))


class RegisterC(VectorC):
    name = "c_avx512_registers"
    what = "the same kernel made for this job alone: tables in registers, open count only"
    channels = 1 << 21

    def prepare(self, job: Job, n: int, folder: Path) -> None:
        self.job, self.call = job, build("events_registers.c", folder).simulate
        self.call.restype = ctypes.c_int64
        self.kept = _lane_tables(job)
        pointers = {name: array.ctypes.data for name, array in self.kept.items()}
        opened = sum(int(is_open) << k for k, is_open in enumerate(job.is_open))
        both = opened | opened << LANE_STATES
        self.tables = _Registers(**pointers, open=both, start=job.start, per_step=1.0 / job.step_s)

    def run(self, n: int, seed: int) -> Run:
        change = np.zeros(self.job.steps + 2, np.int64)
        events = self.call(
            ctypes.c_uint64(seed), ctypes.c_int64(n), ctypes.byref(self.tables), _at(change)
        )
        return Run(_opened(change, n, self.job), events)


def _waits(leave: np.ndarray) -> np.ndarray:
    return np.where(leave > 0, 1.0 / np.where(leave > 0, leave, 1.0), 1e30).astype(np.float32)


def _lane_tables(job: Job) -> dict[str, np.ndarray]:
    """The tables of (window, state) as vectors of 16."""
    leave, limit, target = event_tables(job.generators, fan=LANE_EXITS)
    assert leave.shape[1] <= LANE_STATES, "more states than the vector tables hold"
    assert ((np.asarray(job.generators) > 0).sum(axis=2) <= LANE_EXITS).all(), "too many exits"
    wide = np.zeros((2, LANE_STATES, LANE_EXITS - 1), np.uint32)
    exits = np.zeros((2, LANE_STATES, LANE_EXITS), np.uint32)
    wait = np.full((2, LANE_STATES), 1e30, np.float32)
    wide[:, : limit.shape[1]], exits[:, : target.shape[1]] = limit, target
    wait[:, : leave.shape[1]] = _waits(leave)
    second = np.arange(LANE_STATES) + LANE_STATES
    stops = np.repeat(np.array(job.stops_s, np.float32), LANE_STATES)
    return {
        "wait_s": wait.reshape(-1),
        "stop_s": stops,
        "after_s": np.where(np.arange(16) < LANE_STATES, stops, 0.0).astype(np.float32),
        "after": np.concatenate([second, np.full(LANE_STATES, job.start)]).astype(np.int32),
        "limit": np.ascontiguousarray(wide.reshape(16, -1).T),
        "targets": (exits << (8 * np.arange(LANE_EXITS))).sum(axis=2).astype(np.uint32).reshape(-1),
        "logarithm": _logarithm(),
    }


def _logarithm() -> np.ndarray:
    """P of log(1 + r) = r - r^2 / 2 + r^3 P(r) on [-0.25, 0.5], fitted at Chebyshev points."""
    nodes = np.cos(np.pi * (np.arange(400) + 0.5) / 400) * 0.375 + 0.125
    nodes = nodes[np.abs(nodes) > 1e-3]
    rest = (np.log1p(nodes) - nodes + nodes**2 / 2) / nodes**3
    weight = np.abs(nodes**3 / np.log1p(nodes))
    return np.polynomial.polynomial.polyfit(nodes, rest, 6, w=weight).astype(np.float32)
