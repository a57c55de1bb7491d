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
    return save_s, _walk(jnp.asarray(p0, float), steps)[keep]


@jax.jit
def _walk(p0, steps):
    def advance(p, step):
        p = p @ step
        return p, p

    return jnp.concatenate([p0[None], jax.lax.scan(advance, p0, steps)[1]])


def constant_steps(scheme, segments):
    """Propagator of every window [window, state, state], each distinct one computed once."""
    length = np.round(segments.length_s, 15)
    if isinstance(segments.level, jax.core.Tracer):
        return _constant(scheme, segments.ligands, segments.level, jnp.asarray(length))
    distinct, which = np.unique(np.column_stack([segments.level, length]), axis=0, return_inverse=True)
    # padded to few sizes, so that another save grid or drive seldom compiles anew
    spare = max(16, 1 << int(np.ceil(np.log2(len(distinct))))) - len(distinct)
    padded = jnp.asarray(np.pad(distinct, ((0, spare), (0, 0)), mode="edge"))
    return _constant(scheme, segments.ligands, padded[:, :-1], padded[:, -1])[which.reshape(-1)]


@eqx.filter_jit
def _constant(scheme, ligands, level, length):
    return jax.lax.map(lambda at: propagator(_generator(scheme, ligands, at[0]), at[1]), (level, length))


def smooth_steps(scheme, segments, substeps: int):
    """Propagators of windows whose concentrations change, by fourth-order commutator-free Magnus."""
    curves = (segments.level, segments.slope, segments.amplitude, segments.length_s)
    owners = tuple(int(k) for k in segments.decay_ligand)
    return _smooth(scheme, segments.ligands, owners, jnp.asarray(segments.tau_s), substeps,
                   tuple(jnp.asarray(c) for c in curves))


@eqx.filter_jit
def _smooth(scheme, ligands, owners: tuple, tau_s, substeps: int, curves):
    def window(at):
        level, slope, amplitude, length = at
        h = length / substeps

        def generator_at(t):
            conc = level + slope * t
            for k, owner in enumerate(owners):
                conc = conc.at[owner].add(amplitude[k] * jnp.exp(-t / tau_s[k]))
            return _generator(scheme, ligands, conc)

        def sub(total, k):
            return total @ magnus_step(generator_at, k * h, h), None

        return jax.lax.scan(sub, jnp.eye(scheme.n_states), jnp.arange(substeps))[0]

    return jax.lax.map(window, curves)


def _generator(scheme, ligands, conc):
    return scheme.generator({name: conc[k] for k, name in enumerate(ligands)})
