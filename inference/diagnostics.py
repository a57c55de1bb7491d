"""Convergence of chains: rank-normalised split R-hat and bulk and tail effective sample size.

After Vehtari, Gelman, Simpson, Carpenter and Buerkner, Bayesian Analysis 16:667 (2021). Written here so
that one definition holds whatever ArviZ is installed; a test compares it with ArviZ.
"""

import numpy as np
from scipy import stats


def diagnose(draws) -> dict[str, float]:
    """``r_hat``, ``ess_bulk`` and ``ess_tail`` of one scalar, ``draws`` [chain, draw]."""
    draws = np.asarray(draws, dtype=np.float64)
    halves = _split(draws)
    if not np.all(np.isfinite(halves)):
        return {"r_hat": np.nan, "ess_bulk": np.nan, "ess_tail": np.nan}
    folded = np.abs(halves - np.median(halves))
    ends = np.quantile(draws, (0.05, 0.95))
    tails = [_ess(_split((draws <= end).astype(np.float64))) for end in ends]
    return {
        "r_hat": max(_r_hat(_ranked(halves)), _r_hat(_ranked(folded))),
        "ess_bulk": _ess(_ranked(halves)),
        "ess_tail": min(tails),
    }


def _split(draws):
    half = draws.shape[1] // 2
    return np.concatenate([draws[:, :half], draws[:, draws.shape[1] - half :]])


def _ranked(draws):
    rank = stats.rankdata(draws, method="average").reshape(draws.shape)
    return stats.norm.ppf((rank - 0.375) / (draws.size + 0.25))


def _r_hat(draws) -> float:
    n = draws.shape[1]
    within = draws.var(axis=1, ddof=1).mean()
    between = n * draws.mean(axis=1).var(ddof=1)
    return float(np.sqrt((between / within + n - 1) / n)) if within > 0 else np.nan


def _ess(draws) -> float:
    """Geyer's initial monotone positive sequence over chain-averaged autocovariances."""
    chains, n = draws.shape
    centred = draws - draws.mean(axis=1, keepdims=True)
    spectrum = np.fft.rfft(centred, n=2 * n, axis=1)
    covariance = np.fft.irfft(np.abs(spectrum) ** 2, n=2 * n, axis=1)[:, :n].mean(axis=0) / n
    within = covariance[0] * n / (n - 1)
    if within <= 0:
        return np.nan
    variance = covariance[0] + (draws.mean(axis=1).var(ddof=1) if chains > 1 else 0.0)
    rho = 1.0 - (within - covariance) / variance
    rho[0] = 1.0
    pairs = rho[: n - n % 2].reshape(-1, 2).sum(axis=1)
    ends = np.flatnonzero(pairs < 0)
    pairs = np.minimum.accumulate(pairs[: ends[0]] if ends.size else pairs)
    # the even lag after the last pair still counts where it is positive
    extra = max(rho[2 * pairs.size], 0.0) if 2 * pairs.size < n else 0.0
    tau = max(-1.0 + 2.0 * pairs.sum() + extra, 1.0 / np.log10(chains * n))
    return float(chains * n / tau)
