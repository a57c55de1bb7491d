"""`Master`: exact mean and covariance from the master equation, differentiable."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from gabatone.kernels.drive.segments import compile_drive
from gabatone.kernels.engine.protocol import Engine, Request
from gabatone.kernels.engine.trace import Trace
from gabatone.kernels.receptor.spectral import magnus_step, propagator, squarings_for


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
        return Trace(time, p, request.scheme, request.n, "Master", counts=False, covariance=float(request.n) * spread)


def occupancy_path(scheme, drive, t1_s, save_s, p0, substeps: int):
    """``(time_s, p [time, state])`` at the save times; windows are cut at every save time."""
    segments = compile_drive(drive, scheme.ligand_names, t1_s, cuts_s=save_s)
    keep = np.searchsorted(segments.edge_s, save_s)
    path = _follow(jnp.asarray(p0, float), propagators(scheme, segments, substeps))
    return save_s, path[keep]


@jax.jit
def _follow(start, steps):
    def advance(p, step):
        p = p @ step
        return p, p

    return jnp.concatenate([start[None], jax.lax.scan(advance, start, steps)[1]])


def propagators(scheme, segments, substeps: int):
    """Propagator of every window [window, state, state], each distinct constant one computed once."""
    names, length = segments.ligands, np.round(segments.length_s, 15)
    traced = isinstance(segments.bound, jax.core.Tracer)
    most = None if traced else squarings_for(scheme, dict(zip(names, segments.bound.max(axis=0), strict=True)),
                                             length.max() / (substeps if segments.smooth else 1))
    if segments.smooth:
        return _smooth_steps(scheme, names, tuple(segments.decay_ligand.tolist()), substeps, most,
                             tuple(jnp.asarray(x) for x in (segments.level, segments.slope, segments.amplitude,
                                                            segments.length_s)), jnp.asarray(segments.tau_s))
    if isinstance(segments.level, jax.core.Tracer):
        return _constant_steps(scheme, names, most, segments.level, length)
    distinct, which = np.unique(np.column_stack([segments.level, length]), axis=0, return_inverse=True)
    return _constant_steps(scheme, names, most, distinct[:, :-1], distinct[:, -1])[which.reshape(-1)]


@eqx.filter_jit
def _constant_steps(scheme, ligands, most, level, length):
    return jax.lax.map(lambda a: propagator(_generator(scheme, ligands, a[0]), a[1], most=most),
                       (jnp.asarray(level, float), jnp.asarray(length, float)))


@eqx.filter_jit
def _smooth_steps(scheme, ligands, owners, substeps: int, most, windows, tau_s):
    """Windows whose concentrations change, by the fourth-order scheme of `magnus_step`."""

    def window(level, slope, amplitude, length):
        def generator(t):
            curve = level + slope * t
            for k, owner in enumerate(owners):
                curve = curve.at[owner].add(amplitude[k] * jnp.exp(-t / tau_s[k]))
            return _generator(scheme, ligands, curve)

        h = length / substeps

        def part(total, k):
            return total @ magnus_step(generator, k * h, h, most=most), None

        return jax.lax.scan(part, jnp.eye(scheme.n_states), jnp.arange(substeps))[0]

    return jax.lax.map(lambda a: window(*a), windows)


def _generator(scheme, ligands, conc):
    return scheme.generator({name: conc[k] for k, name in enumerate(ligands)})
