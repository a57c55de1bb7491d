"""From exposure to HAM-D-17: inhibition of neurons, symptom turnover, and the drug-free part.

The effect site holds ``kp_eff`` x total plasma steroid plus the local pool. ``transfer`` turns it
into relative firing, so inhibition is ``E = 1 - transfer(c)/transfer(local pool)``: zero in placebo
arms, and its shape over dose comes from receptor and neuron, not from this file. A fraction R of the
drug-responsive burden is resolved,

    dR/dt = (k_on E(t) + k_self(H0)) (1 - R) - k_off R,        R(0) = 0,

and what is left of the score multiplies:

    HAMD(t) = H0 exp(-(s_immediate(t) + s_placebo(t) + gain R(t))),   change = HAMD(t) - H0.

Why this form. (a) One resolved state that returns slowly lets the effect outlast the drug without
claiming a bistable loop. (b) ``k_self`` depends on the baseline score: in moderate depression
placebo arms resolve the same burden by themselves within weeks and catch up, in severe depression
they do not (202C against 202B at day 30). (c) The log scale keeps the score positive and makes the
same relative effect smaller in points where less is left. (d) ``s_immediate`` saturates within
about 2 h in every arm; ``s_placebo`` has an amplitude and a rate for each setting, so an
outpatient setting is one more pair. (e) No regimen term: a lead of 60 over 90 ug/kg/h that
precedes the difference in dose has no way in except the arm residual of `model`.
"""

import equinox as eqx
import jax
import jax.numpy as jnp

from gabatone.inference.evidence.loader import REGIMENS
from gabatone.inference.study import Study


class Response(eqx.Module):
    """Parameters of the outcome, rates per hour; ``placebo*`` are [setting]."""

    kp_eff: jax.Array
    k_on_per_h: jax.Array
    k_off_per_h: jax.Array
    k_self_per_h: jax.Array
    severity_slope_per_point: jax.Array
    severity_centre_points: jax.Array
    gain: jax.Array
    immediate: jax.Array
    immediate_rate_per_h: jax.Array
    placebo: jax.Array
    placebo_rate_per_h: jax.Array


def inhibition(study: Study, kp_eff) -> jax.Array:
    """[regimen, grid] fraction by which the drug lowers firing; 0 without drug."""
    conc_nM = kp_eff * study.plasma + study.local_pool_nM
    return 1.0 - study.transfer(conc_nM) / study.transfer(study.local_pool_nM)


def resolve(step_h, gain_per_h, loss_per_h, at) -> jax.Array:
    """Solution of dR/dt = a(1 - R) - k R, R(0) = 0, after ``at`` steps on which a is held.

    ``step_h`` and ``gain_per_h`` (a) are [step], ``loss_per_h`` (k) and ``at`` scalars; `jax.vmap` gives
    arms and times. Integrating factor: with B the integral of a + k, each step adds
    a (1 - exp(-(a + k) h))/(a + k), faded by exp(-(B(at) - B(end of step))). Exponents never exceed 0.
    """
    rate = (gain_per_h + loss_per_h) * step_h
    small = rate < 1e-8
    share = jnp.where(small, 1.0 - 0.5 * rate, -jnp.expm1(-rate) / jnp.where(small, 1.0, rate))
    total = jnp.cumsum(rate)
    before = jnp.arange(rate.shape[0]) < at
    until = jnp.where(at > 0, total[at - 1], 0.0)
    return jnp.sum(
        jnp.where(
            before,
            gain_per_h * step_h * share * jnp.exp(jnp.where(before, total - until, 0.0)),
            0.0,
        )
    )


def remaining(response: Response, time_h, level, baseline, setting, at) -> jax.Array:
    """HAM-D-17 of one arm at grid position ``at``.

    ``level`` [step] is the inhibition of its regimen held on each step of ``time_h`` [grid]; ``baseline``
    is a score, ``setting`` a position in ``response.placebo``.
    """
    k_self = response.k_self_per_h * jnp.exp(
        response.severity_slope_per_point * (baseline - response.severity_centre_points)
    )
    resolved = resolve(
        jnp.diff(time_h), response.k_on_per_h * level + k_self, response.k_off_per_h, at
    )
    drug_free = -response.immediate * jnp.expm1(
        -response.immediate_rate_per_h * time_h[at]
    ) - response.placebo[setting] * jnp.expm1(-response.placebo_rate_per_h[setting] * time_h[at])
    return baseline * jnp.exp(-(drug_free + response.gain * resolved))


def change(response: Response, study: Study, regimen, baseline, setting, at) -> jax.Array:
    """[arm, time] change of HAM-D-17 from baseline in points (negative = better).

    ``regimen`` (position in ``REGIMENS``), ``baseline`` and ``setting`` are [arm]; ``at`` [time] holds
    positions on the grid.
    """
    level = inhibition(study, response.kp_eff)
    held = (0.5 * (level[:, 1:] + level[:, :-1]))[regimen]
    time_h = jnp.asarray(study.time_h)

    def one(level, baseline, setting, at):
        return remaining(response, time_h, level, baseline, setting, at) - baseline

    # times inside arms, so that the integral of an arm is formed once
    return jax.vmap(jax.vmap(one, (None, None, None, 0)), (0, 0, 0, None))(
        held, baseline, setting, at
    )


def regimen_index(name: str) -> int:
    """Position of a regimen in `Study.plasma`."""
    return REGIMENS.index(name)
