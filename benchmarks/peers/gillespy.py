"""GillesPy2's C++ SSA: n channels as counts in each state, every transition simulated."""

import os
import shutil
import sysconfig
from pathlib import Path

import numpy as np
from benchmarks.job import Job
from benchmarks.peers.base import Peer, Run, start_counts


class GillesPy(Peer):
    name = "gillespy2_cpp"
    what = "SSACSolver, counts in each state, one run for each window"
    channels = 1 << 17
    needs = ("gillespy2",)

    def missing(self) -> str | None:
        absent = super().missing()
        return absent or (None if shutil.which("g++") else "no g++")

    def prepare(self, job: Job, n: int, folder: Path) -> None:
        from gillespy2 import SSACSolver

        os.environ["TMPDIR"] = str(folder)
        # its build calls the interpreter behind a virtual environment, which does not see SCons
        os.environ["PYTHONPATH"] = sysconfig.get_paths()["purelib"]
        self.job = job
        self.solvers = [SSACSolver(model=_model(job, window), variable=True) for window in range(2)]

    def run(self, n: int, seed: int) -> Run:
        job = self.job
        counts, opened = start_counts(job, n), []
        for window, solver in enumerate(self.solvers):
            done = solver.run(seed=2 * seed + window + 1, variables=counts)[0]
            table = np.stack([done[name] for name in job.states])
            opened.append(table[job.is_open].sum(axis=0)[min(window, 1) :])
            counts = {name: int(row[-1]) for name, row in zip(job.states, table, strict=True)}
        return Run(np.concatenate(opened).astype(np.int64))


def _model(job: Job, window: int):
    """Transitions of rate 0 are left out: the solver would keep them in every sum."""
    import gillespy2

    model = gillespy2.Model(name=f"window_{window}")
    species = {name: gillespy2.Species(name=name, initial_value=0) for name in job.states}
    model.add_species(list(species.values()))
    for edge in job.edges():
        source, target, rate = job.states[edge[0]], job.states[edge[1]], edge[2 + window]
        if rate > 0:
            name = f"{source}_{target}"
            constant = gillespy2.Parameter(name=f"k_{name}", expression=repr(rate))
            model.add_parameter(constant)
            sides = {"reactants": {species[source]: 1}, "products": {species[target]: 1}}
            model.add_reaction(gillespy2.Reaction(name=name, rate=constant, **sides))
    steps = (job.first_steps, job.steps - job.first_steps)[window]
    model.timespan(np.arange(steps + 1) * job.step_s)
    return model
