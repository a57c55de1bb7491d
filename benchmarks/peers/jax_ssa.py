"""JAX packages for the stochastic simulation algorithm: stochastix and crn-jax.

Both follow counts in each state, every transition simulated, and gain from `vmap`: n channels are
`REPLICATES` populations side by side.
"""

from functools import partial
from pathlib import Path

import numpy as np
from benchmarks.job import Job
from benchmarks.peers.base import Peer, Run, start_counts

REPLICATES = 256


def populations(n: int) -> tuple[int, int]:
    """``(populations, channels in each)``; `n` must be a multiple of the first."""
    width = min(n, REPLICATES)
    if n % width:
        raise ValueError(f"{n} channels are not a multiple of {width} populations")
    return width, n // width


class Stochastix(Peer):
    name = "stochastix"
    what = "stochsimsolve with the direct method under vmap, one call for each window"
    channels = 1 << 16
    needs = ("stochastix",)

    def prepare(self, job: Job, n: int, folder: Path) -> None:
        import equinox as eqx
        import stochastix as st

        self.job = job
        self.width, each = populations(n)
        spans = np.diff([0.0, *job.stops_s])
        steps = [job.first_steps, job.steps - job.first_steps]
        # enough steps for the busiest of the populations
        most = [each * mean + 8 * np.sqrt(each * mean) + 64 for mean in job.events_per_window()]
        self.calls = []
        for window in range(2):
            network = _network(st, job, window)
            grid = np.arange(steps[window] + 1) * job.step_s
            solve = partial(_solved, st, network, float(spans[window]), int(most[window]), grid)
            self.calls.append(eqx.filter_jit(eqx.filter_vmap(solve)))
        self.species = network.species
        self.first = np.array([start_counts(job, each)[name] for name in self.species], float)

    def run(self, n: int, seed: int) -> Run:
        import jax

        job = self.job
        is_open = np.array([job.is_open[job.states.index(name)] for name in self.species])
        counts, opened = np.tile(self.first, (self.width, 1)), []
        for window, call in enumerate(self.calls):
            keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), window), self.width)
            table, counts, short = call(keys, counts)
            if np.any(short):
                raise RuntimeError("stochastix ran out of steps")
            total = np.asarray(table).sum(axis=0)[:, is_open].sum(axis=1)
            opened.append(total[min(window, 1) :])
        return Run(np.round(np.concatenate(opened)).astype(np.int64))


def _network(st, job: Job, window: int):
    edges = [(job.states[i], job.states[j], rates[window]) for i, j, *rates in job.edges()]
    return st.ReactionNetwork(
        [st.Reaction(f"{i} -> {j}", st.kinetics.MassAction(rate)) for i, j, rate in edges]
    )


def _solved(st, network, span_s: float, most: int, grid, key, counts):
    """Counts on the grid, counts at the end, and whether the steps did not suffice."""
    done = st.stochsimsolve(
        key,
        network,
        counts,
        T=span_s,
        max_steps=most,
        solver=st.DirectMethod(),
        save_propensities=False,
    )
    # its own overflow flag also fires where the sum of waits is a rounding short of the end
    return done.interpolate(grid).x, done.x[-1], done.reactions[-1] >= 0


class CrnJax(Peer):
    name = "crn_jax"
    what = "simulate_trajectory under vmap, GABA as its input"
    channels = 1 << 16
    needs = ("crn_jax",)

    def prepare(self, job: Job, n: int, folder: Path) -> None:
        import jax

        self.job = job
        self.width, each = populations(n)
        self.call = jax.jit(jax.vmap(_trajectory(job, each)))

    def run(self, n: int, seed: int) -> Run:
        import jax

        job = self.job
        keys = jax.random.split(jax.random.key(seed), self.width)
        opened = np.asarray(self.call(keys)).sum(axis=0)
        first = n * int(job.is_open[job.start])
        return Run(np.concatenate([[first], opened]).round().astype(np.int64))


def _trajectory(job: Job, each: int):
    """A function key -> open count at the end of each step, of one population."""
    import jax.numpy as jnp
    from crn_jax.gillespie import simulate_trajectory
    from crn_jax.types import State

    source, target, on, off = (np.array(column) for column in zip(*job.edges(), strict=True))
    change = np.zeros((len(source), len(job.states)))
    change[np.arange(len(source)), source] -= 1
    change[np.arange(len(source)), target] += 1
    rates, change = jnp.stack([jnp.asarray(off), jnp.asarray(on)]), jnp.asarray(change)
    counts = jnp.asarray(list(start_counts(job, each).values()), change.dtype)
    inputs = (np.arange(job.steps) < job.first_steps).astype(np.int32)
    is_open = jnp.asarray(job.is_open)

    def call(key):
        zero = jnp.zeros((), change.dtype)
        states = simulate_trajectory(
            key,
            State(zero, counts, zero + jnp.inf),
            timestep=job.step_s,
            n_steps=job.steps,
            compute_propensities_fn=lambda state, u: rates[u] * state.x[source],
            apply_reaction_fn=lambda state, r: state._replace(x=state.x + change[r]),
            inputs=inputs,
            max_steps=1 << 20,
        )
        return (states.x * is_open).sum(axis=1)

    return call
