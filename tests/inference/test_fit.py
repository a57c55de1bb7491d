from dataclasses import replace

import jax
import numpy as np
import pytest
from scipy import stats

from gabatone.inference.diagnostics import diagnose
from gabatone.inference.fit import ESS_LIMIT, R_HAT_LIMIT, fit
from gabatone.inference.predict import new_arms, prior_predictive
from gabatone.kernels.errors import BadInput, Failure
from helpers.statistics import assert_chi2, assert_consistent, assert_inconsistent

SMALL = dict(warmup=250, samples=60, chains=2, throw=False)


class Bar:
    def __init__(self, broken=False):
        self.calls, self.broken = [], broken

    def __getattr__(self, name):
        def call(*args):
            self.calls.append((name, *args))
            if self.broken:
                raise RuntimeError("no terminal")

        return call


def same_draws(one, two):
    return all(np.array_equal(one.samples[n], two.samples[n]) for n in one.samples)


@pytest.fixture(scope="module")
def small(study, trials, sampler):
    """A short fit that was watched and saved after each block."""
    bar, saved = Bar(), []
    posterior = fit(
        jax.random.key(5),
        study,
        trials,
        sampler=sampler,
        progress=bar,
        checkpoint=saved.append,
        **SMALL,
    )
    return posterior, bar, saved


def test_fit_meets_its_limits(posterior):
    assert posterior.divergences == 0 and posterior.problems == ()
    for name, worth in posterior.diagnostics.items():
        assert worth["r_hat"] < R_HAT_LIMIT, name
        assert min(worth["ess_bulk"], worth["ess_tail"]) > ESS_LIMIT, name


def test_draws_are_float64_and_inside_their_ranges(posterior):
    assert all(value.dtype == np.float64 for value in posterior.samples.values())
    assert np.all(posterior.flat("baseline_latent") >= 26.0)
    assert np.all(posterior.flat("kp_eff") > 0) and np.all(posterior.flat("gain") >= 0)


def test_left_out_fits_did_not_see_their_trial(trials, left_out):
    for name, one in left_out.items():
        assert one.leave_out == name
        assert one.in_fit.tolist() == [row.trial != name for row in trials.rows]


def test_observations_of_a_left_out_trial_do_not_matter(study, trials, sampler):
    moved = replace(
        trials,
        rows=tuple(
            replace(r, observed=r.observed + 5.0) if r.trial == "202A" else r for r in trials.rows
        ),
    )
    fits = [
        fit(jax.random.key(2), study, t, sampler=sampler, leave_out="202A", **SMALL)
        for t in (trials, moved)
    ]
    assert same_draws(*fits)


@pytest.mark.parametrize("at", [0, 2, 4])
def test_resumed_fit_gives_the_same_bits(study, trials, sampler, small, at):
    whole, _, saved = small
    again = fit(jax.random.key(5), study, trials, sampler=sampler, resume=saved[at], **SMALL)
    assert same_draws(whole, again)


def test_saved_state_is_arrays_that_can_be_written(small):
    leaves = jax.tree.leaves((small[2][-1].states, small[2][-1].draws))
    assert all(np.asarray(leaf).dtype != object for leaf in leaves)


def test_threads_and_other_chains_do_not_change_a_chain(study, trials, sampler, small):
    alone = fit(
        jax.random.key(5), study, trials, sampler=sampler, threads=1, **(SMALL | {"chains": 1})
    )
    for name, value in alone.samples.items():
        assert np.array_equal(value[0], small[0].samples[name][0]), name


def test_other_key_gives_other_draws(study, trials, sampler, small):
    other = fit(jax.random.key(6), study, trials, sampler=sampler, **SMALL)
    assert not same_draws(small[0], other)


def test_progress_is_told_every_transition(small):
    calls = small[1].calls
    assert calls[0] == ("init", 620) and calls[-1] == ("close",)
    assert sum(c[1] for c in calls if c[0] == "step") == 620


def test_broken_progress_does_not_end_a_fit(study, trials, sampler, small):
    again = fit(
        jax.random.key(5), study, trials, sampler=sampler, progress=Bar(broken=True), **SMALL
    )
    assert same_draws(small[0], again)


def test_too_few_draws_fail_by_name(study, trials, sampler, small):
    with pytest.raises(Failure, match="^(r_hat|ess): "):
        fit(jax.random.key(5), study, trials, sampler=sampler, **(SMALL | {"throw": True}))
    assert any(text.startswith("ess: ") for text in small[0].problems)


@pytest.mark.parametrize(
    "options, words",
    [
        (dict(samples=0), "fit.samples"),
        (dict(chains=-1), "fit.chains"),
        (dict(warmup=2.5), "fit.warmup"),
        (dict(warmup=100), "fit.sampler"),
        (dict(leave_out="202Z"), "leave_out"),
    ],
)
def test_bad_request_is_named(study, trials, sampler, options, words):
    with pytest.raises(BadInput, match=words):
        fit(jax.random.key(0), study, trials, sampler=sampler, **(SMALL | options))


def test_checkpoint_of_other_inputs_is_refused(study, trials, sampler, small):
    with pytest.raises(BadInput, match="fit.resume"):
        fit(jax.random.key(9), study, trials, sampler=sampler, resume=small[2][0], **SMALL)
    with pytest.raises(BadInput, match="fit.resume"):
        fit(
            jax.random.key(5),
            study,
            trials.without_inferred_times(),
            sampler=sampler,
            resume=small[2][0],
            **SMALL,
        )


def test_diagnostics_agree_with_arviz(posterior):
    import arviz

    for draws in (posterior.samples["gain"], posterior.samples["visit_length"][:, :251]):
        ours = diagnose(draws)
        np.testing.assert_allclose(ours["r_hat"], arviz.rhat(draws), rtol=1e-9)
        for kind in ("bulk", "tail"):
            np.testing.assert_allclose(
                ours[f"ess_{kind}"], arviz.ess(draws, method=kind), rtol=1e-6
            )


def test_diagnostics_see_a_stuck_and_a_shifted_chain():
    draws = np.random.default_rng(0).normal(size=(4, 500))
    assert diagnose(draws)["r_hat"] < 1.01
    assert diagnose(draws + np.arange(4)[:, None])["r_hat"] > 1.5
    assert not np.isfinite(diagnose(np.zeros((4, 500)))["r_hat"])


RECOVERED = ("gain", "immediate", "placebo_inpatient_iv", "sigma_trial_points", "kp_eff")
REPLICATES = 10


@pytest.fixture(scope="module")
def recovery(study, trials, sampler):
    """Normal scores of the truth within posteriors of data simulated from the prior."""
    truths, observed = prior_predictive(jax.random.key(11), study, trials, REPLICATES)
    scores = np.empty((REPLICATES, len(RECOVERED)))
    for k in range(REPLICATES):
        rows = tuple(replace(r, observed=float(observed[k, i])) for i, r in enumerate(trials.rows))
        one = fit(
            jax.random.key(100 + k),
            study,
            replace(trials, rows=rows),
            warmup=250,
            samples=120,
            chains=2,
            sampler=sampler,
            throw=False,
        )
        for j, name in enumerate(RECOVERED):
            draws = one.flat(name)
            rank = (np.sum(draws < truths[name][k]) + 0.5) / (draws.size + 1)
            scores[k, j] = stats.norm.ppf(rank)
    return scores


def test_posteriors_are_calibrated_on_simulated_trials(recovery):
    assert_consistent(z=recovery.sum(axis=0) / np.sqrt(REPLICATES), name="centre of posteriors")
    assert_chi2((recovery**2).sum(axis=0), REPLICATES, "width of posteriors")


def test_a_shifted_posterior_would_be_found(recovery):
    wrong = (recovery + 2.5).sum(axis=0) / np.sqrt(REPLICATES)
    assert_inconsistent(z=wrong, name="posteriors 2.5 sd off")


def test_prior_draw_predicts_what_new_arms_says(study, trials):
    draws, observed = prior_predictive(jax.random.key(1), study, trials, 50)
    again = new_arms(jax.random.fold_in(jax.random.key(1), 50), draws, study, trials)
    np.testing.assert_array_equal(observed, again)
