"""Posteriors as ArviZ data: `InferenceData` with ArviZ 0.x, an xarray `DataTree` with 1.x."""

import warnings

import numpy as np

from gabatone.inference.evidence.loader import Trials
from gabatone.inference.fit import Posterior


def to_arviz(posterior: Posterior, trials: Trials, predictive=None):
    """Groups posterior, sample_stats, observed_data and, if given, posterior_predictive.

    ``predictive`` is [draw of all chains, row], as `predict.new_arms` gives it for the fit. Rows are
    labelled ``trial arm time_h``. Both kinds of result have ``.to_netcdf(path)``.
    """
    groups = {
        "posterior": dict(posterior.samples),
        "sample_stats": {
            "diverging": posterior.diverging,
            "n_steps": posterior.leapfrog_steps,
            "acceptance_rate": posterior.accept,
        },
        "observed_data": {"change": np.array([row.observed for row in trials.rows])},
    }
    if predictive is not None:
        chains, draws = posterior.accept.shape
        groups["posterior_predictive"] = {
            "change": np.asarray(predictive).reshape(chains, draws, -1)
        }
    latent = [f"{a.trial} {a.arm}" for a in trials.arms if a.baseline is None]
    labels = {
        "coords": {
            "row": [f"{r.trial} {r.arm} {r.time_h:g} h" for r in trials.rows],
            "latent_arm": latent,
        },
        "dims": {"change": ["row"], "baseline_latent": ["latent_arm"]},
    }
    with warnings.catch_warnings():
        # the 0.x series warns of its successor at import
        warnings.simplefilter("ignore")
        import arviz
    return from_groups(arviz, groups, labels)


def from_groups(arviz, groups: dict, labels: dict):
    """Call ``arviz.from_dict`` in the form its major version wants."""
    if int(arviz.__version__.split(".")[0]) >= 1:
        return arviz.from_dict(groups, **labels)
    return arviz.from_dict(**groups, **labels)
