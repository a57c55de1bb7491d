"""From dose to what the receptors see: plasma, effect site and free drug."""

from pathlib import Path

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Shaped

from gabatone.kernels.body.dosing import Schedule
from gabatone.kernels.body.pharmacokinetics import TwoCompartment, plasma_ng_per_mL
from gabatone.kernels.bounds import require

EXPOSURE_CARDS = Path(__file__).parents[1] / "body" / "cards" / "exposure.toml"
_NM_PER_UM = 1000.0


class Exposure(eqx.Module):
    """Concentrations over time; ``[..., time]`` where there are many subjects.

    Attributes
    ----------
    time_h : float [time]
        Hours after the start of dosing.
    plasma_ng_per_mL, plasma_nM : float [time]
        Total infused drug in plasma.
    effect_site_nM : float [time]
        Aqueous-equivalent concentration that drives the receptors.
    free_nM : float [time]
        Unbound infused drug in plasma, the low extreme of what could drive them.
    """

    time_h: Shaped[Array, " time"]
    plasma_ng_per_mL: Float[Array, "*subject time"]
    plasma_nM: Float[Array, "*subject time"]
    effect_site_nM: Float[Array, "*subject time"]
    free_nM: Float[Array, "*subject time"]


def nanomolar(
    conc_ng_per_mL: Shaped[ArrayLike, "*shape"], molar_mass_g_per_mol: Shaped[ArrayLike, ""]
) -> Float[Array, "*shape"]:
    """Convert ng/mL to nM. Raises `BadInput` for a negative number or a molar mass of 0."""
    require("conc_ng_per_mL", conc_ng_per_mL, least=0.0)
    require("molar_mass_g_per_mol", molar_mass_g_per_mol, above=0.0)
    return jnp.asarray(conc_ng_per_mL) * _NM_PER_UM / molar_mass_g_per_mol


def expose(
    model: TwoCompartment,
    schedule: Schedule,
    *,
    weight_kg: Shaped[ArrayLike, "*#subject"],
    time_h: Shaped[ArrayLike, " time"],
    kp_eff: Shaped[ArrayLike, ""],
    local_pool_nM: Shaped[ArrayLike, ""],
    unbound_fraction: Shaped[ArrayLike, ""],
    molar_mass_g_per_mol: Shaped[ArrayLike, ""],
) -> Exposure:
    """Concentrations under a schedule, at equilibrium between plasma and effect site.

    The effect site is ``kp_eff`` times total plasma plus the local pool, since the affinities of
    the receptor schemes were measured in baths and already contain membrane partitioning; the free
    concentration is ``unbound_fraction`` times plasma. Raises `BadInput` for a negative or
    non-finite number, a weight or molar mass of 0, or an unbound fraction above 1.
    """
    require("kp_eff", kp_eff, least=0.0)
    require("local_pool_nM", local_pool_nM, least=0.0)
    require("unbound_fraction", unbound_fraction, least=0.0, most=1.0)
    plasma = plasma_ng_per_mL(model, schedule, weight_kg, time_h)
    plasma_nM = nanomolar(plasma, molar_mass_g_per_mol)
    return Exposure(
        time_h=jnp.asarray(time_h),
        plasma_ng_per_mL=plasma,
        plasma_nM=plasma_nM,
        effect_site_nM=kp_eff * plasma_nM + local_pool_nM,
        free_nM=unbound_fraction * plasma_nM,
    )
