import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gabatone.inference.evidence.loader import REGIMENS
from gabatone.inference.outcome import Response, change, inhibition, resolve

ARMS = jnp.arange(3)
BASELINE = jnp.array([28.4, 29.0, 28.6])
SETTING = jnp.zeros(3, dtype=int)
PBO = REGIMENS.index("PBO")


changed = eqx.filter_jit(change)


def make_response(**changes):
    values = dict(
        kp_eff=1.0,
        k_on_per_h=0.07,
        k_off_per_h=4e-4,
        k_self_per_h=5e-4,
        severity_slope_per_point=-0.3,
        severity_centre_points=25.5,
        gain=0.6,
        immediate=0.2,
        immediate_rate_per_h=1.5,
        placebo=[0.4],
        placebo_rate_per_h=[0.07],
    )
    return Response(
        **{name: jnp.asarray(value, float) for name, value in (values | changes).items()}
    )


def all_changes(study, **changes):
    at = jnp.arange(study.time_h.shape[0])
    return changed(make_response(**changes), study, ARMS, BASELINE, SETTING, at)


def test_turnover_agrees_with_an_ode_solver():
    rng = np.random.default_rng(1)
    edges = np.concatenate([[0.0], np.cumsum(rng.uniform(0.2, 20.0, 40))])
    gain = rng.uniform(0.0, 0.2, 40) * (rng.uniform(size=40) > 0.3)
    loss = 0.003
    ours = jax.vmap(lambda at: resolve(jnp.diff(edges), jnp.asarray(gain), loss, at))(
        jnp.arange(edges.size)
    )

    @jax.jit
    def solve(value, a, start, stop):
        return diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, y, args: args * (1 - y) - loss * y),
            diffrax.Tsit5(),
            start,
            stop,
            0.01,
            value,
            args=a,
            stepsize_controller=diffrax.PIDController(rtol=1e-10, atol=1e-12),
        ).ys[-1]

    theirs = [jnp.array(0.0)]
    for a, start, stop in zip(gain, edges[:-1], edges[1:], strict=True):
        theirs.append(solve(theirs[-1], a, start, stop))
    np.testing.assert_allclose(ours, theirs, atol=1e-6, rtol=0)


def test_turnover_limits():
    step = jnp.ones(5)
    assert resolve(step, jnp.zeros(5), 0.0, 5) == 0.0
    np.testing.assert_allclose(resolve(step, jnp.full(5, 1e-13), 0.0, 5), 5e-13, rtol=1e-9)
    # stiff and long: settles at a/(a + k) without overflow
    np.testing.assert_allclose(resolve(1e4 * step, jnp.full(5, 3.0), 1.0, 5), 0.75, rtol=1e-12)
    assert resolve(step, jnp.ones(5), 0.1, 0) == 0.0


@pytest.mark.parametrize("n", [2, 4])
def test_grid_is_fine_enough(made_study, n):
    coarse = made_study()
    fine = made_study(refine=n)
    same = np.searchsorted(np.asarray(fine.time_h), np.asarray(coarse.time_h))
    off = np.asarray(all_changes(fine))[:, same] - np.asarray(all_changes(coarse))
    assert np.abs(off).max() < 0.02


def test_no_change_at_the_start_and_bounded_by_the_baseline(study):
    ours = np.asarray(all_changes(study))
    np.testing.assert_allclose(ours[:, 0], 0.0, atol=1e-12)
    assert np.all(ours <= 0) and np.all(ours >= -BASELINE[:, None])


def test_placebo_has_no_inhibition_and_drug_has(study):
    level = inhibition(study, 1.0)
    assert np.all(np.asarray(level[PBO]) == 0.0)
    assert np.all(np.asarray(level[:2, 1:]).max(axis=1) > 0.2)


def test_more_drug_lowers_the_score_more(study):
    at_60 = int(np.flatnonzero(np.asarray(study.time_h) == 60.0)[0])
    falls = [float(all_changes(study, kp_eff=k)[0, at_60]) for k in (0.1, 0.5, 1.0, 3.0)]
    assert np.all(np.diff(falls) < 0)


CUTS = {
    "transfer": (dict(transfer=jnp.ones_like), {}),
    "effect site": ({}, dict(kp_eff=0.0)),
    "exposure": (dict(exposure=0.0), {}),
    "turnover": ({}, dict(k_on_per_h=0.0)),
    "gain": ({}, dict(gain=0.0)),
}


@pytest.mark.parametrize("arrow", CUTS)
def test_cutting_an_arrow_makes_drug_arms_placebo_arms(made_study, arrow):
    of_study, of_response = CUTS[arrow]
    study = made_study(**of_study)
    response = make_response(**of_response)
    at = jnp.arange(study.time_h.shape[0])
    same = changed(response, study, ARMS, jnp.full(3, 28.6), SETTING, at)
    np.testing.assert_allclose(same[:2], same[2:].repeat(2, axis=0), atol=1e-9)
    whole = changed(make_response(), made_study(), ARMS, jnp.full(3, 28.6), SETTING, at)
    assert np.abs(np.asarray(whole[0] - whole[2])).max() > 2.0


def test_only_firing_relative_to_the_local_pool_counts(made_study, study):
    shifted = made_study(transfer=lambda c: 7.0 * study.transfer(c))
    np.testing.assert_allclose(inhibition(shifted, 1.0), inhibition(study, 1.0), atol=1e-14)


def test_moderate_depression_catches_up_and_severe_does_not(study):
    at = jnp.array([np.flatnonzero(np.asarray(study.time_h) == h)[0] for h in (60.0, 696.0)])
    two = jnp.array([0, PBO])

    def contrast(baseline):
        ours = changed(
            make_response(k_self_per_h=2e-3), study, two, jnp.full(2, baseline), SETTING[:2], at
        )
        return np.asarray(ours[0] - ours[1])

    severe, moderate = contrast(28.6), contrast(22.7)
    assert moderate[1] / moderate[0] < 0.5 * severe[1] / severe[0]


def test_gradients_are_finite_everywhere(study):
    def loss(response):
        return jnp.sum(
            change(response, study, ARMS, BASELINE, SETTING, jnp.arange(study.time_h.shape[0])) ** 2
        )

    slope = jax.jit(jax.grad(loss))
    for changes in (
        {},
        {"kp_eff": 0.0},
        {"gain": 0.0},
        {"k_on_per_h": 1e3},
        {"k_off_per_h": 1e-12},
    ):
        for leaf in jax.tree.leaves(slope(make_response(**changes))):
            assert np.all(np.isfinite(leaf))


def test_gradient_agrees_with_differences(study):
    def at_60(kp):
        return all_changes(study, kp_eff=kp)[0, -1]

    slope = jax.grad(at_60)(1.0)
    np.testing.assert_allclose(slope, (at_60(1 + 1e-5) - at_60(1 - 1e-5)) / 2e-5, rtol=1e-6)
