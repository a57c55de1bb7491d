import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.handlers import seed, substitute
from numpyro.infer.util import log_density
from scipy import stats

from gabatone.inference.evidence.loader import load_trials
from gabatone.inference.model import (
    covariances,
    curves,
    design,
    masked,
    mean_change,
    prior_medians,
    trial_model,
)
from gabatone.inference.predict import prior_predictive
from gabatone.inference.study import build_study
from gabatone.kernels.errors import BadInput


@pytest.fixture(scope="module")
def data(study, trials):
    return design(study, trials)


@pytest.fixture(scope="module")
def draw(study, trials):
    draws, _ = prior_predictive(jax.random.key(3), study, trials, 1)
    return {name: jnp.asarray(value[0]) for name, value in draws.items()}


@eqx.filter_jit
def log_likelihood(study, trials, data, draw):
    model = substitute(seed(trial_model, jax.random.key(0)), data=draw)
    whole, trace = log_density(model, (study, trials.settings, data), {}, {})
    return trace["change"]["fn"].log_prob(trace["change"]["value"])


means = eqx.filter_jit(mean_change)


def test_design_follows_the_table(trials, data, study):
    for i, row in enumerate(trials.rows):
        assert study.time_h[data.visit_grid[data.visit[i]]] == row.time_h
        assert trials.arms[data.arm[i]].arm == row.arm
        assert trials.names[data.trial[i]] == row.trial
    assert data.latent_low.tolist() == [26.0, 26.0]
    # the centre comes from 202B, the trial with the same entry score
    np.testing.assert_allclose(data.latent_loc, 28.66, atol=0.01)


def test_covariance_has_the_stated_parts(trials, data, draw):
    sampling, residual = (np.asarray(x) for x in covariances(draw, data))
    assert np.linalg.eigvalsh(sampling + residual).min() > 0
    printed = [i for i, r in enumerate(trials.rows) if r.se is not None]
    np.testing.assert_allclose(
        np.diag(sampling)[printed], [trials.rows[i].se ** 2 for i in printed]
    )
    pooled = [i for i, r in enumerate(trials.rows) if r.se is None]
    np.testing.assert_allclose(
        np.diag(sampling)[pooled],
        [draw["sd_pooled_points"] ** 2 / trials.rows[i].n for i in pooled],
    )
    for i, a in enumerate(trials.rows):
        for j, b in enumerate(trials.rows):
            same_arm = (a.trial, a.arm) == (b.trial, b.arm)
            assert (sampling[i, j] > 0) == same_arm
            assert (residual[i, j] > 0) == (a.trial == b.trial)
    np.testing.assert_allclose(
        np.diag(residual), draw["sigma_arm_points"] ** 2 + draw["sigma_trial_points"] ** 2
    )


def test_likelihood_is_the_multivariate_normal_it_claims(study, trials, data, draw):
    sampling, residual = covariances(draw, data)
    mean = means(draw, study, trials.settings, data)
    theirs = stats.multivariate_normal(mean, sampling + residual).logpdf(data.observed)
    scored = _with_scores(study, data, draw)
    np.testing.assert_allclose(log_likelihood(study, trials, data, scored), theirs, rtol=1e-9)


def _with_scores(study, data, draw):
    """Parameters with a bound as the scores under which the model samples them."""
    out = dict(draw)
    for name, prior in study.prior.items():
        if prior.family == "halfnormal":
            half = stats.halfnorm.cdf(np.asarray(draw[name]) / prior.spread)
            out[name + "_score"] = jnp.asarray(stats.norm.ppf(half))
    low = stats.norm.cdf((data.latent_low - data.latent_loc) / data.latent_scale)
    share = stats.norm.cdf((draw["baseline_latent"] - data.latent_loc) / data.latent_scale)
    out["baseline_latent_score"] = jnp.asarray(stats.norm.ppf((share - low) / (1 - low)))
    return out


def test_half_normal_parameters_follow_their_prior(study, trials):
    draws, _ = prior_predictive(jax.random.key(0), study, trials, 2000)
    from helpers.statistics import assert_pvalue

    p = [
        stats.kstest(draws[n], stats.halfnorm(scale=study.prior[n].spread).cdf).pvalue
        for n in ("gain", "sigma_arm_points", "sigma_trial_points")
    ]
    assert_pvalue(p, "half-normal priors")


def test_masked_rows_give_no_information(study, trials, data, draw):
    without = design(study, trials, "202A")
    moved = jnp.where(jnp.asarray(without.mask), without.observed, without.observed + 30.0)
    other = eqx.tree_at(lambda d: d.observed, without, np.asarray(moved))
    scored = _with_scores(study, data, draw)
    same = [log_likelihood(study, trials, d, scored) for d in (without, other)]
    assert same[0] == same[1]
    keep = np.asarray(without.mask)
    sampling, residual = covariances(draw, without)
    mean = np.asarray(means(draw, study, trials.settings, without))
    small = np.asarray(sampling + residual)[keep][:, keep]
    theirs = stats.multivariate_normal(mean[keep], small).logpdf(without.observed[keep])
    constant = -0.5 * np.log(2 * np.pi) * (~keep).sum()
    np.testing.assert_allclose(same[0], theirs + constant, rtol=1e-9)
    assert np.all(np.asarray(masked(sampling, jnp.asarray(keep)))[~keep][:, keep] == 0)


def test_inferred_times_leave_by_the_same_mask(study):
    part = design(study, load_trials(inferred_times=False))
    assert part.mask.sum() == 14


def test_curves_pass_through_the_visits(study, trials, data, draw):
    whole = eqx.filter_jit(curves)(draw, study, trials.settings, data)
    at = np.asarray(data.visit_grid)[data.visit]
    np.testing.assert_allclose(
        np.asarray(whole)[data.arm, at], means(draw, study, trials.settings, data), rtol=1e-12
    )


def test_prior_predicts_possible_changes(study, trials):
    draws, observed = prior_predictive(jax.random.key(1), study, trials, 500)
    assert np.all(np.isfinite(observed))
    lo, hi = np.quantile(observed, (0.005, 0.995), axis=0)
    assert np.all(lo > -35) and np.all(hi < 8)
    for i, row in enumerate(trials.rows):
        assert lo[i] < row.observed < hi[i], row
    assert np.all(draws["baseline_latent"] >= 26.0)


def test_gradient_of_the_posterior_is_finite(study, trials, data):
    from numpyro.infer.util import potential_energy, unconstrain_fn

    model = lambda d: trial_model(study, trials.settings, d)  # noqa: E731
    start = prior_medians(study, trials.settings, data)
    z = jax.jit(lambda d: unconstrain_fn(seed(model, jax.random.key(0)), (d,), {}, start))(data)
    energy = jax.jit(jax.value_and_grad(lambda z: potential_energy(model, (data,), {}, z)))
    for shift in (0.0, -4.0, 4.0):
        value, slope = energy({name: x + shift for name, x in z.items()})
        assert np.isfinite(value)
        assert all(np.all(np.isfinite(g)) for g in slope.values())


def test_visit_off_the_grid_unknown_trial_and_setting_are_named(study, trials):
    short = build_study(
        [0.0, 2.0, 60.0], {n: np.zeros(3) for n in study.plasma_nM}, study.transfer, 4.0
    )
    with pytest.raises(BadInput, match="study.time_h"):
        design(short, trials)
    with pytest.raises(BadInput, match="202A, |202B, "):
        design(study, trials, "202Z")
    fewer = {n: p for n, p in study.prior.items() if n != "placebo_inpatient_iv"}
    poor = build_study(study.time_h, study.plasma_nM, study.transfer, 4.0, fewer)
    with pytest.raises(BadInput, match="placebo_inpatient_iv"):
        design(poor, trials)
