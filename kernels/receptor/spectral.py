"""Exact propagation, stationary law and dose-response of a generator."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gabatone.kernels.errors import Failure

_TERMS = 15  # 0.5**15 / 15! is below the last digit of float64
_MOST_SQUARINGS = 32
_GAUSS = (0.5 - np.sqrt(3) / 6, 0.5 + np.sqrt(3) / 6)
_WEIGHT = (0.25 + np.sqrt(3) / 6, 0.25 - np.sqrt(3) / 6)


def steady_state(generator) -> Float[Array, " state"]:
    """Stationary occupancy of a generator [state, state] whose states all lead to state 0.

    Grassmann, Taksar & Heyman 1985 (Oper Res 33:1107): elimination without
    subtraction, so that every entry keeps its relative accuracy, in float32 too.
    States that nothing leads to get 0. Raises `Failure` where some state is reached and
    never left for state 0, so that the law depends on the start (NaN for traced rates).
    """
    if isinstance(generator, jax.core.Tracer):
        return _eliminate(generator)
    rates = np.array(generator, np.float64)
    weight = np.zeros(len(rates))
    weight[0] = 1.0
    for k in range(len(rates) - 1, 0, -1):
        into, out = rates[:k, k].sum(), rates[k, :k].sum()
        if into == 0:
            continue
        if out == 0:
            raise Failure(
                "no_steady_state",
                f"state number {k} is reached but nothing leads from it back to state 0; "
                "give the missing rate a value, or start from a named state",
            )
        rates[:k, k] /= out
        rates[:k, :k] += np.outer(rates[:k, k], rates[k, :k])
    for k in range(1, len(rates)):
        weight[k] = weight[:k] @ rates[:k, k]
    return jnp.asarray(weight / weight.sum(), float)


def _eliminate(generator):
    """The same elimination for traced rates, as loops so that it compiles quickly."""
    n = generator.shape[0]
    index = np.arange(n)

    def remove(i, rates):
        k = n - 1 - i
        lower = index < k
        into = jnp.where(lower, rates[:, k], 0.0) / jnp.where(lower, rates[k], 0.0).sum()
        rates = rates + jnp.outer(into, jnp.where(lower, rates[k], 0.0))
        return rates.at[:, k].set(jnp.where(lower, into, rates[:, k]))

    def restore(k, weight):
        return weight.at[k].set(jnp.where(index < k, weight * rates[:, k], 0.0).sum())

    rates = jax.lax.fori_loop(0, n - 1, remove, generator)
    weight = jax.lax.fori_loop(1, n, restore, jnp.zeros(n, generator.dtype).at[0].set(1.0))
    return weight / weight.sum()


def propagator(generator, dt_s, *, most: int | None = None) -> Float[Array, "state state"]:
    """``P = expm(Q dt)``: ``P[i, j]`` is the chance of being in j a time `dt_s` after i.

    Uniformisation (Jensen 1953) of a short step, ``exp(-a) sum a^k/k! (I + Q/L)^k`` with
    ``a = L h <= 1/2``, squared up to `dt_s`. Every term is non-negative, so small
    probabilities keep their relative accuracy in float32 as in float64. `most` bounds the
    number of squarings (see `squarings_for`) where the generator is traced.
    """
    generator = jnp.asarray(generator)
    eye = jnp.eye(generator.shape[0], dtype=generator.dtype)
    # the result does not depend on the speed of the uniformised clock, so neither does its gradient
    fastest = jnp.maximum(-jnp.diagonal(generator).min(), jnp.finfo(generator.dtype).tiny)
    fastest = jax.lax.stop_gradient(fastest)
    squarings = _squarings(fastest * dt_s, _MOST_SQUARINGS if most is None else most)
    a = fastest * dt_s / 2.0**squarings
    jump = eye + generator / fastest
    # rounding below 0 is cut off in the value only: at a rate of 0 the gradient is still that of the rate
    jump = jump + jax.lax.stop_gradient(jnp.maximum(jump, 0.0) - jump)

    def term(carry, k):
        power, total = carry
        power = power @ jump * (a / k)
        return (power, total + power), None

    (_, total), _ = jax.lax.scan(
        term, (eye, eye), jnp.arange(1.0, _TERMS + 1, dtype=generator.dtype)
    )
    short = total / total.sum(axis=1, keepdims=True)

    def square(k, step):
        twice = step @ step
        twice = twice / twice.sum(axis=1, keepdims=True)
        return jnp.where(k < squarings, twice, step)

    loops = squarings if isinstance(squarings, int) else _MOST_SQUARINGS if most is None else most
    return jax.lax.fori_loop(0, loops, square, short)


def magnus_step(generator_at, t_s, dt_s, *, most: int | None = None) -> Float[Array, "state state"]:
    """Propagator from `t_s` over `dt_s` of a generator that changes in time, fourth order.

    Commutator-free Magnus scheme with two exponentials (Blanes & Moan 2006, Appl Numer Math
    56:1519); `generator_at` maps a time to Q, `most` is that of `propagator`.
    """
    q = [generator_at(t_s + g * dt_s) for g in _GAUSS]
    first = propagator(_WEIGHT[0] * q[0] + _WEIGHT[1] * q[1], dt_s, most=most)
    second = propagator(_WEIGHT[1] * q[0] + _WEIGHT[0] * q[1], dt_s, most=most)
    return first @ second


def squarings_for(scheme, conc_M: dict, dt_s: float) -> int | None:
    """Squarings that `propagator` can need up to `dt_s` at concentrations up to `conc_M`; None if unknown."""
    generator = scheme.generator(conc_M)
    if isinstance(generator, jax.core.Tracer):
        return None
    needed = _squarings(-float(np.asarray(generator).diagonal().min()) * dt_s, _MOST_SQUARINGS)
    # rounded up, so that another scheme or drive seldom compiles anew
    return min(-(-needed // 4) * 4, _MOST_SQUARINGS)


def _squarings(reach, most: int):
    """Doublings that bring ``reach`` = (fastest rate x time) to 1/2 or less."""
    if isinstance(reach, jax.core.Tracer):
        return jnp.clip(jnp.ceil(jnp.log2(jnp.maximum(reach, 1e-30) * 2.0)), 0, most)
    return int(np.clip(np.ceil(np.log2(max(float(reach), 1e-30) * 2.0)), 0, most))


def occupancy_at(p0, generator, time_s, *, most: int | None = None) -> Float[Array, "time state"]:
    """Occupancy at increasing `time_s` [time] at a constant generator, from `p0` [state] at 0.

    `most` is that of `propagator`.
    """
    gaps = jnp.diff(jnp.asarray(time_s, float), prepend=0.0)
    steps = jax.vmap(lambda dt: propagator(generator, dt, most=most))(gaps)

    def advance(p, step):
        p = p @ step
        return p, p

    return jax.lax.scan(advance, jnp.asarray(p0), steps)[1]


def dose_response(
    scheme,
    conc_M,
    *,
    ligand: str = "GABA",
    background_M: dict | None = None,
    pulse_s: float = 1e-3,
    step_time_s=None,
    pulse_time_s=None,
) -> dict[str, Float[Array, " dose"]]:
    """Open probability against concentration: peak of a step, peak of a brief pulse, steady state.

    Parameters
    ----------
    conc_M : float [dose]
    background_M : dict
        Other ligands, constant throughout (a steroid level, say).
    pulse_s : float
        Length of the brief application.
    step_time_s, pulse_time_s : float [time]
        Increasing times since the start of the application at which a peak is looked
        for; by default 400 geometric times from 2 us to 500 ms, and 10-us samples for
        1.5 pulse lengths followed by geometric ones. Before the application the scheme
        is in its own initial state.

    Returns
    -------
    dict with ``step_peak``, ``pulse_peak``, ``steady``, each [dose].
    """
    background = dict(background_M or {})
    start, rest = scheme.initial_occupancy(background), scheme.generator(background)
    if step_time_s is None:
        step_time_s = np.geomspace(2e-6, 0.5, 400)
    if pulse_time_s is None:
        near = np.linspace(0, 1.5 * pulse_s, 151)[1:]
        pulse_time_s = np.concatenate(
            [near, near[-1] + np.geomspace(pulse_s / 50, 50 * pulse_s, 150)]
        )
    pulse_time_s = np.asarray(pulse_time_s)
    during = np.append(pulse_time_s[pulse_time_s < pulse_s], pulse_s)
    after = pulse_time_s[pulse_time_s > pulse_s] - pulse_s

    longest = max(np.diff(step_time_s, prepend=0).max(), np.diff(pulse_time_s, prepend=0).max())
    top = 0.0 if isinstance(conc_M, jax.core.Tracer) else np.max(conc_M)
    most = squarings_for(scheme, {**background, ligand: top}, longest) if top else None

    at_dose = jax.jit(jax.vmap(lambda conc: scheme.generator({**background, ligand: conc})))
    bound = at_dose(jnp.asarray(conc_M, float))
    times = tuple(jnp.asarray(t, float) for t in (step_time_s, during, after))
    step, pulse, steady = _responses(start, rest, bound, jnp.asarray(scheme.is_open), times, most)
    return {"step_peak": step, "pulse_peak": pulse, "steady": steady}


@partial(jax.jit, static_argnames="most")
def _responses(start, rest, bound, is_open, times, most):
    """Peak of a step, peak of a pulse and steady state for each generator of `bound` [dose, state, state]."""
    step_time_s, during_s, after_s = times

    def one(generator):
        step = occupancy_at(start, generator, step_time_s, most=most)
        on = occupancy_at(start, generator, during_s, most=most)
        pulse = jnp.concatenate([on, occupancy_at(on[-1], rest, after_s, most=most)])
        return (step @ is_open).max(), (pulse @ is_open).max(), steady_state(generator) @ is_open

    return jax.lax.map(one, bound)
