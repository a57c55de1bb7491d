"""`Master`: exact mean and covariance from the master equation, differentiable."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from gabatone.kernels.drive.segments import compile_drive
from gabatone.kernels.engine.protocol import Engine, Request
from gabatone.kernels.engine.trace import Trace
from gabatone.kernels.receptor.spectral import magnus_step, propagator



class Master(Engine):
    """Mean occupancy by ``dp/dt = p Q(t)`` and, for independent channels, its covariance.

    Constant windows use ``expm``; where a concentration changes inside a window the step is
    the commutator-free fourth-order Magnus scheme (Blanes & Moan 2006) on `substeps` parts.
    Gradients flow to rates and concentrations.
    """

    substeps: int = eqx.field(static=True, default=8)

    exact: ClassVar[bool] = True

    def run(self, key, request: Request) -> Trace:
        """Probabilities [time, state] and the covariance of n channels' counts; `key` is not used."""
        time, p = occupancy_path(request.scheme, request.drive, request.t1_s, request.save_s, request.p0,
                                 self.substeps)
        spread = jax.vmap(jnp.diag)(p) - p[:, :, None] * p[:, None, :]
        return Trace(time, p, request.scheme, request.n, "Master", counts=False, covariance=request.n * spread)


def occupancy_path(scheme, drive, t1_s, save_s, p0, substeps: int):
    """``(time_s, p [time, state])`` at the save times; windows are cut at every save time."""
    segments = compile_drive(drive, scheme.ligand_names, t1_s, cuts_s=save_s)
    keep = np.searchsorted(segments.edge_s, save_s)
    if segments.smooth:
        steps = smooth_steps(scheme, segments, substeps)
    else:
        steps = constant_steps(scheme, segments)

    def advance(p, step):
        p = p @ step
        return p, p

    start = jnp.asarray(p0, float)
    path = jax.lax.scan(advance, start, steps)[1]
    return save_s, jnp.concatenate([start[None], path])[keep]


def constant_steps(scheme, segments):
    """Propagator of every window [window, state, state], each distinct one computed once."""
    length = np.round(segments.length_s, 15)
    if isinstance(segments.level, jax.core.Tracer):
        return jax.vmap(lambda c, dt: propagator(_generator(scheme, segments.ligands, c), dt))(segments.level, length)
    distinct, which = np.unique(np.column_stack([segments.level, length]), axis=0, return_inverse=True)
    each = jax.lax.map(lambda row: propagator(_generator(scheme, segments.ligands, row[:-1]), row[-1]),
                       jnp.asarray(distinct))
    return each[which.reshape(-1)]


def smooth_steps(scheme, segments, substeps: int):
    """Propagators of windows whose concentrations change, by fourth-order commutator-free Magnus."""
    names = segments.ligands

    def window(level, slope, amplitude, length):
        def conc(t):
            curve = level + slope * t
            for k, owner in enumerate(segments.decay_ligand):
                curve = curve.at[owner].add(amplitude[k] * jnp.exp(-t / segments.tau_s[k]))
            return curve

        h = length / substeps

        def sub(total, k):
            return total @ magnus_step(lambda t: _generator(scheme, names, conc(t)), k * h, h), None

        return jax.lax.scan(sub, jnp.eye(scheme.n_states), jnp.arange(substeps))[0]

    return jax.lax.map(lambda a: window(*a), (jnp.asarray(segments.level), jnp.asarray(segments.slope),
                                              jnp.asarray(segments.amplitude), jnp.asarray(segments.length_s)))


def _generator(scheme, ligands, conc):
    return scheme.generator({name: conc[k] for k, name in enumerate(ligands)})
