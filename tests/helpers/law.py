"""The law of a scheme computed a second way: plain loops, scipy's expm, and an ODE solver."""

import numpy as np
from scipy import stats
from scipy.integrate import solve_ivp
from scipy.linalg import expm


def generator(scheme, conc_M: dict) -> np.ndarray:
    """Generator [state, state] in 1/s, edge by edge."""
    rates = np.zeros((scheme.n_states, scheme.n_states))
    log_rate = np.asarray(scheme.log_rate, float)
    for i, j, ligand, log in zip(
        scheme.source, scheme.target, scheme.ligands, log_rate, strict=True
    ):
        rates[i, j] += np.exp(log) * (conc_M.get(ligand, 0.0) if ligand else 1.0)
    return rates - np.diag(rates.sum(axis=1))


def transitions(scheme, drive, time_s) -> np.ndarray:
    """Transition matrices [interval, state, state] from 0 to the first time and on to each next one."""
    ligands = scheme.ligand_names
    still = generator(scheme, {})
    each = {name: generator(scheme, {name: 1.0}) - still for name in ligands}

    def levels(t):
        return {name: drive.value(np.atleast_1d(t), name) for name in ligands}

    def at(t):
        return still + sum(each[name] * value[0] for name, value in levels(t).items())

    edges = np.concatenate([[0.0], np.asarray(time_s, float)])
    breaks = drive.breaks_s(edges[-1])
    steps = []
    for a, b in zip(edges[:-1], edges[1:], strict=True):
        total = np.eye(scheme.n_states)
        cuts = np.unique(np.concatenate([[a, b], breaks[(breaks > a) & (breaks < b)]]))
        for start, stop in zip(cuts[:-1], cuts[1:], strict=True):
            inner = start + (stop - start) * np.array([0.0, 0.3, 0.6, 0.9])
            if all(np.ptp(value) == 0.0 for value in levels(inner).values()):
                total = total @ expm(at(start) * (stop - start))
            else:
                total = total @ _integrate(at, start, stop, scheme.n_states)
        steps.append(total)
    return np.array(steps)


def _integrate(at, start: float, stop: float, n_states: int) -> np.ndarray:
    def slope(t, flat):
        # the right end of a piece belongs to the next one where the drive jumps
        return (flat.reshape(n_states, n_states) @ at(min(t, np.nextafter(stop, start)))).ravel()

    found = solve_ivp(
        slope, (start, stop), np.eye(n_states).ravel(), method="DOP853", rtol=1e-10, atol=1e-13
    )
    assert found.success
    return found.y[:, -1].reshape(n_states, n_states)


def occupancy(scheme, drive, time_s, p0) -> np.ndarray:
    """Probabilities [time, state] at increasing times after 0, from `p0` at 0."""
    path = [np.asarray(p0, float)]
    for step in transitions(scheme, drive, time_s):
        path.append(path[-1] @ step)
    return np.array(path[1:])


def covariance(p0, steps: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean [time, state] and covariance [time, state, time, state] of the counts of n channels.

    Between times s < t, Cov(N_i(s), N_j(t)) = n p_i(s) (P_st[i, j] - p_j(t)).
    """
    path = [np.asarray(p0, float)]
    for step in steps:
        path.append(path[-1] @ step)
    p = np.array(path[1:])
    times, states = p.shape
    full = np.zeros((times, states, times, states))
    for s in range(times):
        ahead = np.eye(states)
        for t in range(s, times):
            ahead = ahead if t == s else ahead @ steps[t]
            full[s, :, t, :] = n * (p[s][:, None] * (ahead - p[t][None, :]))
            full[t, :, s, :] = full[s, :, t, :].T
    return n * p, full


def binomial_p(counts, n: int, p) -> np.ndarray:
    """Exact two-sided p-values of `counts` as draws from Binomial(n, p)."""
    counts, p = np.asarray(counts, float), np.clip(np.asarray(p, float), 0.0, 1.0)
    lower = stats.binom.cdf(counts, n, p)
    upper = stats.binom.sf(counts - 1, n, p)
    return np.clip(2.0 * np.minimum(lower, upper), 0.0, 1.0)


def gaussian_p(samples, mean, cov) -> np.ndarray:
    """Two-sided p-values of mean, variance and every pair's covariance of samples [replicate, entry].

    The samples are whitened with the exact covariance; for each pair the sums of squares of
    sum and difference see a covariance that is too large or too small. For nearly normal entries.
    """
    samples = np.asarray(samples, float)
    white = np.linalg.solve(np.linalg.cholesky(cov), (samples - mean).T).T
    n, d = white.shape
    first, second = np.triu_indices(d, 1)
    squares = [
        white**2,
        (white[:, first] + white[:, second]) ** 2 / 2,
        (white[:, first] - white[:, second]) ** 2 / 2,
    ]
    spread = np.concatenate([s.sum(axis=0) for s in squares])
    shift = 2.0 * stats.norm.sf(np.abs(white.mean(axis=0)) * np.sqrt(n))
    return np.concatenate(
        [shift, 2.0 * np.minimum(stats.chi2.cdf(spread, n), stats.chi2.sf(spread, n))]
    )
