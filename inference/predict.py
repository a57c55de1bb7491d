"""What the fit says of each arm, of a new arm, and how that compares with a constant effect.

Two intervals for every arm and visit. *That arm*: the underlying mean, given the arm's own rows through
its residuals. *New arm*: the observed mean of an arm that gave no data, from the fit without its trial,
with trial and arm residual and its sampling error.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_factor, cho_solve
from numpyro.handlers import seed

from gabatone.inference.evidence.loader import Trials
from gabatone.inference.fit import Posterior
from gabatone.inference.model import (
    Design,
    covariances,
    curves,
    design,
    masked,
    mean_change,
    sample_parameters,
)
from gabatone.inference.study import Study
from gabatone.kernels.errors import BadInput

COLUMNS = (
    "trial",
    "arm",
    "time_h",
    "n",
    "observed",
    "se",
    "se_kind",
    "predicted_mean",
    "lo95",
    "hi95",
    "new_arm_lo95",
    "new_arm_hi95",
    "role",
    "in_fit",
)
NAIVE_POINTS = -4.0
# stays far below any variance in points squared; keeps a Cholesky factor of a singular covariance finite
JITTER = 1e-9


def structural(draws: dict, study: Study, trials: Trials) -> np.ndarray:
    """[draw, row] change without residuals."""
    data = design(study, trials)
    with jax.enable_x64(True):
        return np.asarray(_structural(draws, study, trials.settings, data))


def arm_means(key, draws: dict, study: Study, trials: Trials, leave_out=None) -> np.ndarray:
    """[draw, row] underlying mean of each arm, given the rows in the fit (residuals included)."""
    data = design(study, trials, leave_out)
    with jax.enable_x64(True):
        return np.asarray(_arm_means(key, draws, study, trials.settings, data))


def new_arms(key, draws: dict, study: Study, trials: Trials) -> np.ndarray:
    """[draw, row] observed mean of an arm like this one in a trial that gave no data."""
    data = design(study, trials)
    with jax.enable_x64(True):
        return np.asarray(_new_arms(key, draws, study, trials.settings, data))


@eqx.filter_jit
def _structural(draws, study, settings, data):
    return jax.vmap(lambda draw: mean_change(draw, study, settings, data))(draws)


@eqx.filter_jit
def _arm_means(key, draws, study, settings, data: Design):
    def one(key, draw):
        # Matheron: a joint draw of residual and error, corrected by what the data say of their sum
        mean = mean_change(draw, study, settings, data)
        sampling, residual = covariances(draw, data)
        shift = _normal(jax.random.fold_in(key, 0), residual)
        error = _normal(jax.random.fold_in(key, 1), sampling)
        off = jnp.where(data.mask, data.observed - mean - shift - error, 0.0)
        weight = cho_solve(cho_factor(masked(sampling + residual, data.mask), lower=True), off)
        return mean + shift + residual @ jnp.where(data.mask, weight, 0.0)

    return _each(one, key, draws)


@eqx.filter_jit
def _new_arms(key, draws, study, settings, data: Design):
    def one(key, draw):
        sampling, residual = covariances(draw, data)
        return mean_change(draw, study, settings, data) + _normal(key, sampling + residual)

    return _each(one, key, draws)


def _each(one, key, draws):
    """Apply ``one(key, draw)`` to every draw, one after another.

    Not `jax.vmap`: a batched LU factorisation can wait for ever on a CPU with two cores.
    """
    number = jnp.arange(jax.tree.leaves(draws)[0].shape[0])
    return jax.lax.map(lambda x: one(jax.random.fold_in(key, x[0]), x[1]), (number, draws))


def _normal(key, covariance):
    n = covariance.shape[0]
    return jnp.linalg.cholesky(covariance + JITTER * jnp.eye(n)) @ jax.random.normal(key, (n,))


def predict_arms(key, posterior: Posterior, left_out: dict, study: Study, trials: Trials) -> dict:
    """The arm table: column -> list, columns `COLUMNS`, rows by trial, arm and time.

    ``left_out`` maps each trial to the posterior without it. ``se`` of a pooled row is the posterior
    mean of its SD over sqrt(n).
    """
    _need(left_out, trials)
    here = arm_means(jax.random.fold_in(key, 0), posterior.draws, study, trials)
    lo, hi = np.quantile(here, (0.025, 0.975), axis=0)
    new_lo, new_hi = np.empty_like(lo), np.empty_like(hi)
    for i, name in enumerate(trials.names):
        rows = np.array([row.trial == name for row in trials.rows])
        draws = new_arms(jax.random.fold_in(key, 1 + i), left_out[name].draws, study, trials)[
            :, rows
        ]
        new_lo[rows], new_hi[rows] = np.quantile(draws, (0.025, 0.975), axis=0)
    sd = float(posterior.flat("sd_pooled_points").mean())
    table = [
        (
            row.trial,
            row.arm,
            row.time_h,
            row.n,
            row.observed,
            sd / np.sqrt(row.n) if row.se is None else row.se,
            row.se_kind,
            float(here[:, i].mean()),
            float(lo[i]),
            float(hi[i]),
            float(new_lo[i]),
            float(new_hi[i]),
            row.role,
            row.in_fit,
        )
        for i, row in enumerate(trials.rows)
    ]
    table.sort(key=lambda row: row[:3])
    return {name: [row[i] for row in table] for i, name in enumerate(COLUMNS)}


def predict_curves(posterior: Posterior, study: Study, trials: Trials, n_draws: int = 400) -> dict:
    """Change over the whole grid without residuals: ``"trial arm"`` -> mean, lo95, hi95 [grid]; ``time_h``."""
    draws = thin(posterior.draws, n_draws)
    data = design(study, trials)
    with jax.enable_x64(True):
        every = np.asarray(_curves(draws, study, trials.settings, data))
    lo, hi = np.quantile(every, (0.025, 0.975), axis=0)
    table = {"time_h": np.asarray(study.time_h)}
    for a, arm in enumerate(trials.arms):
        table[f"{arm.trial} {arm.arm}"] = {
            "mean": every[:, a].mean(0),
            "lo95": lo[a],
            "hi95": hi[a],
        }
    return table


@eqx.filter_jit
def _curves(draws, study, settings, data):
    return jax.lax.map(lambda draw: curves(draw, study, settings, data), draws, batch_size=16)


def thin(draws: dict, n: int) -> dict:
    """At most ``n`` evenly spaced draws."""
    total = next(iter(draws.values())).shape[0]
    keep = np.linspace(0, total - 1, min(n, total)).round().astype(int)
    return {name: value[keep] for name, value in draws.items()}


def prior_predictive(key, study: Study, trials: Trials, n: int = 1000) -> tuple[dict, np.ndarray]:
    """``n`` prior draws and the observed means [draw, row] they predict."""
    data = design(study, trials)
    with jax.enable_x64(True):
        draws = jax.tree.map(np.asarray, _prior(key, study, trials.settings, data, n))
    return draws, new_arms(jax.random.fold_in(key, n), draws, study, trials)


@eqx.filter_jit
def _prior(key, study, settings, data, n):
    def one(i):
        return seed(sample_parameters, jax.random.fold_in(key, i))(study, settings, data)

    return jax.vmap(one)(jnp.arange(n))


def summary(posterior: Posterior) -> list[dict]:
    """One row a parameter: mean, sd, 95 % interval, R-hat, effective sample sizes."""
    table = []
    for name, worth in posterior.diagnostics.items():
        base, _, index = name.partition("[")
        draws = posterior.flat(base)
        draws = draws[:, int(index[:-1])] if index else draws
        lo, hi = np.quantile(draws, (0.025, 0.975))
        table.append(
            {
                "parameter": name,
                "mean": float(draws.mean()),
                "median": float(np.median(draws)),
                "sd": float(draws.std(ddof=1)),
                "lo95": float(lo),
                "hi95": float(hi),
                **worth,
            }
        )
    return table


def drug_minus_placebo(trials: Trials) -> list[tuple[int, int]]:
    """Pairs (row of a drug arm, row of the placebo arm of the same trial and visit)."""
    at = {(r.trial, r.arm, r.time_h): i for i, r in enumerate(trials.rows)}
    return [
        (i, at[trial, "PBO", time_h])
        for (trial, arm, time_h), i in at.items()
        if arm != "PBO" and (trial, "PBO", time_h) in at
    ]


def left_out_contrasts(
    left_out: dict, study: Study, trials: Trials
) -> tuple[list, np.ndarray, np.ndarray]:
    """Pairs of rows, contrasts observed [pair], and contrasts predicted without the trial [draw, pair]."""
    _need(left_out, trials)
    pairs = drug_minus_placebo(trials)
    observed = np.array([trials.rows[d].observed - trials.rows[p].observed for d, p in pairs])
    length = min(p.flat("gain").shape[0] for p in left_out.values())
    predicted = np.empty((length, len(pairs)))
    for name in trials.names:
        change = structural(thin(left_out[name].draws, length), study, trials)
        for k, (d, p) in enumerate(pairs):
            if trials.rows[d].trial == name:
                predicted[:, k] = change[:, d] - change[:, p]
    return pairs, observed, predicted


def compare_with_constant(left_out: dict, study: Study, trials: Trials) -> list[dict]:
    """Error of left-out contrasts, ours and of a constant -4 points, by group of visits.

    ``*_rmse`` in points counts every contrast alike; ``*_rms_z`` divides each by its standard error, so
    that a trial of 21 women does not decide.
    """
    pairs, observed, predicted = left_out_contrasts(left_out, study, trials)
    sd = {
        name: float(posterior.flat("sd_pooled_points").mean())
        for name, posterior in left_out.items()
    }
    se = np.array(
        [
            np.hypot(
                *(
                    sd[r.trial] / np.sqrt(r.n) if r.se is None else r.se
                    for r in (trials.rows[d], trials.rows[p])
                )
            )
            for d, p in pairs
        ]
    )
    ours, naive = predicted.mean(axis=0) - observed, NAIVE_POINTS - observed
    hours = np.array([trials.rows[d].time_h for d, _ in pairs])
    groups = {
        "all": hours > 0,
        "onset to 8 h": hours <= 8,
        "60 h": hours == 60,
        "day 30": hours == 696,
    }
    return [
        {
            "visits": name,
            "contrasts": int(which.sum()),
            "ours_rmse": _rms(ours[which]),
            "constant_rmse": _rms(naive[which]),
            "ours_rms_z": _rms((ours / se)[which]),
            "constant_rms_z": _rms((naive / se)[which]),
        }
        for name, which in groups.items()
        if which.any()
    ]


def _rms(error) -> float:
    return float(np.sqrt(np.mean(np.square(error))))


def _need(left_out, trials):
    for name in trials.names:
        if name not in left_out or left_out[name].leave_out != name:
            raise BadInput(
                "left_out",
                sorted(left_out),
                f"no posterior without {name}",
                "pass the result of fit_leave_one_out on the same trials",
            )
