"""The receptor refit: model, protocols, optimiser and posterior, each against something known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.linalg import expm

from gabatone.inference import calibrate, receptor_posterior
from gabatone.inference.calibrate import Problem, optimise
from gabatone.inference.receptor_model import (
    TOPOLOGIES,
    build_scheme,
    build_steroid,
    coordinates_of,
    free_numbers,
    numbers_at,
)
from gabatone.inference.receptor_posterior import sample
from gabatone.inference.receptor_protocols import (
    area_tau,
    generator,
    half_dose,
    ladder,
    open_mask,
    peak,
    resting,
    rise_time,
)
from gabatone.kernels.errors import BadInput, Failure
from gabatone.kernels.receptor.catalogue import load_scheme, load_steroid
from gabatone.kernels.receptor.reversibility import cycle_ratios
from helpers.statistics import assert_detects, assert_z

KEY = jax.random.key(0)
ONE = TOPOLOGIES["one_open"]
DEFAULT = load_scheme("default_synaptic_abg_mwc")


def rates_by_edge(scheme):
    names = scheme.states
    return {
        (names[i], names[j]): float(rate)
        for i, j, rate in zip(
            scheme.source, scheme.target, np.exp(np.asarray(scheme.log_rate)), strict=True
        )
    }


# EXACT: the model


def test_prior_median_of_one_open_state_is_the_default_scheme():
    ours = rates_by_edge(build_scheme(ONE, numbers_at(ONE, np.zeros(len(free_numbers(ONE))))))
    theirs = rates_by_edge(DEFAULT)
    assert ours.keys() == theirs.keys()
    for edge, rate in theirs.items():
        # the file of the default scheme gives three or four digits
        assert ours[edge] == pytest.approx(rate, rel=3e-3), edge


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_coordinates_and_balance(name):
    topology = TOPOLOGIES[name]
    z = np.linspace(-1.0, 1.0, len(free_numbers(topology)))
    numbers = numbers_at(topology, z)
    np.testing.assert_allclose(coordinates_of(topology, numbers), z, atol=1e-9)
    product = build_steroid(numbers).product(build_scheme(topology, numbers))
    assert max(abs(c.ratio - 1) for c in cycle_ratios(product)) < 1e-9
    assert len(build_scheme(topology, numbers).open_states) == (
        1 + topology.agonists + topology.second_open
    )


# EXACT: the protocols


def test_ladder_is_the_matrix_exponential():
    q = np.asarray(generator(DEFAULT, {"GABA": 1e-2}))
    start = np.asarray(resting(DEFAULT))
    time, path = jax.jit(lambda: ladder(jnp.asarray(q), jnp.asarray(start), 3.0, 18, 8))()
    assert time[-1] == 3.0 and np.all(np.diff(time) > 0)
    for k in (0, 60, 110, -1):
        np.testing.assert_allclose(path[k], start @ expm(q * time[k]), atol=1e-11)


def test_area_tau_is_the_integral_of_the_relaxation():
    q, opened = generator(DEFAULT, {"GABA": 0.0}), np.asarray(open_mask(DEFAULT))
    final = np.asarray(resting(DEFAULT))
    start = np.zeros(DEFAULT.n_states)
    start[DEFAULT.states.index("O2")] = 1.0

    def excess(t):
        return (start @ expm(np.asarray(q) * t) - final) @ opened

    edges = [0.0, 0.01, 0.1, 1.0, 10.0, 60.0]
    area = sum(quad(excess, a, b, epsabs=1e-10)[0] for a, b in zip(edges, edges[1:], strict=False))
    assert float(area_tau(q, jnp.asarray(start), opened)) == pytest.approx(
        area / excess(0.0), rel=1e-6
    )


def test_landmarks_of_known_curves():
    time = np.geomspace(1e-5, 1.0, 140)
    rising = jnp.asarray(1 - np.exp(-time / 1e-3))
    assert float(rise_time(time, rising)) == pytest.approx(1e-3 * np.log(9), rel=5e-3)
    rate = (1000.0, 10.0)
    hump = np.exp(-rate[1] * time) - np.exp(-rate[0] * time)
    when = np.log(rate[0] / rate[1]) / (rate[0] - rate[1])
    height, at = peak(time, jnp.asarray(hump))
    assert float(at) == pytest.approx(when, rel=5e-3)
    assert float(height) == pytest.approx(
        np.exp(-rate[1] * when) - np.exp(-rate[0] * when), rel=1e-5
    )
    dose = np.append(np.geomspace(1e-6, 1e-3, 11), 1.0)
    hill = dose**1.7 / (dose**1.7 + 2.3e-5**1.7)
    assert float(half_dose(dose, jnp.asarray(hill))) == pytest.approx(2.3e-5, rel=1e-4)


def test_gradient_of_an_observable_matches_finite_differences():
    def observable(log_koff):
        numbers = numbers_at(ONE, jnp.zeros(len(free_numbers(ONE))))
        scheme = build_scheme(ONE, {**numbers, "koff": jnp.exp(log_koff)})
        opened = open_mask(scheme)
        time, path = ladder(generator(scheme, {"GABA": 1e-5}), resting(scheme), 0.5, 10, 4)
        bare = generator(scheme, {"GABA": 0.0})
        top = peak(time, path @ opened)[0]
        return top + area_tau(bare, path[-1], opened)

    f = jax.jit(jax.value_and_grad(observable))
    x, h = np.log(155.0), 1e-4
    slope = float(f(x)[1])
    finite = (float(f(x + h)[0]) - float(f(x - h)[0])) / (2 * h)
    assert abs(slope) > 1e-3
    assert slope == pytest.approx(finite, rel=1e-6)


# the optimiser and the posterior, on a loss whose answer is known


def gaussian(problem, z):
    """Independent normal coordinates: mean k/10, sd 1 + k/10."""
    k = jnp.arange(z.shape[0])
    return 0.5 * jnp.sum(((z - k / 10) / (1 + k / 10)) ** 2)


@pytest.fixture
def known_loss(monkeypatch):
    monkeypatch.setattr(calibrate, "loss", gaussian)
    monkeypatch.setattr(receptor_posterior, "loss", gaussian)


def test_optimum_and_curvature_of_a_known_loss(known_loss):
    problem = Problem(ONE)
    k = np.arange(problem.n)
    best = optimise(KEY, problem, starts=2, steps=60)
    np.testing.assert_allclose(best.z, k / 10, atol=0.1)
    np.testing.assert_allclose(best.precision, np.diag((1 + k / 10) ** -2.0), atol=1e-5)
    assert best.problems == () and best.losses.max() < 1e-3


def test_a_fit_that_stops_early_is_named(known_loss, monkeypatch):
    with pytest.raises(Failure) as found:
        optimise(KEY, Problem(ONE), starts=1, steps=1)
    assert found.value.name == "not_converged"
    kept = optimise(KEY, Problem(ONE), starts=1, steps=1, throw=False)
    assert kept.problems[0].startswith("not_converged")
    monkeypatch.setattr(calibrate, "loss", lambda problem, z: jnp.sum(z) * jnp.nan)
    with pytest.raises(Failure, match="not_finite"):
        optimise(KEY, Problem(ONE), starts=1, steps=1)


def test_starts_that_end_apart_are_named(monkeypatch):
    # two wells in the first coordinate, 3 apart in loss; the start at 0 falls into the worse one
    def two_wells(problem, z):
        near, far = 50 * (z[0] + 0.1) ** 2 + 3.0, 50 * (z[0] - 1.0) ** 2
        return jnp.minimum(near, far) + 0.5 * jnp.sum(z[1:] ** 2)

    monkeypatch.setattr(calibrate, "loss", two_wells)
    key = next(
        k
        for k in map(jax.random.key, range(50))
        if float(
            jax.random.normal(jax.random.fold_in(jax.random.fold_in(k, 0), 1), (17,), float)[0]
        )
        > 1.5
    )
    with pytest.raises(Failure, match="starts_disagree"):
        optimise(key, Problem(ONE), starts=2, steps=100)


def test_posterior_of_a_known_loss(known_loss):
    problem = Problem(ONE)
    best = optimise(KEY, problem, starts=1, steps=60)
    drawn = sample(KEY, problem, best, warmup=150, samples=400, chains=2)
    assert drawn.problems == () and drawn.diverging.sum() == 0
    assert drawn.z.shape == (2, 400, problem.n)
    k = 3
    ess = receptor_posterior.diagnose(drawn.z[..., k])["ess_bulk"]
    sd = 1 + k / 10
    error = sd / np.sqrt(ess)
    assert_z((drawn.z[..., k].mean() - k / 10) / error, "posterior mean")
    assert_detects((drawn.z[..., k].mean() - k / 10 - 1.0) / error, "posterior mean, moved by 1")
    # variance of a normal sample: sd^2 sqrt(2/n), n taken as half the effective size of the mean
    assert_z((drawn.z[..., k].var() / sd**2 - 1) / np.sqrt(2 / (ess / 2)), "posterior variance")


def test_bad_sizes_are_refused(known_loss):
    problem = Problem(ONE)
    with pytest.raises(BadInput, match=r"refit\.starts"):
        optimise(KEY, problem, starts=0)
    best = calibrate.Optimum(
        np.zeros(problem.n), 0.0, np.zeros(1), np.zeros(1), np.zeros(1), np.eye(problem.n), ()
    )
    with pytest.raises(BadInput, match=r"refit\.samples"):
        sample(KEY, problem, best, samples=2)
    with pytest.raises(BadInput, match=r"refit\.leave_out"):
        Problem(ONE, leave_out=("nothing",))


def test_steroid_of_the_prior_shares_the_fixed_numbers_of_the_catalogue():
    ours = build_steroid(numbers_at(ONE, np.zeros(len(free_numbers(ONE)))))
    theirs = load_steroid()
    assert ours.n_sites == theirs.n_sites and ours.ligand == theirs.ligand
    assert float(ours.unbinding_closed_per_s) == theirs.unbinding_closed_per_s
