"""`Counts`: exact numbers of channels in each state, at a cost that does not grow with n."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from gabatone.kernels.drive.segments import compile_drive
from gabatone.kernels.engine.master import propagators
from gabatone.kernels.engine.protocol import Engine, Request
from gabatone.kernels.engine.trace import Trace
from gabatone.kernels.errors import BadInput

_MOST_CHANNELS = 2**53
_BLOCK = 64  # steps of one compiled call, the same for every save grid


class Counts(Engine):
    """Exact multinomial transitions between save times and breaks of the drive.

    Over a step with propagator P the channels of state i are dealt to states by
    Multinomial(N_i, P[i]), drawn as a chain of binomials; the law is that of n independent
    channels. Where a concentration changes inside a step, P comes from the fourth-order
    Magnus scheme of `Master`. Works in float64 throughout: binomials drawn in float32 lose
    their law above some 2**18 channels (variance off by 0.5 % at 2**20).
    """

    substeps: int = eqx.field(static=True, default=8)

    exact: ClassVar[bool] = True

    def run(self, key, request: Request) -> Trace:
        """Counts int [time, state] of ``request.n`` channels."""
        scheme, n = request.scheme, request.n
        if n > _MOST_CHANNELS:
            raise BadInput("n", n, "float64 cannot hold counts above 2**53", "use engine=Master()")
        segments = compile_drive(
            request.drive, scheme.ligand_names, request.t1_s, cuts_s=request.save_s
        )
        keep = np.searchsorted(segments.edge_s, request.save_s)
        with jax.enable_x64(True):
            steps = propagators(scheme, segments, self.substeps)
            path = deal(key, np.asarray(request.p0, np.float64), steps, n)
        return Trace(request.save_s, path[keep], scheme, n, "Counts", counts=True)


def deal(key, p0, steps, n: int) -> np.ndarray:
    """Counts int64 [step + 1, state]: n channels dealt by `p0`, then by each of `steps`."""
    n_states, length = len(p0), len(steps) + 1
    spare = np.tile(np.eye(n_states), (-length % _BLOCK, 1, 1))
    # the start is one more deal, from all channels in one state
    laws = np.concatenate([np.tile(p0, (1, n_states, 1)), np.asarray(steps), spare])
    now, path = n * np.eye(n_states)[0], []
    for first in range(0, length, _BLOCK):
        path.append(np.asarray(_deal_block(key, first, now, laws[first : first + _BLOCK])))
        now = path[-1][-1]
    return np.concatenate(path)[:length].astype(np.int64)


@jax.jit
def _deal_block(key, first, start, laws):
    def advance(number, item):
        k, law = item
        moved = multinomial(jax.random.fold_in(key, k), number, law).sum(axis=0)
        return moved, moved

    return jax.lax.scan(advance, start, (first + jnp.arange(_BLOCK), laws))[1]


def multinomial(key, number, law):
    """Independent rows of Multinomial(number [row], law [row, outcome]) by conditional binomials."""
    law = jnp.maximum(law, 0.0)
    tail = jnp.cumsum(law[:, ::-1], axis=1)[:, ::-1]
    share = jnp.where(tail > 0, law / jnp.where(tail > 0, tail, 1.0), 1.0)
    share = jnp.clip(share, 0.0, 1.0).at[:, -1].set(1.0)

    def draw(left, item):
        k, p = item
        taken = jax.random.binomial(jax.random.fold_in(key, k), left, p, dtype=left.dtype)
        taken = jnp.where(p >= 1.0, left, jnp.where(left > 0, taken, 0.0))
        return left - taken, taken

    _, taken = jax.lax.scan(draw, number, (jnp.arange(law.shape[1]), share.T))
    return taken.T
