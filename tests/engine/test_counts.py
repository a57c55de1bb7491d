"""Multinomial counts: each draw has its law at any size, in either precision of the program."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gabatone.kernels.drive.ligand import Decay, Pulse, Tonic
from gabatone.kernels.engine.counts import (
    Counts,
    Deals,
    law_deals,
    multinomial,
    walk_all_lanes,
    walk_lane_by_lane,
)
from gabatone.kernels.engine.protocol import Request
from gabatone.kernels.engine.simulate import simulate
from gabatone.kernels.engine.streams import key_words
from gabatone.kernels.errors import BadInput, Failure
from gabatone.kernels.receptor.catalogue import load_scheme
from helpers.statistics import assert_chi2, assert_pvalue

KEY = jax.random.key(5)
LAW = np.array([0.3, 1e-4, 0.05, 0.6499, 0.0])


@jax.jit
def draw(key, number, law):
    counts, decided = multinomial(key, jnp.asarray(number, int), law)
    return jnp.where(decided[:, None], counts, -1)


@pytest.mark.parametrize("n", [1, 4, 60, 10**4, 10**9])
def test_multinomial_has_its_law(n):
    rows = 100_000
    drawn = np.asarray(draw(KEY, jnp.full(rows, float(n)), jnp.tile(LAW, (rows, 1))))
    np.testing.assert_array_equal(drawn.sum(axis=1), n)
    assert drawn.min() >= 0 and (drawn[:, 4] == 0).all() and (drawn == np.round(drawn)).all()
    for k in range(4):
        law = stats.binom(n, LAW[k])
        # whole distribution in bins of at least 50 expected
        edges = np.unique(law.ppf(np.linspace(0, 1, 30)[1:-1]))
        share = np.diff(np.concatenate([[0.0], law.cdf(edges), [1.0]]))
        found = np.histogram(drawn[:, k], np.concatenate([[-1], edges, [n + 1]]) + 0.5)[0]
        keep = share * rows > 50
        share, found = (
            np.append(share[keep], share[~keep].sum()),
            np.append(found[keep], found[~keep].sum()),
        )
        share, found = share[share > 0], found[share > 0]
        if len(share) > 1:
            assert_chi2(
                ((found - rows * share) ** 2 / (rows * share)).sum(),
                len(share) - 1,
                f"multinomial of {n}, outcome {k}",
            )
    # outcomes compete: covariance -n p_i p_j, seen in the variance of their sum
    pair = LAW[0] + LAW[3]
    spread = ((drawn[:, 0] + drawn[:, 3] - n * pair) ** 2).sum() / (n * pair * (1 - pair))
    kurtosis = (1 - 6 * pair * (1 - pair)) / (n * pair * (1 - pair))
    z = (spread / rows - 1) / np.sqrt((2 + kurtosis) / rows)
    assert_pvalue(2 * stats.norm.sf(abs(z)), f"competing outcomes of {n}")


def test_rows_are_independent():
    rows = 20_000
    drawn = np.asarray(draw(KEY, jnp.full(2 * rows, 1000.0), jnp.tile(LAW, (2 * rows, 1))))
    first, second = drawn[::2, 0], drawn[1::2, 0]
    z = ((first - 300) * (second - 300)).sum() / (1000 * 0.3 * 0.7 * np.sqrt(rows))
    assert_pvalue(2 * stats.norm.sf(abs(z)), "neighbouring rows")


def test_edges_of_the_law():
    number = jnp.array([0, 7, 7])
    law = jnp.array([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    np.testing.assert_array_equal(draw(KEY, number, law), [[0, 0, 0], [0, 7, 0], [7, 0, 0]])


def test_precision_of_the_rest_of_the_program_changes_nothing():
    scheme, drive = load_scheme("jones_westbrook_1995"), Pulse(1e-3, 0.0, 1e-3) + Tonic(1e-6)

    def run():
        return simulate(
            KEY, scheme, drive, engine=Counts(), n=10**10, t1_s=3e-3, save_s=5e-4
        ).occupancy

    expected = run()
    assert expected.dtype == np.int64 and expected.max() == 10**10
    with jax.enable_x64(False):
        np.testing.assert_array_equal(run(), expected)


def test_a_finer_grid_keeps_the_sum():
    scheme = load_scheme("jones_westbrook_1995")
    for step in (1e-3, 2.5e-5):
        found = simulate(
            KEY, scheme, Tonic(1e-5), engine=Counts(), n=12345, t1_s=5e-3, save_s=step
        ).occupancy
        np.testing.assert_array_equal(found.sum(axis=1), 12345)


STEPS, STATES = 24, 5
WORDS = np.asarray(jnp.stack([key_words(KEY, 0), key_words(KEY, 1)]))


def random_walk(kind) -> tuple[np.ndarray, np.ndarray, Deals]:
    """Start [2, state], which law holds in each step [2, step], and four random laws."""
    rng = np.random.default_rng(4)
    laws = rng.dirichlet(np.full(STATES, 0.3), (4, STATES))
    laws[:, np.arange(STATES), np.arange(STATES)] += 10 ** rng.uniform(-2, 3, (4, STATES))
    laws /= laws.sum(axis=2, keepdims=True)
    real = np.float32 if kind == np.int32 else np.float64
    deals = law_deals(laws)
    start = np.array([[3, 0, 10**6, 1, 40], [10**9, 0, 0, 0, 0]], kind)
    return (
        start,
        rng.integers(0, 4, (2, STEPS)).astype(np.int32),
        deals._replace(p=deals.p.astype(real)),
    )


@pytest.mark.parametrize("kind", [np.int32, np.int64])
def test_one_lane_at_a_time_and_all_at_once_give_the_same_integers(kind):
    start, which, deals = random_walk(kind)
    count = np.array([STEPS, STEPS - 5], np.int32)
    args = (WORDS, np.uint32(9), count, start, which, deals)
    now, path, fine = walk_lane_by_lane(*args)
    also_now, also_path, also_fine = walk_all_lanes(*args)
    assert bool(fine) and bool(also_fine) and path.dtype == kind
    np.testing.assert_array_equal(path, also_path)
    np.testing.assert_array_equal(now, also_now)
    np.testing.assert_array_equal(now, [path[0, -1], path[1, STEPS - 6]])
    np.testing.assert_array_equal(np.sum(path[0], axis=1), start[0].sum())
    assert (np.asarray(path) >= 0).all() and len(np.unique(path[0], axis=0)) == STEPS


@given(cut=st.integers(1, STEPS - 1))
@settings(max_examples=8)
def test_a_walk_that_is_stopped_and_resumed_is_the_same_walk(cut):
    start, which, deals = random_walk(np.int64)
    whole = walk_lane_by_lane(WORDS, np.uint32(1), np.full(2, STEPS, np.int32), start, which, deals)
    first = walk_lane_by_lane(WORDS, np.uint32(1), np.full(2, cut, np.int32), start, which, deals)
    rest = walk_lane_by_lane(
        WORDS,
        np.uint32(1 + cut),
        np.full(2, STEPS - cut, np.int32),
        first[0],
        np.roll(which, -cut, axis=1),
        deals,
    )
    np.testing.assert_array_equal(first[1][:, :cut], whole[1][:, :cut])
    np.testing.assert_array_equal(rest[1][:, : STEPS - cut], whole[1][:, cut:])
    np.testing.assert_array_equal(rest[0], whole[0])


@pytest.mark.parametrize(
    "drive", [Pulse(1e-3, 0.0, 5.2e-4), Decay(1e-3, 2e-4)], ids=["pulse", "decay"]
)
def test_block_size_changes_no_integer(drive):
    scheme = load_scheme("jones_westbrook_1995")

    def run(block):
        return simulate(
            KEY, scheme, drive, engine=Counts(block=block), n=10**6, t1_s=2e-3, save_s=5e-5
        ).occupancy

    whole = run(4096)
    assert len(np.unique(whole, axis=0)) == len(whole) == 41
    for block in (7, 33):
        np.testing.assert_array_equal(run(block), whole)


def test_a_law_that_is_not_finite_is_a_failure():
    start, which, deals = random_walk(np.int64)
    wrong = deals._replace(p=np.full_like(deals.p, np.nan))
    args = (WORDS, np.uint32(1), np.full(2, STEPS, np.int32), start, which, wrong)
    for walk in (walk_lane_by_lane, walk_all_lanes):
        assert not bool(walk(*args)[2])
    request = Request(
        load_scheme("jones_westbrook_1995"), Tonic(0.0), 100, 1e-3, np.array([0.0]), None, None
    )
    with pytest.raises(Failure, match="undecided_draw"):
        Counts().run(KEY, request._replace(p0=np.full(7, np.nan)))


def test_more_channels_than_the_counts_can_hold_are_refused():
    scheme, grid = load_scheme("jones_westbrook_1995"), dict(t1_s=1e-3, save_s=1e-3)
    with pytest.raises(BadInput, match="use engine=Master"):
        simulate(KEY, scheme, Tonic(0.0), engine=Counts(), n=2**53 + 2, **grid)
    found = simulate(KEY, scheme, Tonic(1e-4), engine=Counts(), n=2**53, **grid).occupancy
    assert (found.sum(axis=1) == 2**53).all() and (found[1] > 0).all()
    with pytest.raises(BadInput, match="Counts.block"):
        Counts(block=0)
    with pytest.raises(BadInput, match="rows x outcomes"):
        multinomial(KEY, np.ones(2**20, int), np.broadcast_to(0.05, (2**20, 20)))


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_the_form_for_accelerators_lowers_without_float64(platform):
    with jax.enable_x64(False):
        start, which, deals = random_walk(np.int32)
        args = (WORDS, np.uint32(1), np.full(2, STEPS, np.int32), start, which, deals)
        text = walk_all_lanes.trace(*args).lower(lowering_platforms=(platform,)).as_text()
    kinds = set(re.findall(r"tensor<(?:[0-9]+x)*([a-z]+[0-9]+)>", text))
    assert "stablehlo.while" in text and kinds == {"f32", "i1", "i32", "ui32"}
