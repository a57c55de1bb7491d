"""A process of its own for each method: it prepares once, then runs on demand and times itself."""

import importlib
import os
import resource
import sys
import tempfile
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path


def serve(pipe: Connection, place: str, n: int, environment: dict, cores: set[int]) -> None:
    """Serve one peer, named by `place` (module:class), until the other end says None."""
    os.environ.update(environment)
    if cores:
        os.sched_setaffinity(0, cores)
    with tempfile.TemporaryDirectory() as folder, open(Path(folder) / "log", "w+") as log:
        # several tools talk on standard output
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        try:
            _loop(pipe, place, n, Path(folder))
        except EOFError:
            pass
        except BaseException as error:
            traceback.print_exc(file=sys.stderr)
            sys.stderr.flush()
            log.seek(0)
            pipe.send(("failed", f"{type(error).__name__}: {error}", log.read()[-4000:]))


def _loop(pipe: Connection, place: str, n: int, folder: Path) -> None:
    module, kind = place.split(":")
    peer = getattr(importlib.import_module(module), kind)()
    absent = peer.missing()
    if absent:
        pipe.send(("absent", absent, ""))
        return
    pipe.send(("present", None, ""))
    job = pipe.recv()
    begin = cpu_s()
    peer.prepare(job, n, folder)
    pipe.send(("ready", cpu_s() - begin, peak_MiB()))
    while (asked := pipe.recv()) is not None:
        seed, channels = asked
        begin_wall, begin = time.perf_counter(), cpu_s()
        done = peer.run(channels, seed)
        spent = cpu_s() - begin, time.perf_counter() - begin_wall
        pipe.send(("done", (done.opened, done.events, *spent), peak_MiB()))


def cpu_s() -> float:
    """Processor seconds of this process, all its threads, and of children that have ended."""
    child = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + child.ru_utime + child.ru_stime


def peak_MiB() -> float:
    """Largest resident size of this process so far (not of its parent, as getrusage may say)."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
