"""Two-compartment disposition of an infused drug, in closed form, and the brexanolone population.

Linear kinetics: the response to a schedule is the sum over infusions of two exponentials, each the
integral of the response to a unit bolus (Gibaldi & Perrier, Pharmacokinetics, 2nd ed. 1982, ch. 2).
"""

from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray, Shaped

from gabatone.kernels.body.dosing import Schedule
from gabatone.kernels.bounds import require
from gabatone.kernels.card import read_cards
from gabatone.kernels.errors import BadInput

BREXANOLONE = Path(__file__).parent / "cards" / "brexanolone.toml"


def _real(value):
    return jnp.asarray(value, dtype=jnp.result_type(float))


class TwoCompartment(eqx.Module):
    """Central and peripheral volume, elimination from the central one.

    Each field is a number or an array of subjects; arrays broadcast together. All must be above 0
    (`BadInput`).
    """

    clearance_L_per_h: Float[Array, "*#subject"] = eqx.field(converter=_real)
    central_volume_L: Float[Array, "*#subject"] = eqx.field(converter=_real)
    intercompartmental_clearance_L_per_h: Float[Array, "*#subject"] = eqx.field(converter=_real)
    peripheral_volume_L: Float[Array, "*#subject"] = eqx.field(converter=_real)

    def __check_init__(self):
        for field in self.__dataclass_fields__:
            require(field, getattr(self, field), above=0.0)


class _Modes(eqx.Module):
    """Rates (1/h) and central and peripheral weights of the two exponentials of a unit bolus."""

    rate: tuple
    central: tuple
    peripheral: tuple


def _modes(model: TwoCompartment) -> _Modes:
    out = model.clearance_L_per_h / model.central_volume_L
    there = model.intercompartmental_clearance_L_per_h / model.central_volume_L
    back = model.intercompartmental_clearance_L_per_h / model.peripheral_volume_L
    difference = out + there - back
    spread = jnp.sqrt(difference**2 + 4.0 * there * back)
    fast = 0.5 * (out + there + back + spread)
    slow = out * back / fast
    # fast - back and back - slow multiply to there * back: form the larger, divide for the other
    larger = 0.5 * (jnp.abs(difference) + spread)
    smaller = there * back / larger
    ahead = jnp.where(difference >= 0, larger, smaller)
    behind = jnp.where(difference >= 0, smaller, larger)
    return _Modes(
        (fast, slow), (ahead / spread, behind / spread), (-there / spread, there / spread)
    )


def half_lives_h(model: TwoCompartment) -> tuple[Array, Array]:
    """Distribution and terminal half-life, each [subject]."""
    fast, slow = _modes(model).rate
    return jnp.log(2.0) / fast, jnp.log(2.0) / slow


def amounts_ug(
    model: TwoCompartment,
    schedule: Schedule,
    weight_kg: Shaped[ArrayLike, "*#subject"],
    time_h: Shaped[ArrayLike, " time"],
) -> tuple[Float[Array, "*subject time"], Float[Array, "*subject time"]]:
    """Drug in the central and in the peripheral compartment, each [subject, time], in ug.

    Differentiable; nothing is subtracted from a large number, so float32 is safe. Raises
    `BadInput` for a weight that is not above 0 or a time that is not finite.
    """
    require("weight_kg", weight_kg, above=0.0)
    require("time_h", time_h)
    time = _real(time_h)[:, None]
    return _amounts(model, schedule, _real(weight_kg), time)


@eqx.filter_jit
def _amounts(model, schedule, weight_kg, time):
    infused_h = jnp.clip(time, schedule.start_h, schedule.stop_h) - schedule.start_h
    since_h = jnp.maximum(time - schedule.stop_h, 0.0)
    rate = schedule.rate_ug_per_kg_h * weight_kg[..., None, None]
    modes = _modes(model)
    central = peripheral = 0.0
    for speed, inside, outside in zip(modes.rate, modes.central, modes.peripheral, strict=True):
        speed = speed[..., None, None]
        filled = rate * jnp.exp(-speed * since_h) * -jnp.expm1(-speed * infused_h) / speed
        filled = jnp.sum(filled, axis=-1)
        central = central + inside[..., None] * filled
        peripheral = peripheral + outside[..., None] * filled
    return central, peripheral


def plasma_ng_per_mL(
    model: TwoCompartment,
    schedule: Schedule,
    weight_kg: Shaped[ArrayLike, "*#subject"],
    time_h: Shaped[ArrayLike, " time"],
) -> Float[Array, "*subject time"]:
    """Total plasma concentration of infused drug, [time], or [subject, time] for many subjects.

    Times are hours after the start of dosing; what the body makes itself is not included.
    Differentiable and safe under `jax.vmap`. Raises as `amounts_ug` does.
    """
    central, _ = amounts_ug(model, schedule, weight_kg, time_h)
    return central / model.central_volume_L[..., None]


def area_ng_h_per_mL(
    model: TwoCompartment,
    schedule: Schedule,
    weight_kg: Shaped[ArrayLike, "*#subject"],
    stop_h: Shaped[ArrayLike, " time"],
) -> Float[Array, "*subject time"]:
    """Area under the plasma curve from the start to each ``stop_h``, by mass balance, [time].

    What left the body is clearance times the area: area = (infused - still inside) / clearance.
    ``stop_h`` may be infinite: the area is then total dose over clearance.
    """
    stop = _real(stop_h)
    ended = jnp.isinf(stop)
    finite = jnp.where(ended, 0.0, stop)
    central, peripheral = amounts_ug(model, schedule, weight_kg, finite)
    infused_h = jnp.clip(stop[:, None], schedule.start_h, schedule.stop_h) - schedule.start_h
    dose = jnp.sum(schedule.rate_ug_per_kg_h * infused_h, axis=-1) * _real(weight_kg)[..., None]
    left = dose - jnp.where(ended, 0.0, central + peripheral)
    return left / model.clearance_L_per_h[..., None]


class BrexanolonePopulation(eqx.Module):
    """Two-compartment parameters scaled by body weight and spread log-normally over women.

    Clearances go with weight to ``clearance_exponent``, volumes to ``volume_exponent``; clearance
    and central volume vary between subjects with the given variances and covariance of their
    logarithms (Wald et al. 2022, Clin Pharmacokinet 61:1307). Numbers are plain floats.
    """

    clearance_L_per_h: float
    central_volume_L: float
    intercompartmental_clearance_L_per_h: float
    peripheral_volume_L: float
    reference_weight_kg: float
    clearance_exponent: float
    volume_exponent: float
    log_clearance_variance: float
    log_central_volume_variance: float
    log_clearance_volume_covariance: float
    proportional_residual_error: float
    molar_mass_g_per_mol: float

    def __check_init__(self):
        room = self.log_clearance_variance * self.log_central_volume_variance
        if self.log_clearance_variance <= 0 or room < self.log_clearance_volume_covariance**2:
            raise BadInput(
                "log_clearance_volume_covariance",
                self.log_clearance_volume_covariance,
                "the covariance matrix of the log parameters is not positive definite",
                "lower the covariance or raise a variance",
            )

    def typical(self, weight_kg: Shaped[ArrayLike, "*#subject"]) -> TwoCompartment:
        """Typical woman of each weight, without the spread between women."""
        require("weight_kg", weight_kg, above=0.0)
        ratio = _real(weight_kg) / self.reference_weight_kg
        flow, volume = ratio**self.clearance_exponent, ratio**self.volume_exponent
        return TwoCompartment(
            self.clearance_L_per_h * flow,
            self.central_volume_L * volume,
            self.intercompartmental_clearance_L_per_h * flow,
            self.peripheral_volume_L * volume,
        )

    def sample(
        self,
        key: PRNGKeyArray | Array,
        n: int,
        weight_kg: Shaped[ArrayLike, "*#subject"] | None = None,
    ) -> TwoCompartment:
        """``n`` women, each field [n]; woman i is the same whatever ``n`` is.

        ``weight_kg`` is one number or [n]; None stands for the reference weight.
        """
        require("n", n, least=1)
        weight = self.reference_weight_kg if weight_kg is None else weight_kg
        typical = self.typical(jnp.broadcast_to(_real(weight), (n,)))
        draw = jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(key, i), (2,)))
        normal = draw(jnp.arange(n))
        clearance_sd = self.log_clearance_variance**0.5
        shared = self.log_clearance_volume_covariance / clearance_sd
        own = (self.log_central_volume_variance - shared**2) ** 0.5
        return TwoCompartment(
            typical.clearance_L_per_h * jnp.exp(clearance_sd * normal[:, 0]),
            typical.central_volume_L * jnp.exp(shared * normal[:, 0] + own * normal[:, 1]),
            typical.intercompartmental_clearance_L_per_h,
            typical.peripheral_volume_L,
        )


def load_brexanolone_population(path: str | Path = BREXANOLONE) -> BrexanolonePopulation:
    """Build the population from ``cards/brexanolone.toml``, or from another file of such cards.

    Raises `BadInput` for a card that is missing or malformed.
    """
    cards = read_cards(path)
    names = {
        "clearance_L_per_h": "clearance",
        "central_volume_L": "central_volume",
        "intercompartmental_clearance_L_per_h": "intercompartmental_clearance",
        "peripheral_volume_L": "peripheral_volume",
        "reference_weight_kg": "reference_weight",
        "molar_mass_g_per_mol": "molar_mass",
    }
    fields = {}
    for field in BrexanolonePopulation.__dataclass_fields__:
        name = names.get(field, field)
        if name not in cards:
            raise BadInput(f"{Path(path).name}: {name}", None, "the card is missing", "add it")
        fields[field] = cards[name].value
    return BrexanolonePopulation(**fields)
