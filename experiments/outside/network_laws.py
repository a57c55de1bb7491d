"""Moments of a reaction network from its exact law, to judge a simulation of it.

Where all rates are affine in the counts, ``log E exp(e weight . X(t))`` follows from a small ODE
(affine processes: Duffie, Filipovic & Schachermayer 2003, Ann Appl Probab 13:984). Carried as
a power series in e, it gives the cumulants. Otherwise the reachable states are listed and the
master equation is solved.
"""

import numpy as np
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from gabatone.kernels.engine.network import ReactionNetwork, evaluate
from gabatone.kernels.errors import Failure

MOST_STATES = 3000
_ORDER = 6


def central_moments(network: ReactionNetwork, weights, time) -> np.ndarray:
    """Mean and the central moments 2, 3, 4 and 6 of ``weights @ X``, float [output, time, 5].

    Each row of `weights` [output, species] picks a species or a sum of them; `time` [time] is
    increasing and starts at 0 or later, in the time unit of the rates. Raises `Failure`
    ``too_many_states`` for a network that is neither affine nor small.
    """
    weights, time = np.asarray(weights, float), np.asarray(time, float)
    parts = _affine(network)
    if parts is None:
        return _by_states(network, weights, time)
    return np.array([_central(_cumulants(network, w, time, *parts)) for w in weights])


def _rates(network: ReactionNetwork, counts) -> np.ndarray:
    values = dict(zip(network.species, counts, strict=True)) | network.parameters
    return np.array([float(evaluate(r.rate, values)) for r in network.reactions])


def _affine(network: ReactionNetwork):
    """``(constant [reaction], slope [reaction, species])`` of the rates, or None."""
    size = len(network.species)
    constant = _rates(network, np.zeros(size))
    slope = np.array([_rates(network, row) - constant for row in np.eye(size)]).T
    for probe in (np.arange(2.0, 2.0 + size), np.full(size, 17.0)):
        wanted = constant + slope @ probe
        if not np.allclose(_rates(network, probe), wanted, rtol=1e-12, atol=1e-12):
            return None
    return constant, slope


def _cumulants(network, weight, time, constant, slope) -> np.ndarray:
    """Cumulants 1 to 6 [time, order]: each exponent is a series in e without constant term."""
    change, size = network.change.astype(float), len(network.species)

    def flow(_, flat):
        exponent = flat.reshape(size + 1, _ORDER)[:size]
        jump = _exp_less_one(change @ exponent)
        return np.concatenate([slope.T @ jump, (constant @ jump)[None]]).ravel()

    first = np.zeros((size + 1, _ORDER))
    first[:size, 0] = weight
    span = (0.0, float(time[-1]))
    found = solve_ivp(
        flow, span, first.ravel(), method="LSODA", t_eval=time, rtol=1e-11, atol=1e-14
    )
    series = found.y.T.reshape(len(time), size + 1, _ORDER)
    log = np.einsum("s,tsk->tk", np.array(network.initial, float), series[:, :size])
    return (log + series[:, size]) * np.cumprod(np.arange(1, _ORDER + 1))


def _exp_less_one(a: np.ndarray) -> np.ndarray:
    """``exp(a) - 1`` of power series [series, order] whose orders begin at 1."""
    e = np.concatenate([np.ones((len(a), 1)), np.zeros_like(a)], axis=1)
    for n in range(1, _ORDER + 1):
        k = np.arange(1, n + 1)
        e[:, n] = (k * a[:, :n] * e[:, n - k]).sum(axis=1) / n
    return e[:, 1:]


def _central(k: np.ndarray) -> np.ndarray:
    k1, k2, k3, k4, _, k6 = k.T
    fourth = k4 + 3 * k2**2
    sixth = k6 + 15 * k4 * k2 + 10 * k3**2 + 15 * k2**3
    return np.stack([k1, k2, k3, fourth, sixth], axis=1)


def _by_states(network: ReactionNetwork, weights, time) -> np.ndarray:
    states, rows = [tuple(network.initial)], []
    index = {states[0]: 0}
    for state in states:  # grows while it is walked through
        for rate, change in zip(_rates(network, state), network.change, strict=True):
            if rate > 0:
                after = tuple(int(c) for c in np.add(state, change))
                if after not in index:
                    index[after] = len(states)
                    states.append(after)
                rows.append((index[state], index[after], rate))
        if len(states) > MOST_STATES:
            raise Failure(
                "too_many_states", f"more than {MOST_STATES} states can be reached; no exact law"
            )
    generator = np.zeros((len(states), len(states)))
    for i, j, rate in rows:
        generator[i, j] += rate
        generator[i, i] -= rate
    values, p, steps, out = weights @ np.array(states).T, np.eye(len(states))[0], {}, []
    for gap in np.diff(time, prepend=0.0):
        gap = round(float(gap), 12)
        if gap not in steps:
            steps[gap] = expm(generator * gap)
        p = p @ steps[gap]
        mean = values @ p
        away = values - mean[:, None]
        out.append(np.stack([mean, *(away**k @ p for k in (2, 3, 4, 6))], axis=1))
    return np.array(out).swapaxes(0, 1)
