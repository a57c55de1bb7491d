"""A population whose channels follow different schemes: the quasi-static reading of a steroid."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gabatone.kernels.errors import BadInput
from gabatone.kernels.receptor.scheme import KineticScheme

_BLOCK = 1 << 20


class Mixture(eqx.Module):
    """Schemes with fixed steroid occupancy, and the probability that a channel follows each.

    Parameters
    ----------
    weights : float [scheme]
        Sum to 1; entry m is the chance of m bound steroids.
    schemes : tuple of KineticScheme
        All with the same states.
    """

    weights: Float[Array, " scheme"]
    schemes: tuple[KineticScheme, ...]

    def mean(self, values) -> Float[Array, " *shape"]:
        """Population mean of `values` [scheme, ...], one entry for each scheme."""
        return jnp.tensordot(self.weights, jnp.asarray(values, float), axes=1)

    def steady_state(self, conc_M: dict) -> Float[Array, " state"]:
        """Stationary occupancy of the population, each channel within its own scheme."""
        return self.mean(jnp.stack([s.steady_state(conc_M) for s in self.schemes]))

    def draw(self, key, n: int) -> np.ndarray:
        """How many of `n` channels follow each scheme: integers that sum to n.

        One 32-bit threshold decision for each channel, keyed by blocks of channels, so that
        the first channels of a larger population are drawn alike. Raises `BadInput` for n < 1.
        """
        if n < 1:
            raise BadInput("n", n, "no channel to draw for", "give 1 or more")
        law = np.asarray(self.weights, np.float64)
        edge = np.minimum(np.round(np.cumsum(law)[:-1] * 2.0**32), 2.0**32 - 1)
        counts = np.zeros(len(law), np.int64)
        for block in range(-(-n // _BLOCK)):
            bits = jax.random.bits(jax.random.fold_in(key, block), (_BLOCK,), np.uint32)
            kept = np.asarray(bits)[: min(n - block * _BLOCK, _BLOCK)]
            which = np.searchsorted(edge.astype(np.uint32), kept, side="right")
            counts += np.bincount(which, minlength=len(law))
        return counts
