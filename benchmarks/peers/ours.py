"""Our engines as entries of the same table."""

import dataclasses
from pathlib import Path

import numpy as np
from benchmarks.job import PULSE_S, START, Job, drives
from benchmarks.peers.base import Peer, Run


class Ours(Peer):
    """`simulate` with one engine under one drive; `options` are arguments of the engine."""

    name = "Channels"
    what = "exact paths, event by event"
    channels = 1 << 22
    engine = "Channels"
    options: dict = {}

    def missing(self) -> str | None:
        import gabatone

        known = {field.name for field in dataclasses.fields(getattr(gabatone, self.engine))}
        absent = [name for name in self.options if name not in known]
        return f"{self.engine} has no {', '.join(absent)}" if absent else None

    def prepare(self, job: Job, n: int, folder: Path) -> None:
        import gabatone

        # the job itself, where a test wants another scheme than the benchmark's
        assert job.stops_s[0] == PULSE_S
        self.job, self.scheme = job, gabatone.load_scheme(job.scheme)
        self.made = getattr(gabatone, self.engine)(**self.options)

    def run(self, n: int, seed: int) -> Run:
        import jax

        from gabatone import simulate

        job = self.job
        trace = simulate(
            jax.random.key(seed),
            self.scheme,
            drives()[self.drive],
            engine=self.made,
            n=n,
            t1_s=job.stops_s[1],
            save_s=job.step_s,
            p0=START,
        )
        return Run(np.asarray(trace.open_count))


class Smooth(Ours):
    name = "Channels, smooth drive"
    what = "1 mM GABA that decays with 1 ms in place of the pulse, by thinning"
    drive = "decay"


class TwoCores(Ours):
    name = "Channels, two cores"
    what = "two calls side by side, one on each core; the rate is by wall clock"
    channels = 1 << 23
    cores = 2
    options = {"workers": 2}


class Uncertified(Ours):
    name = "Channels, no certificate"
    what = "exact paths without the running test of their own law"
    options = {"certify": False}


class Counted(Ours):
    name = "Counts"
    what = "exact multinomial counts, cost free of n"
    channels = 25_000_000
    engine = "Counts"
