"""Multinomial counts: each draw has its law at any size, in either precision of the program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gabatone.kernels.drive.ligand import Pulse, Tonic
from gabatone.kernels.engine.counts import Counts, multinomial
from gabatone.kernels.engine.simulate import simulate
from gabatone.kernels.receptor.catalogue import load_scheme
from helpers.statistics import assert_chi2, assert_pvalue

KEY = jax.random.key(5)
draw = jax.jit(multinomial)
LAW = np.array([0.3, 1e-4, 0.05, 0.6499, 0.0])


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
    number = jnp.array([0.0, 7.0, 7.0])
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
