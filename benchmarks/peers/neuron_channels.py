"""NEURON: one point process per channel (per step, or per event), KSChan, and KINETIC."""

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from benchmarks.job import Job
from benchmarks.peers.base import Peer, Run

NATIVE = Path(__file__).parent / "native" / "neuron"
PER_MS = 1e-3
NO_LIGAND_MV = -1000.0  # where a rate that grows e-fold per mV from 0 mV has vanished


def compiler() -> str | None:
    """Where nrnivmodl is: on the path, or beside this interpreter."""
    return shutil.which("nrnivmodl") or shutil.which("nrnivmodl", path=Path(sys.executable).parent)


def loaded(folder: Path, *texts: tuple[str, str]):
    """Compile mechanisms in `folder` and return NEURON's `h` with them and one bare section."""
    for name, text in texts:
        (folder / name).write_text(text, encoding="utf-8")
    if texts:
        subprocess.run([compiler(), "."], cwd=folder, check=True, capture_output=True)
    neuron = importlib.import_module("neuron")
    if texts:
        assert neuron.load_mechanisms(str(folder)), "compiled mechanisms not found"
    return neuron.h


def fill(array, values) -> None:
    for k, value in enumerate(np.asarray(values, float).reshape(-1)):
        array[k] = value


class _Neuron(Peer):
    needs = ("neuron",)

    def missing(self) -> str | None:
        os.environ.setdefault("NEURON_MODULE_OPTIONS", "-nogui")
        absent = super().missing()
        return absent or (None if compiler() else "no nrnivmodl")

    def _start(self, job: Job, h, dt_ms: float) -> None:
        self.job, self.h, self.section = job, h, h.Section(name="patch")
        self.parallel = h.ParallelContext()
        self.parallel.set_maxstep(10)
        h.dt = self.dt_ms = dt_ms
        self.stop_ms = job.stops_s[1] / PER_MS

    def _solve(self, stop_ms: float) -> None:
        self.h.dt = self.dt_ms
        self.parallel.psolve(stop_ms)


class Step(_Neuron):
    name = "neuron_nmodl_step"
    what = "NMODL, one point process per channel, moved each 0.1 ms by P(dt), Random123"
    law = "exact at grid points"
    channels = 5000

    def prepare(self, job: Job, n: int, folder: Path) -> None:
        from scipy.linalg import expm

        text = (NATIVE / "step.mod").read_text(encoding="utf-8")
        h = loaded(folder, ("step.mod", text))
        self._start(job, h, job.step_s / PER_MS)
        size = len(job.states)
        h.states_ChannelStep, h.start_ChannelStep = size, job.start
        h.switch_ChannelStep = job.stops_s[0] / PER_MS
        moves = np.stack([expm(q * job.step_s) for q in job.generators])
        order = [[i, *(j for j in range(size) if j != i)] for i in range(size)]
        ranked = np.take_along_axis(moves, np.array(order)[None], axis=2)
        chains = np.cumsum(ranked, axis=2)
        chains[:, :, -1] = 2.0
        fill(h.chain_ChannelStep, chains)
        fill(h.conducts_ChannelStep, job.is_open)
        self.channels_made = [h.ChannelStep(self.section(0.5)) for _ in range(n)]
        self.opened = h.Vector().record(h._ref_opened_ChannelStep)

    def run(self, n: int, seed: int) -> Run:
        for k, channel in enumerate(self.channels_made):
            channel.bits.set_ids(seed, k, 1)
        self.h.opened_ChannelStep = n * float(self.job.is_open[self.job.start])
        self.h.finitialize()
        self._solve(self.stop_ms)
        return Run(np.round(self.opened.as_numpy()).astype(np.int64))


class Events(_Neuron):
    name = "neuron_nmodl_events"
    what = "NMODL, one point process per channel, moved by events it sends itself, Random123"
    channels = 10_000

    def prepare(self, job: Job, n: int, folder: Path) -> None:
        from benchmarks.peers.compiled import event_tables

        text = (NATIVE / "events.mod").read_text(encoding="utf-8")
        h = loaded(folder, ("events.mod", text))
        self._start(job, h, job.step_s / PER_MS)
        leave, limit, target = event_tables(job.generators)
        shares = np.concatenate([limit * 2.0**-32, np.full((*leave.shape, 1), 2.0)], axis=2)
        h.states_ChannelEvents, h.fan_ChannelEvents = len(job.states), target.shape[2]
        h.start_ChannelEvents = job.start
        h.switch_ChannelEvents, h.stop_ChannelEvents = (s / PER_MS for s in job.stops_s)
        h.width_ChannelEvents = job.step_s / PER_MS
        fill(h.leave_ChannelEvents, leave * PER_MS)
        fill(h.limit_ChannelEvents, shares)
        fill(h.target_ChannelEvents, target)
        fill(h.conducts_ChannelEvents, job.is_open)
        self.channels_made = [h.ChannelEvents(self.section(0.5)) for _ in range(n)]

    def run(self, n: int, seed: int) -> Run:
        job, size = self.job, self.job.steps + 2
        for k, channel in enumerate(self.channels_made):
            channel.bits.set_ids(seed, k, 1)
        fill(self.h.change_ChannelEvents, np.zeros(size))
        self.h.finitialize()
        self._solve(self.stop_ms + self.dt_ms)
        change = np.array([self.h.change_ChannelEvents[k] for k in range(job.steps + 1)])
        opened = np.round(np.cumsum(change)).astype(np.int64)
        return Run(opened + n * int(job.is_open[job.start]))


class KSChan(_Neuron):
    name = "neuron_kschan"
    what = "KSChan point processes with Nsingle = 1; the voltage stands in for GABA"
    channels = 1000

    def prepare(self, job: Job, n: int, folder: Path) -> None:
        h = loaded(folder)
        self._start(job, h, job.step_s / PER_MS)
        self.kind = ks = h.KSChan(1)
        ks.name("StochasticChannel")
        ks.iv_type(0)
        ks.gmax(0)
        ks.erev(0)
        states = [ks.add_ksstate(None, job.states[0])]
        states += [ks.add_ksstate(states[0].gate(0), name) for name in job.states[1:]]
        for state, is_open in zip(states, job.is_open, strict=True):
            state.frac(float(is_open))
        rates = {(i, j): (on * PER_MS, off * PER_MS) for i, j, on, off in job.edges()}
        for i, j in rates:
            if i < j:
                step = ks.add_transition(states[i], states[j])
                step.type(0)
                for way, pair in enumerate(((i, j), (j, i))):
                    self._set_rate(step, way, *rates.get(pair, (0.0, 0.0)))
        ks.single(1)
        self.channels_made = [h.StochasticChannel(self.section(0.5)) for _ in range(n)]
        for channel in self.channels_made:
            channel.Nsingle = 1
        open_names = [s for s, is_open in zip(job.states, job.is_open, strict=True) if is_open]
        refs = [getattr(c, f"_ref_{name}") for c in self.channels_made for name in open_names]
        self.records = [h.Vector().record(ref) for ref in refs]

    def _set_rate(self, step, way: int, on: float, off: float) -> None:
        if on == off:
            step.set_f(way, 1, self.h.Vector([on]))
        else:
            assert off == 0.0, "a rate that no ligand drives must be constant"
            step.set_f(way, 2, self.h.Vector([on, 1.0, 0.0]))

    def run(self, n: int, seed: int) -> Run:
        job = self.job
        self.kind.rseed(seed + 1)
        # the start law is the steady state without ligand: the resting state
        self.h.finitialize(NO_LIGAND_MV)
        self.section(0.5).v = 0.0
        self._solve(job.stops_s[0] / PER_MS)
        self.section(0.5).v = NO_LIGAND_MV
        self._solve(self.stop_ms)
        return Run(sum(record.as_numpy() for record in self.records).round().astype(np.int64))


class Kinetic(_Neuron):
    name = "neuron_kinetic"
    what = "NMODL KINETIC, the mean of any number of channels, METHOD sparse, dt 0.025 ms"
    law = "deterministic"
    channels = 1
    PARTS = 4  # time steps in one grid step

    def prepare(self, job: Job, n: int, folder: Path) -> None:
        h = loaded(folder, ("kinetic.mod", kinetic_text(job)))
        self._start(job, h, job.step_s / PER_MS / self.PARTS)
        self.patch = h.PatchKinetic(self.section(0.5))
        self.open_share = h.Vector().record(self.patch._ref_opened)

    def run(self, n: int, seed: int) -> Run:
        self.patch.ligand = 1.0
        self.h.finitialize()
        self._solve(self.job.stops_s[0] / PER_MS)
        self.patch.ligand = 0.0
        self._solve(self.stop_ms)
        return Run(n * np.array(self.open_share.as_numpy())[:: self.PARTS])


def kinetic_text(job: Job) -> str:
    """The scheme as a KINETIC block; `ligand` is 1 in the first window and 0 in the second."""
    rates = {(i, j): (on * PER_MS, off * PER_MS) for i, j, on, off in job.edges()}

    def rate(i: int, j: int) -> str:
        on, off = rates.get((i, j), (0.0, 0.0))
        return repr(on) if on == off else f"({off!r} + ligand * {on - off!r})"

    pairs = [(i, j) for i, j in rates if i < j or (j, i) not in rates]
    lines = [
        f"    ~ {job.states[i]} <-> {job.states[j]} ({rate(i, j)}, {rate(j, i)})" for i, j in pairs
    ]
    names = list(job.states)
    opened = [name for name, is_open in zip(names, job.is_open, strict=True) if is_open]
    start = [f"    {name} = {int(k == job.start)}" for k, name in enumerate(names)]
    return "\n".join(
        [
            "NEURON { POINT_PROCESS PatchKinetic RANGE ligand, opened }",
            "PARAMETER { ligand = 0 }",
            "ASSIGNED { opened }",
            f"STATE {{ {' '.join(names)} }}",
            *["INITIAL {", *start, "    opened = " + " + ".join(opened), "}"],
            "BREAKPOINT { SOLVE scheme METHOD sparse opened = " + " + ".join(opened) + " }",
            *["KINETIC scheme {", *lines, "    CONSERVE " + " + ".join(names) + " = 1", "}", ""],
        ]
    )
