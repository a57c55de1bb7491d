"""NumPy grids and the numba loop as peers."""

from pathlib import Path

import numpy as np
from benchmarks.grid_numpy import GridJob, every_channel, movers_only
from benchmarks.job import Job
from benchmarks.peers.base import Peer, Run


class EveryChannel(Peer):
    name = "numpy_every_channel"
    what = "vectorised grid, P(dt), all channels looked up each step"
    law = "exact at grid points"
    channels = 1 << 14

    def prepare(self, job: Job, n: int, folder: Path) -> None:
        sizes = job.step_s, job.first_steps, job.steps
        self.grid = GridJob(job.generators, job.is_open, job.start, *sizes)

    def run(self, n: int, seed: int) -> Run:
        return Run(every_channel(self.grid, seed, n))


class MoversOnly(EveryChannel):
    name = "numpy_movers_only"
    what = "the same grid tuned: look-ups for movers only, finished channels dropped"
    channels = 1 << 17

    def run(self, n: int, seed: int) -> Run:
        return Run(movers_only(self.grid, seed, n))


class Numba(Peer):
    name = "numba_events"
    what = "scalar event-driven loop, compiled"
    channels = 1 << 19
    needs = ("numba",)

    def prepare(self, job: Job, n: int, folder: Path) -> None:
        from benchmarks.events_numba import event_tables

        self.job, self.tables = job, event_tables(job.generators)

    def run(self, n: int, seed: int) -> Run:
        from benchmarks.events_numba import open_counts

        job, stops = self.job, np.array(self.job.stops_s)
        sizes = job.start, stops, job.step_s, job.steps
        return Run(open_counts(seed, n, *self.tables, job.is_open, *sizes))
