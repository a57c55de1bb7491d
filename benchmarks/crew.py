"""The methods of the benchmark, each in a process of its own, and the rounds that time them."""

import multiprocessing
from dataclasses import dataclass, field

from benchmarks.job import Disagreement, Job, agreement
from benchmarks.worker import serve

PEERS = "benchmarks.peers."
LONGEST_S = 300.0  # silence after which a method is given up
WORST_MEAN = 0.02  # what a deterministic method may be off by, in open probability


class LeftOut(Exception):
    """A method that is absent, or that failed; the message says why."""


@dataclass
class Method:
    """One method at work: its process and what has been seen of it."""

    name: str
    peer: object
    n: int
    pipe: object
    process: object
    cores: int = 1
    prepare_cpu_s: float = 0.0
    first_cpu_s: float = 0.0
    peak_MiB: float = 0.0
    worst_z: float = 0.0
    events: float | None = None
    cpu_s: list = field(default_factory=list)
    wall_s: list = field(default_factory=list)

    def answer(self):
        """The next message of the process; raises `LeftOut` where there is none."""
        if not self.pipe.poll(LONGEST_S):
            self.process.terminate()
            raise LeftOut(f"no answer within {LONGEST_S:g} s")
        try:
            kind, value, more = self.pipe.recv()
        except EOFError:
            raise LeftOut("its process ended") from None
        if kind in ("absent", "failed"):
            raise LeftOut(value)
        return value, more

    def run(self, seed: int, n: int | None = None):
        """One timed run: ``(opened, cpu seconds, wall seconds)``."""
        self.pipe.send((seed, self.n if n is None else n))
        (opened, events, cpu_s, wall_s), self.peak_MiB = self.answer()
        self.events = events
        return opened, cpu_s, wall_s

    def close(self) -> None:
        """Let the process end."""
        try:
            self.pipe.send(None)
        except OSError:
            pass
        self.process.join(10)
        if self.process.is_alive():
            self.process.terminate()


def load(place: str):
    """The peer at `place`, in this process (nothing is imported that it needs to run)."""
    import importlib

    module, kind = place.split(":")
    return getattr(importlib.import_module(PEERS + module), kind)()


def start(place: str, job: Job, environment: dict, cores: list[int], scale: float = 1.0) -> Method:
    """Start the process of a method and have it prepare; raises `LeftOut`."""
    peer = load(place)
    n = peer.channels if peer.law == "deterministic" else scaled(peer.channels, scale)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    used = set(cores[: peer.cores]) if cores else set()
    if cores and len(used) < peer.cores:
        raise LeftOut(f"needs {peer.cores} cores")
    process = context.Process(
        target=serve,
        args=(theirs, PEERS + place, n, {**environment, **peer.environment}, used),
        daemon=True,
    )
    process.start()
    theirs.close()
    method = Method(peer.name, peer, n, ours, process, cores=peer.cores)
    method.answer()
    method.pipe.send(job)
    method.prepare_cpu_s, method.peak_MiB = method.answer()
    return method


def scaled(n: int, scale: float) -> int:
    """A number of channels, kept a multiple of 64 where it was one."""
    return max(64, int(n * scale) // 64 * 64) if scale != 1.0 else n


def check(method: Method, total, n: int, mean, checks: int) -> None:
    """Hold summed open counts of `n` channels to the exact mean of the method's drive."""
    if method.peer.law == "deterministic":
        worst = float(abs(total / n - mean).max())
        method.worst_z = worst
        if not worst <= WORST_MEAN:
            raise Disagreement(f"{worst:.3g} away from Master")
    else:
        method.worst_z = max(method.worst_z, agreement(total, n, mean, checks))


def warm(method: Method, mean, checks: int, runs: int = 3) -> None:
    """The first call, with compilation, and a check over a few runs."""
    total, method.first_cpu_s, _ = method.run(10_000)
    for k in range(1, runs):
        total = total + method.run(10_000 + k)[0]
    check(method, total, runs * method.n, mean, checks)


def time_rounds(methods: list[Method], rounds: int, means: dict, checks: int, tell) -> dict:
    """Time every method in every round, the order turning; returns name -> why it was dropped."""
    totals, dropped = {}, {}
    for k in range(rounds):
        turn = k % len(methods)
        for method in methods[turn:] + methods[:turn]:
            if method.name in dropped:
                continue
            try:
                opened, cpu_s, wall_s = method.run(k)
            except LeftOut as error:
                dropped[method.name] = str(error)
                tell(f"{method.name}: {error}")
                continue
            method.cpu_s.append(cpu_s)
            method.wall_s.append(wall_s)
            totals[method.name] = totals.get(method.name, 0) + opened
    for method in methods:
        if method.name not in dropped:
            try:
                total, n = totals[method.name], rounds * method.n
                check(method, total, n, means[method.peer.drive], checks)
            except Disagreement as error:
                dropped[method.name] = str(error)
                tell(f"{method.name}: {error}")
    return dropped
