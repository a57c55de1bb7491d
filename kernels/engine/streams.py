"""Random numbers by coordinate: the same (key, channel, event) gives the same bits anywhere."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt32

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA
SHORT = 13  # rounds of the draws of a path, where most of the time goes
_TWO_POW_32 = 4294967296.0


def key_words(key, *coordinates: int) -> UInt32[Array, " 2"]:
    """Two 32-bit words of a Threefry key after ``fold_in`` of each coordinate."""
    for coordinate in coordinates:
        key = jax.random.fold_in(key, coordinate)
    data = jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key
    return jnp.asarray(data, jnp.uint32).reshape(-1)[:2]


def threefry(words, x0, x1, rounds: int = 20):
    """Threefry-2x32: two 32-bit words for each counter pair (Salmon et al. 2011).

    `words` [2] is the key; `x0`, `x1` (uint32, any equal shape) are the counters, such as
    channel and event. With 20 rounds it is the generator of JAX; `SHORT` is the shorter form of
    the Random123 library. Written out flat so that the compiler fuses it into its caller.
    """
    keys = (words[0], words[1], words[0] ^ words[1] ^ np.uint32(_PARITY))
    x0, x1 = x0 + keys[0], x1 + keys[1]
    for step in range(rounds):
        block, turn = step // 4, _ROTATIONS[step // 4 % 2][step % 4]
        x0 = x0 + x1
        x1 = (x1 << np.uint32(turn)) | (x1 >> np.uint32(32 - turn))
        x1 = x1 ^ x0
        if step % 4 == 3:
            x0 = x0 + keys[(block + 1) % 3]
            x1 = x1 + keys[(block + 2) % 3] + np.uint32(block + 1)
    return x0, x1


def uniform(bits):
    """Float32 in (0, 1) from 32 random bits; the smallest value is 2**-33."""
    return bits.astype(jnp.float32) * np.float32(2.0**-32) + np.float32(2.0**-33)


def exponential(bits):
    """Float32 waiting time of mean 1 from 32 random bits, from 2**-26 to 22.9."""
    # never 0, so that a state of rate 0 outlasts every window whatever the bits
    return jnp.maximum(-jnp.log(uniform(bits)), np.float32(2.0**-26))


def cumulative_thresholds(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Integer thresholds that pick an outcome from 32 bits, the rarest first.

    Returns ``(order, thresholds)`` [..., K] and [..., K - 1]: outcome ``order[..., i]`` is taken
    where i thresholds are at or below the bits. Ascending order keeps the relative error of
    a rare outcome near 2**-32 / p, where float32 selection would lose it below 2**-24.
    Outcomes of weight 0 are never taken; a row of zeros gives its last outcome.
    """
    order, share = _ranked_shares(weights)
    thresholds = np.minimum(np.round(share * _TWO_POW_32), _TWO_POW_32 - 1)
    return order, thresholds.astype(np.uint32)


def refined_thresholds(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`cumulative_thresholds` cut down to 32 bits, and the 8 bits that follow them.

    Returns ``(order, thresholds, fraction)``. Compared with 32 bits and, where they are equal,
    with 8 more, an outcome of probability p is chosen with a relative error below
    2**-41 / p; with the 32 bits alone the error is below 2**-32 / p.
    """
    order, share = _ranked_shares(weights)
    scaled = np.minimum(np.round(share * _TWO_POW_32 * 256.0), (_TWO_POW_32 - 1) * 256.0)
    whole = np.floor(scaled / 256.0)
    return order, whole.astype(np.uint32), (scaled - 256.0 * whole).astype(np.uint32)


def _ranked_shares(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(weights, axis=-1, kind="stable")
    ranked = np.take_along_axis(weights, order, axis=-1)
    total = ranked.sum(axis=-1, keepdims=True)
    return order, (np.cumsum(ranked, axis=-1) / np.where(total > 0, total, 1.0))[..., :-1]
