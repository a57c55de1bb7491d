"""Posterior of the free numbers of a receptor scheme by NUTS, in coordinates whitened at the optimum."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.infer.hmc import hmc

from gabatone.inference.calibrate import Optimum, Problem, loss
from gabatone.inference.diagnostics import diagnose
from gabatone.inference.receptor_model import free_numbers, numbers_at
from gabatone.inference.receptor_observables import observe
from gabatone.kernels.errors import BadInput, Failure

R_HAT_LIMIT, ESS_LIMIT = 1.01, 200.0
TARGET_ACCEPT, TREE_DEPTH = 0.85, 7
# named coordinate of the random streams below a caller's key
CHAIN = 1


@dataclass(frozen=True)
class ReceptorPosterior:
    """Draws of the free numbers: ``samples`` name -> [chain, draw], ``z`` [chain, draw, number].

    ``diverging``, ``accept`` and ``leapfrog_steps`` are [chain, draw]; ``diagnostics`` has r_hat,
    ess_bulk and ess_tail by name; ``problems`` are the limits missed.
    """

    samples: dict
    z: np.ndarray
    diagnostics: dict
    diverging: np.ndarray
    accept: np.ndarray
    leapfrog_steps: np.ndarray
    problems: tuple[str, ...]


def sample(
    key, problem: Problem, optimum: Optimum, *, warmup=200, samples=300, chains=2, throw=True
) -> ReceptorPosterior:
    """NUTS (NumPyro) on `loss`, float64, each chain from its own point around the optimum.

    With P the curvature there, z = z_optimum + P^(-1/2) u: the posterior of u is near a standard
    normal, so that trajectories stay short. Raises `Failure` named ``nan``, ``divergence``, ``r_hat``
    (limit 1.01) or ``ess`` (limit 200); without `throw` the names stand in ``problems``.
    """
    for name, value in {"warmup": warmup, "samples": samples, "chains": chains}.items():
        least = 8 if name == "samples" else 1
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise BadInput(
                f"refit.{name}",
                value,
                f"not a whole number of at least {least}",
                f"give {least} or more",
            )
    with jax.enable_x64(True):
        middle = jnp.asarray(optimum.z)
        spread = jnp.asarray(np.linalg.inv(np.linalg.cholesky(optimum.precision)).T)

        def place(u):
            return middle + spread @ u

        def energy(u):
            value = loss(problem, place(u))
            # a scheme beyond float64 is no place to be, not an error
            return jnp.where(jnp.isfinite(value), value, jnp.inf)

        run = jax.jit(lambda k: _chain(energy, k, problem.n, warmup, samples))
        keys = [jax.random.fold_in(jax.random.fold_in(key, CHAIN), c) for c in range(chains)]
        run = run.lower(keys[0]).compile()
        with ThreadPoolExecutor(2) as pool:
            kept = list(pool.map(lambda k: jax.tree.map(np.asarray, run(k)), keys))
        joined = {name: np.stack([chain[name] for chain in kept]) for name in kept[0]}
        z = np.asarray(jax.vmap(jax.vmap(place))(joined["u"]))
        each = jax.vmap(jax.vmap(lambda x: numbers_at(problem.topology, x)))(z)
    values = {name: np.asarray(value) for name, value in each.items()}
    diagnostics = {name: diagnose(value) for name, value in values.items()}
    problems = _problems(diagnostics, int(joined["diverging"].sum()))
    if throw and problems:
        raise Failure(*problems[0])
    return ReceptorPosterior(
        values,
        z,
        diagnostics,
        joined["diverging"],
        joined["accept"],
        joined["steps"],
        tuple(f"{name}: {text}" for name, text in problems),
    )


def _chain(energy, key, n: int, warmup: int, samples: int) -> dict:
    init, step = hmc(energy, algo="NUTS")
    start = 0.5 * jax.random.normal(jax.random.fold_in(key, 0), (n,), float)
    state = init(
        start,
        warmup,
        trajectory_length=None,
        target_accept_prob=TARGET_ACCEPT,
        max_tree_depth=TREE_DEPTH,
        rng_key=jax.random.key_data(jax.random.fold_in(key, 1)),
    )

    def one(state, _):
        state = step(state)
        kept = {
            "u": state.z,
            "diverging": state.diverging,
            "accept": state.accept_prob,
            "steps": state.num_steps,
        }
        return state, kept

    # one loop for both phases: the step is compiled once
    _, kept = jax.lax.scan(one, state, None, length=warmup + samples)
    return {name: value[warmup:] for name, value in kept.items()}


def _problems(diagnostics: dict, divergences: int) -> list[tuple[str, str]]:
    found = []
    if bad := [n for n, d in diagnostics.items() if not np.isfinite(d["r_hat"])]:
        found.append(("nan", f"draws of {', '.join(bad)} are not finite or do not move"))
    if divergences:
        found.append(("divergence", f"{divergences} divergent transitions; raise refit.warmup"))
    if bad := [
        f"{n} {d['r_hat']:.3f}" for n, d in diagnostics.items() if d["r_hat"] >= R_HAT_LIMIT
    ]:
        found.append(
            ("r_hat", f"R-hat at or above {R_HAT_LIMIT}: {', '.join(bad)}; raise refit.samples")
        )
    low = {n: min(d["ess_bulk"], d["ess_tail"]) for n, d in diagnostics.items()}
    if bad := [f"{n} {v:.0f}" for n, v in low.items() if v <= ESS_LIMIT]:
        found.append(
            (
                "ess",
                f"effective size at or below {ESS_LIMIT:.0f}: {', '.join(bad)}; raise refit.samples",
            )
        )
    return found


def predict(problem: Problem, z, most: int = 100) -> dict[str, np.ndarray]:
    """Fitted observables of up to `most` draws spread evenly over `z` [chain, draw, number]."""
    with jax.enable_x64(True):
        flat = np.asarray(z).reshape(-1, len(free_numbers(problem.topology)))
        flat = flat[np.linspace(0, len(flat) - 1, min(most, len(flat))).astype(int)]
        seen = jax.jit(lambda rows: jax.lax.map(lambda x: observe(problem.subject(x)), rows))(flat)
        return {name: np.asarray(value) for name, value in seen.items()}
