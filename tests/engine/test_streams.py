"""Random bits by coordinate: equal to published Threefry values and to JAX's own."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from jax.extend.random import threefry_2x32

from gabatone.kernels.engine.streams import (
    SHORT,
    cumulative_thresholds,
    key_words,
    threefry,
    uniform,
)
from helpers.statistics import assert_chi2

# Random123 known answers, threefry2x32 with 20 rounds: key, counter, result
KNOWN = [
    ((0x00000000, 0x00000000), (0x00000000, 0x00000000), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
]


def u32(*values):
    return jnp.array(values, jnp.uint32)


def test_known_answers():
    for key, counter, answer in KNOWN:
        found = threefry(u32(*key), *(u32(x) for x in counter))
        assert tuple(int(x[0]) for x in found) == answer


def test_equals_threefry_of_jax():
    counters = jax.random.bits(jax.random.key(1), (2, 1000), jnp.uint32)
    for seed in range(3):
        words = key_words(jax.random.key(seed))
        found = threefry(words, counters[0], counters[1])
        # JAX pairs the first half of its counters with the second half
        np.testing.assert_array_equal(
            jnp.concatenate(found), threefry_2x32(words, counters.ravel())
        )


def test_key_words_follow_fold_in():
    key = jax.random.key(7)
    expected = jax.random.key_data(jax.random.fold_in(jax.random.fold_in(key, 3), 9))
    np.testing.assert_array_equal(key_words(key, 3, 9), expected)
    np.testing.assert_array_equal(key_words(jax.random.PRNGKey(7), 3, 9), expected)


def test_uniform_at_its_ends():
    ends = uniform(u32(0, 1, 2**31, 2**32 - 1))
    assert ends.dtype == jnp.float32
    # never 0, so the logarithm of a waiting time is finite
    assert float(ends[0]) == 2.0**-33
    np.testing.assert_allclose(ends[1:], [1.5 * 2.0**-32, 0.5, 1.0], rtol=1e-6)
    assert float(-jnp.log(ends[0])) > 22.8


def test_bits_are_even_over_neighbouring_channels_and_events():
    words = key_words(jax.random.key(0))
    channel, event = jnp.meshgrid(
        jnp.arange(256, dtype=jnp.uint32), jnp.arange(1024, dtype=jnp.uint32)
    )
    for rounds in (20, SHORT):
        for word, bits in enumerate(threefry(words, channel.ravel(), event.ravel(), rounds)):
            for byte in (24, 0):
                counts = np.bincount((np.asarray(bits) >> byte) & 255, minlength=256)
                expected = bits.size / 256
                statistic = ((counts - expected) ** 2 / expected).sum()
                assert_chi2(statistic, 255, f"byte {byte} of word {word}, {rounds} rounds")


weights = npst.arrays(
    np.float64,
    st.tuples(st.integers(1, 4), st.integers(2, 6)),
    elements=st.one_of(st.just(0.0), st.floats(1e-9, 1e6)),
)


@given(weights)
def test_thresholds_carry_the_weights(weight):
    order, thresholds = cumulative_thresholds(weight)
    assert (
        thresholds.dtype == np.uint32 and (np.diff(thresholds.astype(np.int64), axis=-1) >= 0).all()
    )
    edges = np.concatenate(
        [np.zeros((len(weight), 1)), thresholds, np.full((len(weight), 1), 2.0**32)], axis=1
    )
    share = np.zeros_like(weight)
    np.put_along_axis(share, order, np.diff(edges, axis=1) / 2.0**32, axis=1)
    total = weight.sum(axis=1, keepdims=True)
    some = total[:, 0] > 0
    np.testing.assert_allclose(share[some], weight[some] / total[some], rtol=0, atol=2.0**-31)
    assert (share[some][weight[some] == 0] == 0).all()
    np.testing.assert_allclose(share.sum(axis=1), 1.0, rtol=0, atol=1e-12)


def test_a_rare_outcome_keeps_its_share():
    # 1 in 3e8: float32 selection among shares that sum to 1 would lose it
    order, thresholds = cumulative_thresholds(np.array([1.0, 3e-9, 0.7]))
    assert order[0] == 1
    assert abs(thresholds[0] / 2.0**32 / (3e-9 / 1.7) - 1) < 0.1


# Random123 known answers, threefry2x32 with 13 rounds: key, counter, result
KNOWN_SHORT = [
    ((0x00000000, 0x00000000), (0x00000000, 0x00000000), (0x9D1C5EC6, 0x8BD50731)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0xFD36D048, 0x2D17272C)),
    ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xBA3E4725, 0xF27D669E)),
]


def test_known_answers_of_the_short_form():
    for key, counter, answer in KNOWN_SHORT:
        found = threefry(u32(*key), *(u32(x) for x in counter), SHORT)
        assert tuple(int(x[0]) for x in found) == answer
