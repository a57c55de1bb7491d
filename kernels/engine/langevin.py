"""`Langevin`: the diffusion approximation of a population of channels, for comparison."""

from functools import partial
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from gabatone.kernels.bounds import require
from gabatone.kernels.engine.master import propagators
from gabatone.kernels.engine.protocol import Engine, Request
from gabatone.kernels.engine.stepping import block_of, block_size, cut_steps, halved
from gabatone.kernels.engine.trace import Trace
from gabatone.kernels.errors import BadInput

_BLOCK = 256  # steps of one compiled call
_MOST_TURN = 0.5  # fastest relaxation rate x step; its variance then comes out 4 % too small


class Langevin(Engine):
    """Approximate: occupancies as diffusions with one noise for each pair of joined states.

    Orio & Soudry 2012 (PLoS One 7:e36670): ``dX = X Q dt + sum over pairs sqrt(|q_ij X_i +
    q_ji X_j| / n) (e_j - e_i) dW``, with X the fractions of n channels. Fractions are not held
    within 0 to 1: the absolute value keeps the root real, as in the code that the authors
    gave with Pezo, Soudry & Orio 2014 (Front Comput Neurosci 8:139). `Trace.occupancy` are
    fractions and can be negative; their sum is 1. How far the law is from that of channels
    stands in docs/langevin.md; below some 1000 channels use an exact engine.

    A step is half the exact propagator, the noise of the whole step, and the other half. The
    mean is exact for any step. The covariance errs by the square of `dt_s`, by the factor
    ``x / sinh(x)``, x = rate x dt_s, in a mode of equilibrium; and more where a fraction is
    often negative, whatever the step.

    Parameters
    ----------
    dt_s : float
        Length of a step, s. Steps are cut at save times and breaks of the drive.
    substeps : int
        Parts of half a step to begin with where a concentration changes inside it.

    Raises
    ------
    BadInput
        For a step too long for the fastest relaxation of the scheme, with the longest that
        passes.
    """

    dt_s: float = eqx.field(static=True, converter=float)
    substeps: int = eqx.field(static=True, default=8)

    exact: ClassVar[bool] = False

    def __check_init__(self):
        require("Langevin.dt_s", self.dt_s, above=0.0)
        require("Langevin.substeps", self.substeps, least=1)

    def run(self, key, request: Request) -> Trace:
        """Fractions float64 [time, state] of one population of ``request.n`` channels."""
        path = langevin_paths(self, key[None], request)[0]
        return Trace(request.save_s, path, request.scheme, request.n, "Langevin", counts=False)


class Pairs(NamedTuple):
    """Joined states, and which transitions lead from the first to the second and back."""

    first: np.ndarray  # [pair]
    second: np.ndarray  # [pair]
    forward: np.ndarray  # [edge, pair] 1 where the edge leads from first to second
    back: np.ndarray  # [edge, pair]


def langevin_paths(engine: Langevin, keys, request: Request) -> np.ndarray:
    """Fractions float64 [replicate, time, state] of independent populations, one for each key."""
    segments = cut_steps("Langevin", request, engine.dt_s)
    _check_step(engine, request.scheme, segments)
    keep = np.searchsorted(segments.edge_s, request.save_s)
    size = block_size(int(keep[-1]), _BLOCK)
    pairs = pairs_of(request.scheme)
    out = np.zeros((len(keys), len(keep), request.scheme.n_states))
    with jax.enable_x64(True):
        start = jnp.asarray(np.asarray(request.p0, np.float64))
        scale = jnp.float64(request.n) ** -0.5
        now = _start(keys, start, scale)
        out[:, keep == 0] = np.asarray(now)[:, None]
        for first in range(0, int(keep[-1]), size):
            block = block_of(segments, first, size)
            laws = propagators(request.scheme, halved(block), engine.substeps)
            noise = _noise_rates(request, block, pairs)
            here = (keep > first) & (keep <= first + size)
            now, path = _follow(keys, now, scale, first, laws, noise, pairs[:2])
            out[:, here] = np.asarray(path)[:, keep[here] - first - 1]
    return out


def pairs_of(scheme) -> Pairs:
    """The unordered pairs of states that some transition joins."""
    ends = np.array([scheme.source, scheme.target]).T
    pairs, which = np.unique(np.sort(ends, axis=1), axis=0, return_inverse=True)
    mine = which.reshape(-1)[:, None] == np.arange(len(pairs))
    up = (ends[:, 0] < ends[:, 1])[:, None]
    return Pairs(pairs[:, 0], pairs[:, 1], (mine & up).astype(float), (mine & ~up).astype(float))


def _noise_rates(request: Request, block, pairs: Pairs):
    """Mean number of jumps per channel of a state in each step: forward and back, [step, pair]."""
    middle = (block.edge_s[:-1] + block.edge_s[1:]) / 2
    rate = np.exp(np.asarray(request.scheme.log_rate, np.float64))
    factor = np.ones((len(middle), len(rate)))
    for k, ligand in enumerate(request.scheme.ligands):
        if ligand:
            factor[:, k] = request.drive.value(middle, ligand)
    jumps = block.length_s[:, None] * rate * factor
    return jnp.asarray(jumps @ pairs.forward), jnp.asarray(jumps @ pairs.back)


@jax.jit
def _start(keys, p0, scale):
    """Fractions with the mean and covariance of n channels dealt by `p0`."""

    def one(key):
        spread = jnp.sqrt(p0) * _normal(key, 0, p0.shape)
        return p0 + (spread - p0 * spread.sum()) * scale

    return jax.vmap(one)(keys)


@jax.jit
def _follow(keys, start, scale, first_step, laws, noise, ends):
    """Populations through a block of steps: the end, and [replicate, step, state]."""
    halves = laws.reshape(-1, 2, *laws.shape[1:])
    each = (jnp.arange(len(halves)), halves, *noise)

    def one(key, x):
        return jax.lax.scan(partial(_advance, key, scale, first_step, ends), x, each)

    return jax.vmap(one)(keys, start)


def _advance(key, scale, first_step, ends, x, item):
    k, halves, forward, back = item
    first, second = ends
    x = x @ halves[0]
    spread = jnp.sqrt(jnp.abs(forward * x[first] + back * x[second])) * scale
    moved = spread * _normal(key, first_step + k + 1, spread.shape)
    x = x.at[first].add(-moved).at[second].add(moved) @ halves[1]
    return x, x


def _normal(key, step, shape):
    # drawn in float32, so that the stream is the same with and without float64
    return jax.random.normal(jax.random.fold_in(key, step), shape, jnp.float32).astype(float)


def _check_step(engine: Langevin, scheme, segments) -> None:
    top = dict(zip(segments.ligands, np.asarray(segments.bound).max(axis=0), strict=True))
    generator = np.asarray(scheme.generator(top), np.float64)
    fastest = float(np.abs(np.linalg.eigvals(generator)).max())
    if fastest * engine.dt_s > _MOST_TURN:
        raise BadInput(
            "Langevin.dt_s",
            engine.dt_s,
            f"the fastest relaxation of {scheme.name} under this drive has a rate of "
            f"{fastest:.4g}/s, and its noise is not resolved",
            f"take {_floor(_MOST_TURN / fastest):.3g} s or less",
        )


def _floor(value: float) -> float:
    """Rounded down to three digits, so that the printed value passes."""
    digit = 10.0 ** (np.floor(np.log10(value)) - 2)
    return float(np.floor(value / digit) * digit)
