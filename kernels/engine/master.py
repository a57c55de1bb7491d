"""`Master`: exact mean and covariance from the master equation, differentiable."""

from functools import partial
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from gabatone.kernels.bounds import require
from gabatone.kernels.drive.segments import compile_drive
from gabatone.kernels.engine.protocol import Engine, Request
from gabatone.kernels.engine.stepping import block_of
from gabatone.kernels.engine.trace import Trace
from gabatone.kernels.errors import BadInput, Failure
from gabatone.kernels.receptor.spectral import magnus_step, propagator, squarings_for

_TOLERANCE = (
    1e-8  # how far a transition probability may still move when the parts of a window are halved
)
_MOST_PARTS = 1 << 18
_FIRST_PARTS = 4
_TRACED_TOLERANCE = 1e-5
_BLOCK = 4096  # windows whose propagators are held at a time
_MOST_COVARIANCE_BYTES = 1 << 30


class Master(Engine):
    """Mean occupancy by ``dp/dt = p Q(t)`` and, for independent channels, its covariance.

    Constant windows use ``expm``; where a concentration changes inside a window the step is
    the commutator-free fourth-order Magnus scheme (Blanes & Moan 2006) on as many parts as it
    takes to converge. Gradients flow to rates, concentrations and steroid parameters. Values
    that are being traced (differentiated or compiled) cannot be looked at, so their windows get
    `substeps` parts as they are, and NaN where those miss the drive by more than 1e-5.

    Parameters
    ----------
    substeps : int
        Parts of a window in which a traced concentration changes.
    covariance : bool
        Whether the trace carries the covariance [time, state, state].

    Raises
    ------
    BadInput
        Where that covariance would take more than 1 GiB.
    """

    substeps: int = eqx.field(static=True, default=32)
    covariance: bool = eqx.field(static=True, default=True)

    exact: ClassVar[bool] = True

    def __check_init__(self):
        require("Master.substeps", self.substeps, least=1)

    def run(self, key, request: Request) -> Trace:
        """Probabilities [time, state] and the covariance of n channels' counts; `key` is not used."""
        if self.covariance:
            _check_size(len(request.save_s), request.scheme.n_states)
        time, p = occupancy_path(
            request.scheme, request.drive, request.t1_s, request.save_s, request.p0, self.substeps
        )
        covariance = None
        if self.covariance:
            spread = jax.vmap(jnp.diag)(p) - p[:, :, None] * p[:, None, :]
            covariance = float(request.n) * spread
        return Trace(
            time, p, request.scheme, request.n, "Master", counts=False, covariance=covariance
        )


def _check_size(times: int, n_states: int) -> None:
    each = n_states**2 * jnp.zeros(0).dtype.itemsize
    if times * each > _MOST_COVARIANCE_BYTES:
        raise BadInput(
            "save_s",
            times,
            f"the covariance of {n_states} states at that many times takes "
            f"{times * each / 2**30:.3g} GiB",
            "use Master(covariance=False), or save at "
            f"{_MOST_COVARIANCE_BYTES // each} times or fewer",
        )


def occupancy_path(scheme, drive, t1_s, save_s, p0, substeps: int):
    """``(time_s, p [time, state])`` at the save times; windows are cut at every save time."""
    segments = compile_drive(drive, scheme.ligand_names, t1_s, cuts_s=save_s)
    keep = np.searchsorted(segments.edge_s, save_s)
    windows, now = len(segments.edge_s) - 1, jnp.asarray(p0, float)
    if windows <= _BLOCK or isinstance(segments.bound, jax.core.Tracer):
        return save_s, _follow(now, propagators(scheme, segments, substeps))[keep]
    pieces = []
    for first in range(0, windows, _BLOCK):
        path = _follow(now, propagators(scheme, block_of(segments, first, _BLOCK), substeps))
        here = (keep >= first) & (keep < first + _BLOCK)
        pieces.append(path[keep[here] - first])
        now = path[-1]
    # the last block ends on t1, also where it is filled up with windows of no length
    pieces.append(now[None][: int(keep[-1] == len(pieces) * _BLOCK)])
    return save_s, jnp.concatenate(pieces)


@jax.jit
def _follow(start, steps):
    def advance(p, step):
        p = p @ step
        return p, p

    return jnp.concatenate([start[None], jax.lax.scan(advance, start, steps)[1]])


def propagators(scheme, segments, substeps: int, tilt=None):
    """Propagator of every window [window, state, state], each distinct constant one computed once.

    `tilt`, a pair ``(slope [edge], amount [window])``, adds their product to the log rates of a
    window. Raises `Failure` where a concentration changes so much in a window that no number
    of parts converges.
    """
    names, length = segments.ligands, np.round(segments.length_s, 15)
    traced = isinstance(segments.bound, jax.core.Tracer)
    coarse = max(min(substeps // 2, _FIRST_PARTS), 1) if segments.smooth else 1
    top = {} if traced else dict(zip(names, segments.bound.max(axis=0), strict=True))
    slope, amount = (np.zeros(len(scheme.source)), np.zeros(len(length))) if tilt is None else tilt
    fastest = _tilted(scheme, np.maximum(slope * amount.max(), slope * amount.min()))
    most = None if traced else squarings_for(fastest, top, length.max() / coarse)
    if segments.smooth:
        curves = (segments.level, segments.slope, segments.amplitude, segments.length_s, amount)
        each = partial(
            _smooth_steps,
            scheme,
            slope,
            names,
            tuple(segments.decay_ligand.tolist()),
            most,
            tuple(jnp.asarray(x) for x in curves),
            jnp.asarray(segments.tau_s),
        )
        if most is None:
            return _resolved_or_nan(each, substeps)
        return _converged_steps(each, segments.edge_s, coarse)
    if isinstance(segments.level, jax.core.Tracer):
        generators = _generators(scheme, slope, names, segments.level, amount)
        return _exponentials(generators, jnp.asarray(length), most)
    rows = np.column_stack([segments.level, amount, length])
    distinct, which = np.unique(rows, axis=0, return_inverse=True)
    # padded to few sizes, so that another drive or save grid seldom compiles anew
    spare = max(16, 1 << int(np.ceil(np.log2(len(distinct))))) - len(distinct)
    rows = jnp.asarray(np.pad(distinct, ((0, spare), (0, 0)), mode="edge"))
    generators = _generators(scheme, slope, names, rows[:, :-2], rows[:, -2])
    each = _exponentials(generators, rows[:, -1], most)
    return each[which.reshape(-1)]


def _resolved_or_nan(each, substeps: int):
    """Propagators of `substeps` parts; NaN in windows that half as many show to be unresolved."""
    steps = each(substeps)
    moved = jax.lax.stop_gradient(each(max(substeps // 2, 1)) - steps)
    # halving the parts of a fourth-order scheme multiplies its error by 16
    error = jnp.abs(moved).max(axis=(1, 2), keepdims=True) / 15.0
    allowed = max(_TRACED_TOLERANCE, 64 * float(jnp.finfo(steps.dtype).eps))
    return jnp.where(error <= allowed, steps, jnp.nan)


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
def _generators(scheme, slope, ligands, level, amount):
    return jax.vmap(lambda conc, a: _generator(_tilted(scheme, slope * a), ligands, conc))(
        level, amount
    )


@partial(jax.jit, static_argnames="most")
def _exponentials(generators, length, most):
    return jax.lax.map(lambda at: propagator(*at, most=most), (generators, length))


@eqx.filter_jit
def _smooth_steps(scheme, slope, ligands, owners, most, windows, tau_s, parts):
    """Windows whose concentrations change, by the fourth-order scheme of `magnus_step`.

    `parts` is one plain number, or one for each window (0 skips it).
    """

    def window(level, ramp, amplitude, length, amount, number):
        tilted = _tilted(scheme, slope * amount)

        def generator(t):
            curve = level + ramp * t
            for k, owner in enumerate(owners):
                curve = curve.at[owner].add(amplitude[k] * jnp.exp(-t / tau_s[k]))
            return _generator(tilted, ligands, curve)

        h = length / jnp.maximum(number, 1)

        def part(k, total):
            return total @ magnus_step(generator, k * h, h, most=most)

        return jax.lax.fori_loop(0, number, part, jnp.eye(scheme.n_states))

    if isinstance(parts, int):
        # a gradient keeps the inputs of each window, not the powers inside it
        return jax.lax.map(jax.checkpoint(lambda a: window(*a, parts)), windows)
    return jax.lax.map(lambda a: window(*a), (*windows, parts))


def _tilted(scheme, shift):
    return eqx.tree_at(lambda s: s.log_rate, scheme, scheme.log_rate + shift)


def _generator(scheme, ligands, conc):
    return scheme.generator({name: conc[k] for k, name in enumerate(ligands)})
