"""Myokit's DiscreteSimulation of a Markov model; the voltage stands in for GABA."""

from pathlib import Path

import numpy as np
from benchmarks.job import Job
from benchmarks.peers.base import Peer, Run, sampled


class Myokit(Peer):
    name = "myokit_discrete"
    what = "lib.markov.DiscreteSimulation, counts in each state, every transition logged"
    channels = 1 << 10
    needs = ("myokit",)

    def prepare(self, job: Job, n: int, folder: Path) -> None:
        import myokit
        from myokit.lib import markov

        model = myokit.parse_model(_text(job))
        states = [f"channel.{name}" for name in job.states]
        linear = markov.LinearModel(model, states, vm="membrane.V")
        protocol = myokit.Protocol()
        protocol.schedule(1, 0, job.stops_s[0])
        self.simulation = markov.DiscreteSimulation(linear, protocol, nchannels=n)
        self.job = job

    def run(self, n: int, seed: int) -> Run:
        np.random.seed(seed)
        self.simulation.reset()
        log = self.simulation.run(self.job.stops_s[1])
        pairs = zip(self.job.states, self.job.is_open, strict=True)
        names = [f"channel.{state}" for state, is_open in pairs if is_open]
        opened = sum(np.asarray(log[name]) for name in names)
        return Run(sampled(log.time(), opened, self.job), len(log.time()) - 2)


def _text(job: Job) -> str:
    """The scheme as a Myokit model in seconds: rates go from the second window's to the first's with V."""
    rates = {(i, j): (on, off) for i, j, on, off in job.edges()}
    lines = ["[[model]]", "name: scheme"]
    lines += [f"channel.{s} = {int(k == job.start)}" for k, s in enumerate(job.states)]
    lines += [
        "",
        "[time]",
        "t = 0 bind time",
        "",
        "[membrane]",
        "V = 0",
        "    label membrane_potential",
    ]
    lines += ["", "[channel]", "use membrane.V as V"]
    for (i, j), (on, off) in rates.items():
        lines.append(f"k_{i}_{j} = {off!r} + V * ({on!r} - {off!r})")
    for k, state in enumerate(job.states):
        gains = " + ".join(f"k_{i}_{j} * {job.states[i]}" for i, j in rates if j == k)
        losses = "".join(f" - k_{i}_{j} * {state}" for i, j in rates if i == k)
        lines.append(f"dot({state}) = {gains}{losses}")
    return "\n".join(lines) + "\n"
