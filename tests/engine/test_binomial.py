"""The binomial sampler against scipy, in float32 and in float64, from n = 0 to 1e9."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gabatone.kernels.engine import binomial as sampler
from gabatone.kernels.engine.binomial import binomial, smaller_side
from gabatone.kernels.engine.streams import key_words
from helpers.statistics import assert_chi2, assert_detects, assert_z

WORDS = key_words(jax.random.key(11))
DRAWS = 1 << 16
KINDS = pytest.mark.parametrize("kind", [np.int32, np.int64], ids=["float32", "float64"])
CHANCES = (0.0, 1e-7, 1e-3, 0.02, 0.3, 0.5, 0.7, 0.9999, 1.0)
NUMBERS = (0, 1, 10, 50, 1000, 10**6, 10**9)


@jax.jit
def draw(number, p, mirrored, first):
    lane = jnp.arange(DRAWS, dtype=jnp.uint32)
    count, decided = binomial(WORDS, first, lane, number, p, mirrored)
    return jnp.where(decided, count, -1)


def sample(kind, number: int, p: float, first: int = 0) -> tuple[np.ndarray, float]:
    """Draws of one law, and the p that the given precision holds."""
    real = np.float32 if kind == np.int32 else np.float64
    held = real(p)
    small, mirrored = smaller_side(held)
    found = np.asarray(draw(kind(number), small, mirrored, np.uint32(first)))
    assert found.dtype == kind and found.min() >= 0 and found.max() <= number
    return found, float(held)


def goodness(found, number: int, p: float) -> tuple[float, int]:
    """Chi-square and its degrees of freedom, in up to 60 bins of 30 or more expected draws."""
    law = stats.binom(number, p)
    edges = np.unique(law.ppf(np.linspace(0.0, 1.0, 61)[1:-1]))
    # upper tails by their own function, which keeps the digits of rare counts
    lower = np.concatenate([[0.0], law.cdf(edges)])
    share = np.append(np.diff(lower), law.sf(edges[-1]))
    seen = np.histogram(found, np.concatenate([[-1], edges, [number + 1]]) + 0.5)[0]
    keep = share * DRAWS > 30
    share = np.append(share[keep], share[~keep].sum())
    seen = np.append(seen[keep], seen[~keep].sum())
    assert seen[share == 0].sum() == 0
    seen, share = seen[share * DRAWS > 1e-3], share[share * DRAWS > 1e-3]
    return ((seen - share * DRAWS) ** 2 / (share * DRAWS)).sum(), len(share) - 1


@KINDS
def test_law_over_the_whole_range(kind):
    statistic, freedom = [], []
    for k, number in enumerate(NUMBERS):
        for m, p in enumerate(CHANCES):
            found, held = sample(kind, number, p, len(CHANCES) * k + m)
            if number == 0 or p in (0.0, 1.0):
                np.testing.assert_array_equal(found, number * int(p))
                continue
            chi2, dof = goodness(found, number, held)
            if dof > 0:
                statistic.append(chi2)
                freedom.append(dof)
    assert len(statistic) > 35
    assert_chi2(statistic, freedom, f"binomial law, {np.dtype(kind)}")


@KINDS
def test_mean_and_variance_of_a_thousand_million(kind):
    for p in (1e-7, 1e-3, 0.3, 0.9999):
        found, held = sample(kind, 10**9, p, 77)
        spread = 1e9 * held * (1 - held)
        off = found.astype(float) - 1e9 * held
        kurtosis = (1 - 6 * held * (1 - held)) / spread
        z = [
            off.mean() / np.sqrt(spread / DRAWS),
            ((off**2).mean() / spread - 1) / np.sqrt((2 + kurtosis) / DRAWS),
        ]
        assert_z(z, f"mean and variance of 1e9 at {p}, {np.dtype(kind)}")
    # a chance off by 1e-6 of itself shifts the mean of 65,536 draws by 12 of its standard errors
    found, held = sample(kind, 10**9, 0.7, 78)
    wrong = held * (1 + 1e-6)
    z = (found.mean() - 1e9 * wrong) / np.sqrt(1e9 * wrong * (1 - wrong) / DRAWS)
    assert_detects(z=z, name=f"p off by 1e-6, {np.dtype(kind)}")


@KINDS
def test_power_of_the_goodness_of_fit(kind):
    """A law with p off by 4 % of one standard deviation is found, at small and at large n."""
    for number, p in ((50, 0.02), (1000, 0.3), (10**6, 0.5)):
        found, held = sample(kind, number, p)
        wrong = held + 0.04 * np.sqrt(held * (1 - held) / number)
        chi2, dof = goodness(found, number, wrong)
        assert_detects(p=stats.chi2.sf(chi2, dof), name=f"p off, n = {number}, {np.dtype(kind)}")


@KINDS
def test_rare_counts_come_at_their_rate(kind):
    """Of 1.3 million draws with 1e-3 expected each, as many are above 0 as the law says."""
    assert sample(kind, 1, 2.0**-40)[0].sum() == 0
    total = sum(int((sample(kind, 1000, 1e-6, k)[0] >= 1).sum()) for k in range(20))
    expected = 20 * DRAWS * -np.expm1(1000 * np.log1p(-float(np.float32(1e-6))))
    assert_z((total - expected) / np.sqrt(expected), f"one in a thousand, {np.dtype(kind)}")


@pytest.mark.parametrize("real", [np.float32, np.float64])
def test_small_uniforms_keep_their_digits(real):
    """Inversion of u = 1e-15: a count of chance 1e-14 is drawn, one of 1e-16 is not."""
    u = jnp.full(4, 1e-15, real)
    n, p = jnp.array([1, 1, 10**6, 3], real), jnp.array([1e-14, 1e-16, 1e-6, 1e-5], real)
    k = jax.vmap(sampler._invert)(u, n, p)
    # of three at 1e-5 each, P(X > 2) is 1e-15
    np.testing.assert_array_equal(k[:2], [1, 0])
    assert k[3] in (2, 3)
    assert k[2] == stats.binom.isf(1e-15, 10**6, 1e-6) == 17


@KINDS
def test_company_changes_no_count(kind):
    """A lane gets its count by its names alone, whatever stands beside it."""
    real = np.float32 if kind == np.int32 else np.float64
    rng = np.random.default_rng(0)
    number, p = kind(10) ** rng.integers(0, 10, 64).astype(kind), rng.uniform(0, 0.5, 64)
    p, lane = p.astype(real), np.arange(64, dtype=np.uint32)
    named, plain = jax.jit(partial(binomial, WORDS)), np.zeros(64, bool)
    whole, decided = named(np.uint32(5), lane, number, p, plain)
    assert np.asarray(decided).all() and whole.dtype == kind
    turned, _ = named(np.uint32(5), lane[::-1], number[::-1], p[::-1], plain)
    np.testing.assert_array_equal(whole, np.asarray(turned)[::-1])
    other = np.where(lane % 2 == 0, kind(10**9), number)
    beside, _ = named(np.uint32(5), lane, other, p, plain)
    np.testing.assert_array_equal(beside[1::2], whole[1::2])
    mirrored, _ = named(np.uint32(5), lane, number, p, ~plain)
    np.testing.assert_array_equal(np.asarray(mirrored) + np.asarray(whole), number)
    assert (np.asarray(named(np.uint32(6), lane, number, p, plain)[0]) != whole).any()


def test_a_chance_that_is_no_number_is_not_decided():
    for kind, real in ((np.int32, np.float32), (np.int64, np.float64)):
        named = jax.jit(partial(binomial, WORDS))
        _, decided = named(np.uint32(0), np.uint32(0), kind(100), real(np.nan))
        assert not bool(decided)


@given(st.integers(0, 2**30), st.floats(0.0, 0.5, width=32))
def test_whole_part_of_the_expectation_is_exact_in_float32(number, p):
    whole, part = sampler._product(jnp.int32(number), jnp.float32(p))
    exact = number * int(np.float64(p) * 2.0**149)  # p as a multiple of the smallest float32
    off = int(whole) * 2**149 - exact
    assert abs(off / 2**149 + float(part)) < 2e-7 * max(1.0, float(part)) + 1e-45
    assert -1e-6 < float(part) < 1.6


@pytest.mark.parametrize("p", [1e-6, 1e-3, 0.05, 0.2, 0.45, 0.5])
def test_hat_covers_the_law_and_squeeze_stays_inside(p):
    """The constants of BTRS hold from 10 expected: hat over law, law over squeeze, at every count."""
    base, slope, a0, a1, a2, h0, h1, centre, v0, v1 = sampler._HAT
    for expected in np.concatenate([np.linspace(10, 12, 11), np.geomspace(13, 2e4, 12)]):
        n = int(np.ceil(expected / p))
        spread = np.sqrt(n * p * (1 - p))
        b = base + slope * spread
        a = a0 + a1 * b + a2 * p
        middle = n * p
        k = np.arange(max(0, int(middle - 12 * spread)), min(n, int(middle + 14 * spread)) + 1)
        weight = stats.binom.pmf(k, n, p) * np.sqrt(2 * np.pi) * spread
        away = np.abs(k[:, None] + np.linspace(0, 1, 21) - middle - 0.5)
        # the edge distance that maps to a point: b e**2 + (away - b / 2 + 2 a) e - a = 0
        half = away - b / 2 + 2 * a
        edge = (np.sqrt(half**2 + 4 * a * b) - half) / (2 * b)
        share = (a / edge**2 + b) * weight[:, None] / ((h0 + h1 / b) * spread)
        assert share.max() <= 1
        assert share[edge >= centre].min() >= v0 - v1 / b


@pytest.mark.parametrize(("real", "close"), [(np.float32, 1e-6), (np.float64, 1e-9)])
def test_acceptance_weight_is_the_binomial_law(real, close):
    """sqrt(x y) exp(-loss) over its value at the mode, against the law, out to 5 deviations."""
    for n, p in ((20, 0.5), (1000, 0.02), (10**6, 0.3), (10**9, 1e-6), (10**9, 0.5)):
        p = float(np.float32(p))
        spread = np.sqrt(n * p * (1 - p))
        mode = int(np.floor((n + 1) * p))
        k = np.unique(np.clip(mode + np.round(spread * np.linspace(-5, 5, 41)).astype(int), 0, n))
        mean_x, mean_y = real((n + 2) * p), real((n + 2) * (1 - p))
        shift = (k - n * p + 1 - 2 * p).astype(real)
        x, y = shift / mean_x, -shift / mean_y
        loss = mean_x * sampler._deviance(x) + mean_y * sampler._deviance(y)
        loss = loss + sampler._rest(jnp.asarray(k), real) + sampler._rest(jnp.asarray(n - k), real)
        ours = 0.5 * np.log1p(np.float64(x)) + 0.5 * np.log1p(np.float64(y)) - np.asarray(loss)
        exact = _log_law(k, n, p)
        at = np.searchsorted(k, mode)
        np.testing.assert_allclose(ours - ours[at], exact - exact[at], rtol=close, atol=2 * close)


def _log_law(k, n: int, p: float) -> np.ndarray:
    """Log pmf over that of k[0], as a sum of log ratios of neighbours: log-gamma is too coarse here."""
    i = np.arange(k[0] + 1, k[-1] + 1, dtype=np.float64)
    steps = np.log((n - i + 1) / i * (p / (1 - p)))
    return np.concatenate([[0.0], np.cumsum(steps)])[k - k[0]]
