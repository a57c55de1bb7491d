"""The naive JAX scan: what a first version in JAX looks like."""

from functools import partial
from pathlib import Path

import numpy as np
from benchmarks.job import Job
from benchmarks.peers.base import Peer, Run, propagator_chains


class NaiveScan(Peer):
    name = "jax_naive_scan"
    what = "lax.scan over the grid: threefry, a float32 uniform, a gathered row of P(dt)"
    law = "exact at grid points"
    channels = 1 << 14

    def prepare(self, job: Job, n: int, folder: Path) -> None:
        self.call = scan_call(job)

    def run(self, n: int, seed: int) -> Run:
        return Run(np.asarray(self.call(seed, n)))


def scan_call(job: Job):
    """A compiled function (seed, n) -> summed open count [step + 1], on JAX's default device."""
    import jax
    import jax.numpy as jnp

    chains = jnp.asarray(propagator_chains(job)[:, :, :-1], jnp.float32)
    is_open = jnp.asarray(job.is_open)

    @partial(jax.jit, static_argnums=1)
    def call(seed, n):
        def step(state, k):
            draw = jax.random.uniform(jax.random.fold_in(key, k), (n,), jnp.float32)
            row = chains[jnp.where(k >= job.first_steps, 1, 0)][state]
            state = (draw[:, None] >= row).sum(axis=1, dtype=jnp.int32)
            return state, is_open[state].sum()

        key = jax.random.key(seed)
        first = jnp.full(n, job.start, jnp.int32)
        _, opened = jax.lax.scan(step, first, jnp.arange(job.steps))
        return jnp.concatenate([is_open[first].sum()[None], opened])

    return call
