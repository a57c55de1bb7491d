"""Exact binomial numbers by coordinate, for any n up to 2**53 and at any p.

Below ten expected successes by inversion, above by transformed rejection (BTRS: Hoermann 1993,
J. Stat. Comput. Simul. 46, 101-110). The ratio that decides acceptance is not taken from
differences of log-gamma values, which float32 cannot hold: with x = k + 1, y = n - k + 1 and
M = n + 2 the law is a beta density in p, and by Stirling's series, up to factors without k,

    f(k) = sqrt(x y) exp(-M p d(x / (M p) - 1) - M q d(y / (M q) - 1) - J(x) - J(y)),
    d(e) = (1 + e) log(1 + e) - e,   J(z) = 1 / (12 z) - 1 / (360 z**3) + ...

with d from its own series near 0 (the deviance form of Loader 2000, "Fast and accurate
computation of binomial probabilities"). k is reckoned from the whole part of n p, which
integer arithmetic gives exactly, so no count passes through a float that cannot hold it.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from gabatone.kernels.engine.streams import threefry

MOST_IN_INT32 = 2**30  # largest n of the float32 path
MOST_IN_INT64 = 2**53
ATTEMPTS = 255  # of which each succeeds with a chance above 0.7
_ATTEMPT_SHIFT = 24  # lanes take the lower bits of their counter, attempts the upper ones
MOST_LANES = 1 << _ATTEMPT_SHIFT
_INVERT_BELOW = 10.0  # expected successes
_MOST_INVERTED = 160  # the chance of more at 10 expected is below 1e-100
_HAT = (1.15, 2.53, -0.0873, 0.0248, 0.01, 2.83, 5.1, 0.07, 0.92, 4.2)  # Hoermann 1993, BTRS
_SERIES_BELOW = 0.1
_TABLED = 16


_REST = tuple(
    math.lgamma(z) - ((z - 0.5) * math.log(z) - z + 0.5 * math.log(2 * math.pi))
    for z in range(1, _TABLED + 1)
)


def binomial(words, draw, lane, number, p, mirrored=False):
    """One count of Binomial(number, p) for each lane: ``(count, decided)``, both of their shape.

    `words` (uint32 [2], from `key_words`), `draw` and `lane` (below 2**24) name the random
    bits: the same names give the same count in any company. `number` is int32 (at most 2**30;
    arithmetic in float32) or int64 (at most 2**53; float64), 0 or more. `p` is at most 1/2;
    where `mirrored`, it is the chance of failure instead, which keeps its digits near a
    success rate of 1 (see `smaller_side`). `decided` is False where `ATTEMPTS` were not enough.
    In float32, p has 24 bits; acceptance keeps the log of the law to a relative 1e-6, while the
    proposal rounds to about a hundredth of a count at the largest spread (16,000 counts).
    """
    number = jnp.asarray(number)
    shapes = (jnp.shape(x) for x in (draw, lane, number, p, mirrored))
    shape = np.broadcast_shapes(*shapes)
    flat = [
        jnp.broadcast_to(jnp.asarray(x, kind), shape).reshape(-1)
        for x, kind in (
            (draw, jnp.uint32),
            (lane, jnp.uint32),
            (number, number.dtype),
            (p, real_of(number.dtype)),
        )
    ]
    each = jax.vmap(lambda *a: one_binomial(words, *a))
    count, decided = each(*flat)
    count, decided = count.reshape(shape), decided.reshape(shape)
    return jnp.where(mirrored, number - count, count), decided


def smaller_side(p):
    """``(p, mirrored)`` with p at most 1/2, as `binomial` wants them, from chances of success."""
    p = jnp.asarray(p)
    return jnp.where(p > 0.5, 1 - p, p), p > 0.5


def real_of(count_dtype):
    """The float type that goes with a type of counts."""
    return jnp.float32 if count_dtype == jnp.int32 else jnp.float64


def one_binomial(words, draw, lane, number, p):
    """A single count, as a program for one lane: ``(count, decided)``; see `binomial`.

    Only what is needed runs, so that compiled as one piece it is a fast scalar loop.
    """
    real = real_of(number.dtype)
    n = number.astype(real)
    few = n * p < _INVERT_BELOW
    return jax.lax.cond(few, _inverted, _rejected, words, draw, lane, number, n, p, few)


def _bits(words, draw, lane, attempt):
    counter = lane | (attempt << np.uint32(_ATTEMPT_SHIFT))
    return jax.lax.optimization_barrier(threefry(words, draw, counter))


def _inverted(words, draw, lane, number, n, p, few):
    real = n.dtype.type
    high, low = _bits(words, draw, lane, jnp.uint32(0))
    u = (high.astype(n.dtype) + (low.astype(n.dtype) + real(0.5)) * real(2.0**-32)) * real(2.0**-32)
    k = _invert(u, jnp.where(few, n, 0), jnp.where(few, p, 0))
    return jnp.minimum(k.astype(number.dtype), number), k < _MOST_INVERTED


def _invert(u, n, p):
    """The k with P(X > k) <= u < P(X > k - 1): small u keep their digits, and rare counts their rate."""
    odds = p / (1 - p)

    def begin():
        log_none = n * jnp.log1p(-p)
        return jnp.zeros_like(n), jnp.exp(log_none), -jnp.expm1(log_none)

    def more(at):
        k, _, tail = at
        return (u < tail) & (k < _MOST_INVERTED)

    def step(at):
        k, chance, tail = at
        k = k + 1
        chance = chance * odds * jnp.maximum(n - (k - 1), 0) / k
        ratio = odds * jnp.maximum(n - k, 0) / (k + 1)
        following = chance * ratio
        bound = jnp.where(ratio < 1, following / jnp.maximum(1 - ratio, 1e-30), tail)
        # rounding must not carry the far tail below its first term or above its geometric bound
        return k, chance, jnp.minimum(jnp.maximum(tail - chance, following), bound)

    # P(X > 0) is below n p: most draws of a rare outcome end here
    none = (jnp.zeros_like(n),) * 3
    k, _, _ = jax.lax.while_loop(more, step, jax.lax.cond(u < n * p, begin, lambda: none))
    return k


def _rejected(words, draw, lane, number, n, p, few):
    real = n.dtype.type
    base, slope, a0, a1, a2, h0, h1, centre, v0, v1 = (real(x) for x in _HAT)
    p = jnp.where(few, real(0.5), p)
    n = jnp.maximum(n, 1)
    q = 1 - p
    whole, part = _product(number, p)
    spread = jnp.sqrt(n * p * q)
    b = base + slope * spread
    a = a0 + a1 * b + a2 * p
    top = (h0 + h1 / b) * spread
    squeeze = v0 - v1 / b
    mean_x, mean_y = (n + 2) * p, (n + 2) * q
    farthest = real(2.0**30 if n.dtype == jnp.float32 else 2.0**53)

    def open_still(at):
        attempt, _, decided = at
        return ~decided & (attempt < ATTEMPTS)

    def step(at):
        attempt, _, _ = at
        first, second = _bits(words, draw, lane, attempt)
        v = (second.astype(n.dtype) + real(0.5)) * real(2.0**-32)
        fine = ((second & np.uint32(0xFFFF)).astype(n.dtype) + real(0.5)) * real(2.0**-16)
        edge = ((first >> np.uint32(1)).astype(n.dtype) + fine) * real(2.0**-32)
        u = jnp.where((first & np.uint32(1)) == 1, real(0.5) - edge, edge - real(0.5))
        j = jnp.floor((2 * a / edge + b) * u + part + real(0.5))
        j = jnp.clip(j, -farthest, farthest)
        k = whole + j.astype(number.dtype)
        inside = (k >= 0) & (k <= number)
        sure = inside & (edge >= centre) & (v <= squeeze)
        k_safe = jnp.clip(k, 0, number)
        shift = j - part + (1 - 2 * p)

        def weigh():
            x, y = shift / mean_x, -shift / mean_y
            loss = mean_x * _deviance(x) + mean_y * _deviance(y)
            loss = loss + _rest(k_safe, n.dtype) + _rest(number - k_safe, n.dtype)
            size = jnp.sqrt(jnp.maximum((1 + x) * (1 + y), 0)) * jnp.exp(-loss)
            return inside & (v * top <= (a / (edge * edge) + b) * size)

        decided = jax.lax.cond(sure | ~inside, lambda: sure, weigh)
        return attempt + np.uint32(1), k_safe, decided

    start = (jnp.uint32(0), jnp.zeros_like(number), few)
    _, k, decided = jax.lax.while_loop(open_still, step, start)
    return k, decided


def _product(number, p):
    """``number * p`` as a whole number and a rest of about 0 to 1.5."""
    if number.dtype != jnp.int32:
        product = number.astype(p.dtype) * p
        whole = jnp.floor(product)
        return whole.astype(number.dtype), product - whole
    scaled = p * np.float32(2.0**32)
    high = scaled.astype(jnp.uint32)
    rest = scaled - high.astype(jnp.float32)
    n, mask, turn = number.astype(jnp.uint32), np.uint32(0xFFFF), np.uint32(16)
    n1, n0, p1, p0 = n >> turn, n & mask, high >> turn, high & mask
    low = n0 * p0
    middle = n1 * p0 + (low >> turn)
    other = n0 * p1 + (middle & mask)
    whole = n1 * p1 + (middle >> turn) + (other >> turn)
    below = ((other << turn) | (low & mask)).astype(jnp.float32)
    part = (below + number.astype(jnp.float32) * rest) * np.float32(2.0**-32)
    return whole.astype(jnp.int32), part


def _deviance(e):
    """``(1 + e) log(1 + e) - e``; by ``log(1 + e) = 2 artanh(e / (2 + e))`` near 0."""
    v = e / (2 + e)
    w = v * v
    series = 1 / 13
    for odd in (11, 9, 7, 5, 3):
        series = 1 / odd + w * series
    near = e * v + 2 * (1 + e) * v * w * series
    far = (1 + e) * jnp.log(jnp.maximum(1 + e, 1e-30)) - e
    return jnp.where(jnp.abs(v) < _SERIES_BELOW, near, far)


def _rest(k, real):
    """J(k + 1): what Stirling's formula leaves out of ``log k!``."""
    small = jnp.asarray(_REST, real)[jnp.minimum(k, _TABLED - 1)]
    r = 1 / (k.astype(real) + 1)
    w = r * r
    return jnp.where(k < _TABLED, small, r * (1 / 12 - w * (1 / 360 - w * (1 / 1260))))
