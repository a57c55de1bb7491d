"""Fit of a receptor scheme and its steroid site to published observables: optax, then a posterior.

Free numbers live in standard-normal coordinates z (see `receptor_model`). The fit minimises half the
sum of squares of `residuals`: published numbers on a log scale with their standard error and a model
error, the deactivation curve, and z itself (the prior).
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gabatone.inference.receptor_model import (
    Topology,
    build_scheme,
    build_steroid,
    free_numbers,
    numbers_at,
)
from gabatone.inference.receptor_observables import CURVE_TIME_S, Subject, observe
from gabatone.inference.targets import Target, load_targets, published_curve
from gabatone.kernels.card import read_cards
from gabatone.kernels.errors import BadInput, Failure
from gabatone.kernels.receptor.catalogue import load_scheme

FILE = Path(__file__).parent / "refit.toml"
DELTA = "default_extrasynaptic_abd_mwc"
# named coordinates of the random streams below a caller's key
STARTS = 0
_GRADIENT_LIMIT, _SAME_LOSS = 0.05, 0.5


@dataclass(frozen=True, eq=False)
class Problem:
    """A topology with the targets it is fitted to; ``leave_out`` names calibration rows not used."""

    topology: Topology
    targets: dict[str, Target] = field(default_factory=load_targets)
    leave_out: tuple[str, ...] = ()

    def __post_init__(self):
        for name in self.leave_out:
            if name not in self.fitted_ids + self.leave_out or name not in self.targets:
                raise BadInput(
                    "refit.leave_out", name, "no such target", "use an id of targets.csv"
                )

    @property
    def n(self) -> int:
        """Number of free numbers."""
        return len(free_numbers(self.topology))

    @property
    def fitted_ids(self) -> tuple[str, ...]:
        """Calibration rows that are single numbers, those of the curve apart."""
        return tuple(
            name
            for name, t in self.targets.items()
            if t.use == "calibration" and t.value and not name.startswith("curve")
            if name not in self.leave_out
        )

    @cached_property
    def data(self) -> dict[str, np.ndarray]:
        """Logs of the fitted numbers and their sd [target]; the curve and its weight [time]."""
        cards = read_cards(FILE)
        rows = [self.targets[name] for name in self.fitted_ids]
        value = np.array([t.value for t in rows])
        error = np.array([t.error or 0.0 for t in rows]) / value
        curve, curve_error = published_curve(self.targets, CURVE_TIME_S)
        floor = cards["curve_error"].value
        sd = np.sqrt(curve_error**2 + floor**2)
        share = np.sqrt(cards["curve_numbers"].value / len(CURVE_TIME_S))
        return {
            "log_value": np.log(value),
            "log_sd": np.sqrt(error**2 + cards["model_error"].value ** 2),
            "curve": curve,
            "curve_weight": share / sd,
        }

    @cached_property
    def delta(self):
        """The fixed extrasynaptic scheme on which the same steroid site acts."""
        return load_scheme(DELTA)

    def subject(self, z) -> Subject:
        """Scheme and steroid at coordinates `z` [number]."""
        numbers = numbers_at(self.topology, z)
        return Subject(build_scheme(self.topology, numbers), build_steroid(numbers), self.delta)


def residuals(problem: Problem, z):
    """Standardised misfits: fitted numbers, deactivation curve, prior; [target + time + number]."""
    seen, data = observe(problem.subject(z)), problem.data
    ours = jnp.stack([seen[name] for name in problem.fitted_ids])
    numbers = (jnp.log(ours) - data["log_value"]) / data["log_sd"]
    curve = (seen["curve"] - data["curve"]) * data["curve_weight"]
    return jnp.concatenate([numbers, curve, z])


def loss(problem: Problem, z):
    """Half the sum of squared residuals: minus the log posterior density, but for a constant."""
    return 0.5 * jnp.sum(residuals(problem, z) ** 2)


@dataclass(frozen=True)
class Optimum:
    """Result of the optax fit: coordinates [number], and loss, gradient norm and steps of every start.

    ``precision`` [number, number] is the curvature of the loss at ``z``; ``problems``
    name the checks of convergence that failed.
    """

    z: np.ndarray
    loss: float
    losses: np.ndarray
    gradients: np.ndarray
    steps: np.ndarray
    precision: np.ndarray
    problems: tuple[str, ...]


def optimise(key, problem: Problem, *, starts=4, steps=150, spread=0.5, throw=True) -> Optimum:
    """Minimise `loss` by L-BFGS (optax) with a backtracking line search, from several starts.

    The first start is the prior median, the others lie `spread` prior standard deviations around
    it. Raises `Failure` named ``not_finite``, ``not_converged`` (gradient of the best start above
    0.05) or ``starts_disagree`` (no second start within 0.5 of the best loss); without `throw`
    the names stand in ``problems``.
    """
    for name, value in {"starts": starts, "steps": steps}.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise BadInput(f"refit.{name}", value, "not a whole number above 0", "give 1 or more")
    with jax.enable_x64(True):
        both = jax.jit(jax.value_and_grad(lambda z: loss(problem, z)))
        own = jax.random.fold_in(key, STARTS)
        noise = [
            jax.random.normal(jax.random.fold_in(own, k), (problem.n,), float)
            for k in range(starts)
        ]
        begin = [jnp.zeros(problem.n), *(spread * e for e in noise[1:])]
        both = both.lower(begin[0]).compile()
        with ThreadPoolExecutor(2) as pool:
            ends = list(pool.map(lambda z: _descend(both, z, steps), begin))
        z, value, gradient, count = (np.stack(x) for x in zip(*ends, strict=True))
        best = int(np.argmin(np.where(np.isfinite(value), value, np.inf)))
        precision = _curvature(both, z[best]) if np.isfinite(value[best]) else np.eye(problem.n)
    problems = _convergence(value, gradient, best)
    if throw and problems:
        raise Failure(*problems[0])
    return Optimum(
        z[best],
        float(value[best]),
        value,
        gradient,
        count,
        precision,
        tuple(f"{name}: {text}" for name, text in problems),
    )


def _descend(both, z, steps: int):
    """End point, loss, gradient norm and number of steps of one start."""
    optimiser = optax.scale_by_lbfgs(memory_size=15)
    state, update = optimiser.init(z), jax.jit(optimiser.update)
    value, slope = both(z)
    count = 0
    while count < steps and float(jnp.linalg.norm(slope)) > _GRADIENT_LIMIT / 10:
        way, state = update(slope, state, z)
        way = -jnp.asarray(way)
        along = float(way @ slope)
        if not along < 0:
            way, along = -slope, -float(slope @ slope)
        # a step of more than two prior standard deviations is not trusted
        length = min(1.0, 2.0 / float(jnp.abs(way).max()))
        for _ in range(30):
            new, new_slope = both(z + length * way)
            if float(new) <= float(value) + 1e-4 * length * along:
                break
            length *= 0.4
        else:
            break
        z, value, slope, count = z + length * way, new, new_slope, count + 1
    return np.asarray(z), float(value), float(jnp.linalg.norm(slope)), count


def _curvature(both, z, step: float = 1e-3) -> np.ndarray:
    """Second derivatives of the loss [number, number] by central differences of its gradient."""
    rows = [
        (np.asarray(both(z + step * e)[1]) - np.asarray(both(z - step * e)[1])) / (2 * step)
        for e in np.eye(len(z))
    ]
    whole = (np.array(rows) + np.array(rows).T) / 2
    value, vector = np.linalg.eigh(whole)
    return (vector * np.maximum(value, 0.1)) @ vector.T


def _convergence(losses, gradients, best: int) -> list[tuple[str, str]]:
    if not np.isfinite(losses[best]):
        return [("not_finite", "no start reached a finite loss; narrow the priors")]
    problems = []
    if not gradients[best] < _GRADIENT_LIMIT:
        problems.append(
            (
                "not_converged",
                f"the gradient is still {gradients[best]:.2g} at the best start; raise refit.steps",
            )
        )
    close = losses < losses[best] + _SAME_LOSS
    if len(losses) > 1 and close.sum() < 2:
        problems.append(
            (
                "starts_disagree",
                f"only one start of {len(losses)} came within {_SAME_LOSS} of the best loss "
                f"{losses[best]:.2f}; raise refit.starts or refit.steps",
            )
        )
    return problems
