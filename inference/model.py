"""NumPyro model of published arm means, residuals marginalised.

The observed changes are one multivariate normal. Its mean is `outcome`; its covariance is

    sampling: D R D within an arm (the same women at every visit, R = exp(-|dx|/visit_length)),
    arm:      sigma_arm^2 R within an arm, chance imbalance beyond sampling,
    trial:    sigma_trial^2 R among all arms of a trial,

with x = log(1 + hours). Randomness that only shifts arms is integrated out, so the sampler sees
about 16 parameters. Rows out of the fit are replaced by independent standard normals observed at their
mean: no information, same shapes, no second compilation.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Bool, Float, Int

from gabatone.inference.evidence.loader import Trials
from gabatone.inference.outcome import Response, change, regimen_index
from gabatone.inference.study import Study
from gabatone.kernels.errors import BadInput

OUTCOME = (
    "kp_eff",
    "k_on_per_h",
    "k_off_per_h",
    "k_self_per_h",
    "severity_slope_per_point",
    "gain",
    "immediate",
    "immediate_rate_per_h",
)
SCORE = "_score"
# stays a host array of float64 until a program takes it, whatever the default width is
Host = jax.Array | np.ndarray
RESIDUAL = ("sigma_arm_points", "sigma_trial_points", "visit_length", "sd_pooled_points")


class Design(eqx.Module):
    """The trial table as arrays; rows [row], arms [arm].

    ``visit`` [row] is a position in ``visit_grid``, which holds grid positions; ``mask`` marks rows in the fit.
    """

    observed: Float[Host, " row"]
    se: Float[Host, " row"]
    pooled: Bool[Host, " row"]
    root_n: Float[Host, " row"]
    log_time: Float[Host, " row"]
    visit: Int[Host, " row"]
    visit_grid: Int[Host, " visit"]
    arm: Int[Host, " row"]
    trial: Int[Host, " row"]
    mask: Bool[Host, " row"]
    regimen: Int[Host, " arm"]
    setting: Int[Host, " arm"]
    baseline: Float[Host, " arm"]
    latent: Int[Host, " latent"]
    latent_loc: Float[Host, " latent"]
    latent_scale: Float[Host, " latent"]
    latent_low: Float[Host, " latent"]


def design(study: Study, trials: Trials, leave_out: str | None = None) -> Design:
    """Arrays of a trial table on the grid of a study, with one trial masked if wanted.

    Raises `BadInput` for a visit that is not on the grid, a setting without prior cards, or an unknown trial.
    """
    if leave_out is not None and leave_out not in trials.names:
        raise BadInput(
            "leave_out", leave_out, "no such trial", f"use one of {', '.join(trials.names)}"
        )
    rows, arms = trials.rows, trials.arms
    time_h = np.asarray(study.time_h)
    visits = [int(np.argmin(np.abs(time_h - row.time_h))) for row in rows]
    for row, at in zip(rows, visits, strict=True):
        if abs(time_h[at] - row.time_h) > 1e-9 * max(1.0, row.time_h):
            raise BadInput(
                "study.time_h",
                row.time_h,
                f"the visit of row {row.line} is not on the grid",
                "put every visit time on the grid",
            )
    for setting in trials.settings:
        for name in (f"placebo_{setting}", f"placebo_rate_{setting}_per_h"):
            if name not in study.prior:
                raise BadInput(
                    f"priors: {name}", None, f"setting {setting} has no such prior", f"add [{name}]"
                )
    latent = [a for a, arm in enumerate(arms) if arm.baseline is None]
    loc, scale = (
        zip(*(_latent_baseline(trials, arms[a]) for a in latent), strict=True)
        if latent
        else ((), ())
    )
    float_ = lambda values: np.asarray(values, dtype=np.float64)  # noqa: E731
    return Design(
        observed=float_([r.observed for r in rows]),
        se=float_([1.0 if r.se is None else r.se for r in rows]),
        pooled=np.array([r.se is None for r in rows]),
        root_n=np.sqrt(float_([max(r.n, 1) for r in rows])),
        log_time=np.log1p(float_([r.time_h for r in rows])),
        visit=np.searchsorted(np.unique(visits), visits),
        visit_grid=np.unique(visits),
        arm=np.array([trials.arm_of(r) for r in rows]),
        trial=np.array([trials.names.index(r.trial) for r in rows]),
        mask=trials.in_fit & np.array([r.trial != leave_out for r in rows]),
        regimen=np.array([regimen_index(a.arm) for a in arms]),
        setting=np.array([trials.settings.index(a.setting) for a in arms]),
        baseline=float_([0.0 if a.baseline is None else a.baseline for a in arms]),
        latent=np.array(latent, dtype=np.int64),
        latent_loc=float_(loc),
        latent_scale=float_(scale),
        latent_low=float_([arms[a].entry_min for a in latent]),
    )


def _latent_baseline(trials: Trials, arm) -> tuple[float, float]:
    """Centre and sd for the mean baseline of an arm: read baselines under the same entry score."""
    like = [
        a for a in trials.arms if a.entry_min == arm.entry_min and a.baseline is not None and a.n
    ]
    if not like:
        raise BadInput(
            f"{arm.trial} {arm.arm}: baseline_HAMD17",
            None,
            "no other arm with a read baseline has the same entry score",
            "add a read baseline",
        )
    n = np.array([a.n for a in like])
    centre = float(np.average([a.baseline for a in like], weights=n))
    spread = float(np.sqrt(np.average([a.baseline_sd**2 for a in like], weights=n)))
    return centre, spread / np.sqrt(max(arm.n or 1, 1))


def _names(settings) -> tuple[str, ...]:
    placebo = [n for s in settings for n in (f"placebo_{s}", f"placebo_rate_{s}_per_h")]
    return (*OUTCOME, *RESIDUAL, *placebo)


def _sample(name, prior):
    """One parameter; a half-normal is sampled as the quantile of a normal score.

    Its logarithm has a long flat tail towards 0 in which a sampler strays; the score has none.
    """
    if prior.family != "halfnormal":
        return numpyro.sample(name, prior.distribution())
    score = numpyro.sample(name + SCORE, dist.Normal(0.0, 1.0))
    return numpyro.deterministic(name, prior.spread * ndtri(0.5 + 0.5 * ndtr(score)))


def sample_parameters(study: Study, settings, data: Design) -> dict:
    """Sample every parameter from its prior (NumPyro sites); vectors over latent arms and settings."""
    draw = {name: _sample(name, study.prior[name]) for name in _names(settings)}
    if data.latent.shape[0]:
        draw["baseline_latent"] = _sample_latent(data)
    return draw


def _sample_latent(data: Design):
    """Baselines from normals truncated at the entry score, again as quantiles of normal scores."""
    name = "baseline_latent"
    score = numpyro.sample(name + SCORE, dist.Normal(jnp.zeros(data.latent.shape), 1.0).to_event(1))
    below = ndtr((data.latent_low - data.latent_loc) / data.latent_scale)
    share = below + (1.0 - below) * ndtr(score)
    return numpyro.deterministic(name, data.latent_loc + data.latent_scale * ndtri(share))


def prior_medians(study: Study, settings, data: Design) -> dict:
    """The sampled sites at their prior medians."""
    draw = {}
    for name in _names(settings):
        half = study.prior[name].family == "halfnormal"
        draw[name + SCORE * half] = jnp.asarray(0.0 if half else study.prior[name].value)
    if data.latent.shape[0]:
        draw["baseline_latent" + SCORE] = jnp.zeros(data.latent.shape)
    return draw


def response(draw: dict, study: Study, settings) -> Response:
    """The parameters of `outcome` among a draw."""
    return Response(
        **{name: draw[name] for name in OUTCOME},
        severity_centre_points=jnp.asarray(study.prior["severity_centre_points"].value),
        placebo=jnp.stack([draw[f"placebo_{s}"] for s in settings]),
        placebo_rate_per_h=jnp.stack([draw[f"placebo_rate_{s}_per_h"] for s in settings]),
    )


def baselines(draw: dict, data: Design) -> jax.Array:
    """[arm] baseline score, sampled where only a recalled number exists."""
    if not data.latent.shape[0]:
        return jnp.asarray(data.baseline)
    return jnp.asarray(data.baseline).at[data.latent].set(draw["baseline_latent"])


def mean_change(draw: dict, study: Study, settings, data: Design) -> jax.Array:
    """[row] change in points at each visit, without residuals."""
    return _change(draw, study, settings, data, jnp.asarray(data.visit_grid))[data.arm, data.visit]


def curves(draw: dict, study: Study, settings, data: Design) -> jax.Array:
    """[arm, grid] change in points, without residuals."""
    return _change(draw, study, settings, data, jnp.arange(study.time_h.shape[0]))


def _change(draw, study, settings, data, at):
    return change(
        response(draw, study, settings),
        study,
        jnp.asarray(data.regimen),
        baselines(draw, data),
        jnp.asarray(data.setting),
        at,
    )


def covariances(draw: dict, data: Design) -> tuple[jax.Array, jax.Array]:
    """[row, row] sampling and residual (arm plus trial) covariance in points squared."""
    apart = jnp.abs(data.log_time[:, None] - data.log_time)
    correlation = jnp.exp(-apart / draw["visit_length"])
    same_arm = data.arm[:, None] == data.arm
    same_trial = data.trial[:, None] == data.trial
    se = jnp.where(data.pooled, draw["sd_pooled_points"] / data.root_n, data.se)
    sampling = jnp.where(same_arm, se[:, None] * se * correlation, 0.0)
    residual = correlation * (
        jnp.where(same_arm, draw["sigma_arm_points"] ** 2, 0.0)
        + jnp.where(same_trial, draw["sigma_trial_points"] ** 2, 0.0)
    )
    return sampling, residual


def masked(covariance, mask) -> jax.Array:
    """[row, row] covariance with rows out of the fit made independent with variance 1."""
    both = mask[:, None] & mask
    return jnp.where(both, covariance, jnp.eye(mask.shape[0]))


def trial_model(study: Study, settings, data: Design):
    """The NumPyro model; observes ``data.observed`` where ``data.mask``."""
    draw = sample_parameters(study, settings, data)
    mean = jnp.where(data.mask, mean_change(draw, study, settings, data), 0.0)
    sampling, residual = covariances(draw, data)
    numpyro.sample(
        "change",
        dist.MultivariateNormal(mean, masked(sampling + residual, data.mask)),
        obs=jnp.where(data.mask, data.observed, 0.0),
    )
