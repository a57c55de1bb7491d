"""What an experimenter reads off a scheme under a protocol, exact in time and differentiable.

Every function takes a scheme whose rates may be traced. Propagation is `spectral.propagator`: the
propagator of a short time is squared again and again, which gives the occupancy on a geometric grid of
times at the cost of a few matrix products. A solution exchange is instantaneous unless said.
"""

import jax
import jax.numpy as jnp
import numpy as np

from gabatone.kernels.receptor.spectral import propagator, steady_state


def generator(scheme, conc_M: dict):
    """Generator [state, state] as a traced array, so that the same code runs with plain rates."""
    rows, cols = np.array(scheme.source), np.array(scheme.target)
    level = jnp.stack(
        [jnp.asarray(conc_M.get(name, 0.0) if name else 1.0, float) for name in scheme.ligands]
    )
    off = jnp.zeros((scheme.n_states,) * 2).at[rows, cols].add(jnp.exp(scheme.log_rate) * level)
    return off - jnp.diag(off.sum(axis=1))


def resting(scheme, conc_M: dict | None = None):
    """Occupancy [state] at equilibrium without GABA, with the other ligands of `conc_M`."""
    return _steady(generator(scheme, {**(conc_M or {}), "GABA": 0.0}))


def _steady(q):
    return jax.jit(steady_state)(q)


def open_mask(scheme):
    """1.0 for the open states [state]."""
    return jnp.asarray(scheme.is_open, float)


def ladder(q, start, end_s: float, octaves: int, parts: int):
    """Times [time] up to `end_s`, `parts` (a power of 2) to each doubling, and occupancy [time, state].

    The first time is ``end_s / 2^octaves``; `start` is the occupancy at 0.
    """
    deep = int(np.log2(parts))
    tiny = end_s / 2.0 ** (octaves + deep)

    def double(step, _):
        twice = step @ step
        return twice / twice.sum(axis=-1, keepdims=True), step

    first = propagator(q, tiny, most=10)
    _, steps = jax.lax.scan(double, first, None, length=octaves + deep + 1)

    def octave(long, short):
        def advance(p, _):
            return p @ short, p

        return jax.lax.scan(advance, start @ long, None, length=parts)[1]

    path = jax.vmap(octave)(steps[deep:-1], steps[: -1 - deep])
    path = jnp.concatenate([path.reshape(-1, len(start)), (start @ steps[-1])[None]])
    share = 1.0 + np.arange(parts) / parts
    time = end_s * 2.0 ** (np.arange(octaves)[:, None] - octaves) * share
    return np.append(time.ravel(), end_s), path


def after(q, start, time_s: float):
    """Occupancy [state] a time `time_s` after `start` at a constant generator."""
    return start @ propagator(q, time_s, most=24)


def peak(time_s, value):
    """Height and time of the largest value, by a parabola in log time through its three points."""
    top = jnp.argmax(value)
    k = jnp.clip(top, 1, len(time_s) - 2)
    x, y = jnp.log(jnp.asarray(time_s)), value
    before, beyond = x[k] - x[k - 1], x[k + 1] - x[k]
    left, right = (y[k] - y[k - 1]) / before, (y[k + 1] - y[k]) / beyond
    bend = (left - right) / (before + beyond)
    # at the end of the record, or on a flat top, the sample itself is the peak
    curved = (top == k) & (bend > 1e-9 * y[k])
    slope = (left * beyond + right * before) / (before + beyond)
    shift = jnp.where(curved, slope / (2 * jnp.where(curved, bend, 1.0)), 0.0)
    height = y[top] + jnp.where(curved, 0.5 * slope * shift, 0.0)
    return height, jnp.exp(x[top] + shift)


def at_time(time_s, value, when_s):
    """Value at `when_s` by interpolation in log time."""
    return jnp.interp(jnp.log(jnp.asarray(when_s, float)), np.log(time_s), value)


def rise_time(time_s, value, low: float = 0.1, high: float = 0.9):
    """Time between two shares of the peak on the way up, s."""
    top, _ = peak(time_s, value)

    def crossing(share):
        k = jnp.maximum(jnp.argmax(value >= share * top), 1)
        t, y = jnp.asarray(time_s), value
        return t[k - 1] + (share * top - y[k - 1]) / (y[k] - y[k - 1]) * (t[k] - t[k - 1])

    return crossing(high) - crossing(low)


def area_tau(q, start, opened):
    """Area under the open probability above its steady level over its first value, s.

    For a sum of exponentials this is the amplitude-weighted mean of their time constants.
    """
    final = _steady(q)
    excess = start - final
    lasting = jnp.linalg.solve((jnp.outer(jnp.ones_like(final), final) - q).T, excess)
    return (lasting @ opened) / (excess @ opened)


def step_peaks(scheme, doses_M, background_M=None, end_s: float = 0.5):
    """Peak open probability [dose] of a GABA step of `end_s` s that follows equilibrium without it."""
    background = dict(background_M or {})
    start, opened = resting(scheme, background), open_mask(scheme)

    def one(dose):
        time, path = ladder(generator(scheme, {**background, "GABA": dose}), start, end_s, 14, 4)
        return peak(time, path @ opened)[0]

    return jax.lax.map(one, jnp.asarray(doses_M, float))


def half_dose(doses_M, response):
    """Dose of half the largest response (that of the last dose), by interpolation of the logit in log dose."""
    share = jnp.clip(response / response[-1], 1e-9, 0.999)
    logit = jnp.log(share / (1 - share))
    k = jnp.maximum(jnp.argmax(logit >= 0.0), 1)
    x = jnp.log(jnp.asarray(doses_M))
    return jnp.exp(x[k - 1] - logit[k - 1] * (x[k] - x[k - 1]) / (logit[k] - logit[k - 1]))
