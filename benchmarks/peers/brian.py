"""Brian2 in C++ standalone: one entry of a group per channel, stepped by P(dt)."""

import os
import shutil
from pathlib import Path

import numpy as np
from benchmarks.job import Job
from benchmarks.peers.base import Peer, Run

NEXT_STATE = """
static const double chain[{windows}][{size}][{size}] = {{{rows}}};
static const int order[{size}][{size}] = {{{order}}};
static inline int next_state(int state, double draw, int window) {{
    const double *row = chain[window][state];
    int k = 0;
    while (draw >= row[k]) k++;
    return order[state][k];
}}
"""


class Brian(Peer):
    name = "brian2_cpp"
    what = "C++ standalone, one state per channel, moved each 0.1 ms by P(dt) in inlined C++"
    law = "exact at grid points"
    channels = 1 << 15
    needs = ("brian2",)

    def missing(self) -> str | None:
        absent = super().missing()
        return absent or (None if shutil.which("g++") and shutil.which("make") else "no g++, make")

    def prepare(self, job: Job, n: int, folder: Path) -> None:
        import brian2 as b

        b.prefs.codegen.cpp.extra_compile_args_gcc = ["-O3", "-ffast-math", "-march=native"]
        b.prefs.devices.cpp_standalone.extra_make_args_unix = ["-j2"]
        b.set_device("cpp_standalone", build_on_run=False)
        self.folder, self.job = folder / "brian", job
        step = job.step_s * b.second
        b.defaultclock.dt = step
        next_state = _next_state(b, job)
        opened = " or ".join(f"place == {k}" for k in np.flatnonzero(job.is_open))
        group = b.NeuronGroup(
            n,
            "place : integer",
            threshold=opened,
            reset="",
            method="euler",
            namespace={"next_state": next_state},
        )
        group.place = job.start
        # the monitor counts the open ones (as if they fired) before they move on
        move = group.run_regularly(
            f"place = next_state(place, rand(), int(t_in_timesteps >= {job.first_steps}))",
            dt=step,
            when="end",
        )
        self.count = b.PopulationRateMonitor(group)
        network = b.Network(group, move, self.count)
        network.run((job.steps + 1) * step)
        b.device.build(directory=str(self.folder), compile=True, run=False, debug=False)
        self.device, self.kept = b.device, (network, group, move)

    def run(self, n: int, seed: int) -> Run:
        import brian2 as b

        # no seed is compiled in: each run takes its own from the system
        here = os.getcwd()
        self.device.run(str(self.folder), with_output=False, run_args=[])
        os.chdir(here)
        rate = np.asarray(self.count.rate / b.Hz)
        return Run(np.round(rate * n * self.job.step_s).astype(np.int64)[: self.job.steps + 1])


def _next_state(b, job: Job):
    """The move of one channel as an inlined C++ function, the diagonal tried first."""
    from scipy.linalg import expm

    size = len(job.states)
    order = np.array([[i, *(j for j in range(size) if j != i)] for i in range(size)])
    moves = np.stack([expm(q * job.step_s) for q in job.generators])
    chains = np.cumsum(np.take_along_axis(moves, order[None], axis=2), axis=2)
    chains[:, :, -1] = 2.0
    text = NEXT_STATE.format(
        windows=len(chains),
        size=size,
        rows=", ".join(_braces(chain) for chain in chains),
        order=", ".join(_braces(row) for row in order),
    )

    @b.implementation("cpp", text)
    @b.check_units(state=1, draw=1, window=1, result=1)
    def next_state(state, draw, window):
        raise NotImplementedError

    return next_state


def _braces(array) -> str:
    if np.ndim(array) == 0:
        return repr(array.item())
    return "{" + ", ".join(_braces(item) for item in array) + "}"
