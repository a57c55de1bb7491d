"""`Master`: exact mean and covariance from the master equation, differentiable."""

from functools import partial
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from gabatone.kernels.drive.segments import compile_drive
from gabatone.kernels.engine.protocol import Engine, Request
from gabatone.kernels.engine.trace import Trace
from gabatone.kernels.errors import Failure
from gabatone.kernels.receptor.spectral import magnus_step, propagator, squarings_for

_TOLERANCE = (
    1e-8  # how far a transition probability may still move when the parts of a window are halved
)
_MOST_PARTS = 1 << 18


class Master(Engine):
    """Mean occupancy by ``dp/dt = p Q(t)`` and, for independent channels, its covariance.

    Constant windows use ``expm``; where a concentration changes inside a window the step is
    the commutator-free fourth-order Magnus scheme (Blanes & Moan 2006) on `substeps` parts or
    as many more as it takes to converge. Gradients flow to rates and concentrations; values
    that are being differentiated get `substeps` parts as they are.
    """

    substeps: int = eqx.field(static=True, default=8)

    exact: ClassVar[bool] = True

    def run(self, key, request: Request) -> Trace:
        """Probabilities [time, state] and the covariance of n channels' counts; `key` is not used."""
        time, p = occupancy_path(
            request.scheme, request.drive, request.t1_s, request.save_s, request.p0, self.substeps
        )
        spread = jax.vmap(jnp.diag)(p) - p[:, :, None] * p[:, None, :]
        return Trace(
            time,
            p,
            request.scheme,
            request.n,
            "Master",
            counts=False,
            covariance=float(request.n) * spread,
        )


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
    """Propagator of every window [window, state, state], each distinct constant one computed once.

    Raises `Failure` where a concentration changes so much in a window that no number of
    parts converges.
    """
    names, length = segments.ligands, np.round(segments.length_s, 15)
    traced = isinstance(segments.bound, jax.core.Tracer)
    coarse = max(substeps // 2, 1) if segments.smooth else 1
    top = {} if traced else dict(zip(names, segments.bound.max(axis=0), strict=True))
    most = None if traced else squarings_for(scheme, top, length.max() / coarse)
    if segments.smooth:
        curves = (segments.level, segments.slope, segments.amplitude, segments.length_s)
        each = partial(
            _smooth_steps,
            scheme,
            names,
            tuple(segments.decay_ligand.tolist()),
            most,
            tuple(jnp.asarray(x) for x in curves),
            jnp.asarray(segments.tau_s),
        )
        return each(substeps) if most is None else _converged_steps(each, segments.edge_s, coarse)
    if isinstance(segments.level, jax.core.Tracer):
        return _exponentials(_generators(scheme, names, segments.level), jnp.asarray(length), most)
    rows = np.column_stack([segments.level, length])
    distinct, which = np.unique(rows, axis=0, return_inverse=True)
    # padded to few sizes, so that another drive or save grid seldom compiles anew
    spare = max(16, 1 << int(np.ceil(np.log2(len(distinct))))) - len(distinct)
    rows = jnp.asarray(np.pad(distinct, ((0, spare), (0, 0)), mode="edge"))
    each = _exponentials(_generators(scheme, names, rows[:, :-1]), rows[:, -1], most)
    return each[which.reshape(-1)]


def _converged_steps(each, edge_s: np.ndarray, coarse: int):
    """Propagators from ever more parts of those windows whose entries still move."""
    parts = np.full(len(edge_s) - 1, coarse, np.int32)
    steps = np.asarray(each(jnp.asarray(parts)))
    allowed = max(_TOLERANCE, 64 * np.finfo(steps.dtype).eps)
    moving = np.ones(len(parts), bool)
    while moving.any():
        if parts.max() >= _MOST_PARTS:
            k = int(np.argmax(moving))
            raise Failure(
                "steep_drive",
                f"the drive between {edge_s[k]:g} s and {edge_s[k + 1]:g} s is not resolved by "
                f"{parts.max()} steps; save or sample it at shorter intervals",
            )
        parts = np.where(moving, 2 * parts, 0).astype(np.int32)
        finer = np.where(moving[:, None, None], np.asarray(each(jnp.asarray(parts))), steps)
        moving = np.abs(finer - steps).max(axis=(1, 2)) > allowed
        steps = finer
    return jnp.asarray(steps)


@eqx.filter_jit
def _generators(scheme, ligands, level):
    return jax.vmap(lambda conc: _generator(scheme, ligands, conc))(level)


@partial(jax.jit, static_argnames="most")
def _exponentials(generators, length, most):
    return jax.lax.map(lambda at: propagator(*at, most=most), (generators, length))


@eqx.filter_jit
def _smooth_steps(scheme, ligands, owners, most, windows, tau_s, parts):
    """Windows whose concentrations change, by the fourth-order scheme of `magnus_step`.

    `parts` is one plain number, or one for each window (0 skips it).
    """

    def window(level, slope, amplitude, length, number):
        def generator(t):
            curve = level + slope * t
            for k, owner in enumerate(owners):
                curve = curve.at[owner].add(amplitude[k] * jnp.exp(-t / tau_s[k]))
            return _generator(scheme, ligands, curve)

        h = length / jnp.maximum(number, 1)

        def part(k, total):
            return total @ magnus_step(generator, k * h, h, most=most)

        return jax.lax.fori_loop(0, number, part, jnp.eye(scheme.n_states))

    if isinstance(parts, int):
        return jax.lax.map(lambda a: window(*a, parts), windows)
    return jax.lax.map(lambda a: window(*a), (*windows, parts))


def _generator(scheme, ligands, conc):
    return scheme.generator({name: conc[k] for k, name in enumerate(ligands)})
