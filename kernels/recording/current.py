"""From conductance to current at a holding potential: ohmic, or by the constant-field equation.

Outward current is positive, potentials are inside minus outside.
"""

from abc import abstractmethod
from pathlib import Path

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float
from scipy import constants

from gabatone.kernels.bounds import require
from gabatone.kernels.card import read_cards
from gabatone.kernels.engine.trace import Trace
from gabatone.kernels.errors import BadInput

SOLUTION_CARDS = Path(__file__).with_name("solutions.toml")


class Solutions(eqx.Module):
    """Chloride and bicarbonate on both sides of a membrane.

    Parameters
    ----------
    chloride_in_mM, chloride_out_mM : float
        Above 0.
    bicarbonate_in_mM, bicarbonate_out_mM : float
        0 or more.
    bicarbonate_permeability : float
        Permeability of the pore to bicarbonate over that to chloride.
    temperature_C : float

    Raises
    ------
    BadInput
        For a number out of bounds.
    """

    chloride_in_mM: float | Array
    chloride_out_mM: float | Array
    temperature_C: float | Array
    bicarbonate_in_mM: float | Array = 0.0
    bicarbonate_out_mM: float | Array = 0.0
    bicarbonate_permeability: float | Array = 0.0

    def __check_init__(self):
        for name in ("chloride_in_mM", "chloride_out_mM"):
            require(f"Solutions.{name}", getattr(self, name), above=0.0)
        for name in ("bicarbonate_in_mM", "bicarbonate_out_mM", "bicarbonate_permeability"):
            require(f"Solutions.{name}", getattr(self, name), least=0.0)
        require("Solutions.temperature_C", self.temperature_C, above=-constants.zero_Celsius)

    @property
    def thermal_mV(self):
        """RT / F in mV."""
        kelvin = self.temperature_C + constants.zero_Celsius
        return 1e3 * constants.R * kelvin / (constants.N_A * constants.e)

    @property
    def reversal_mV(self):
        """Reversal potential ``RT/F ln((Cl_i + p HCO3_i) / (Cl_o + p HCO3_o))`` (Hodgkin & Katz 1949)."""
        ratio = self.bicarbonate_permeability
        inside = self.chloride_in_mM + ratio * self.bicarbonate_in_mM
        outside = self.chloride_out_mM + ratio * self.bicarbonate_out_mM
        return self.thermal_mV * jnp.log(inside / jnp.asarray(outside, float))


def load_solutions(path=SOLUTION_CARDS) -> Solutions:
    """Anions of a file of cards; the default is a dentate granule cell of Jedlicka et al. 2011."""
    cards = read_cards(path)
    names = ("chloride_in", "chloride_out", "bicarbonate_in", "bicarbonate_out")
    for name in (*names, "bicarbonate_permeability", "temperature"):
        if name not in cards:
            raise BadInput(f"{Path(path).name}: {name}", None, "the card is missing", "give it")
    return Solutions(
        **{f"{name}_mM": cards[name].value for name in names},
        bicarbonate_permeability=cards["bicarbonate_permeability"].value,
        temperature_C=cards["temperature"].value,
    )


class Driving(eqx.Module):
    """What drives current through an open pore."""

    @abstractmethod
    def force_mV(self, holding_mV) -> Float[Array, "..."]:
        """Current over conductance at `holding_mV` [...], mV."""

    @property
    @abstractmethod
    def conditions(self) -> str:
        """The driving force in words, for the results that depend on it."""


class Ohmic(Driving):
    """Current in proportion to the distance from a reversal potential."""

    reversal_mV: float | Array

    def __check_init__(self):
        require("Ohmic.reversal_mV", self.reversal_mV)

    def force_mV(self, holding_mV) -> Float[Array, "..."]:
        """``V - E``."""
        return jnp.asarray(holding_mV, float) - self.reversal_mV

    @property
    def conditions(self) -> str:
        """Law and reversal."""
        return f"ohmic, reversal {float(self.reversal_mV):.4g} mV"


class ConstantField(Driving):
    """Constant-field (GHK) current of chloride and bicarbonate (Goldman 1943, Hodgkin & Katz 1949).

    For anions the flux equation reads ``I = P (F^2 V / RT) (C_i - C_o e^u) / (1 - e^u)`` with
    u = FV/RT and ``C = Cl + p HCO3``. The permeability P is set so that the slope conductance
    at the reversal potential is the conductance of the scheme. A scheme's conductance read at
    another potential is a chord; with equal solutions all of these are the same.
    """

    solutions: Solutions

    def force_mV(self, holding_mV) -> Float[Array, "..."]:
        """Current over slope conductance, mV; ``V - E`` to first order around the reversal."""
        thermal = self.solutions.thermal_mV
        u = jnp.asarray(holding_mV, float) / thermal
        rest = self.solutions.reversal_mV / thermal
        w = u - rest
        # the quotient above with C_i / C_o = exp(rest), free of 0/0 at u = 0 and at w = 0
        return thermal * w * _relative_expm1(-w) * _relative_expm1(-rest) / _relative_expm1(-u)

    @property
    def conditions(self) -> str:
        """Law and reversal."""
        rest = float(self.solutions.reversal_mV)
        return f"constant field, reversal {rest:.4g} mV, conductance taken there"


def _relative_expm1(x):
    """``(e^x - 1) / x``, 1 at x = 0."""
    x = jnp.asarray(x, float)
    small = jnp.abs(x) < 1e-3
    safe = jnp.where(small, 1.0, x)
    return jnp.where(small, 1.0 + x / 2 + x**2 / 6 + x**3 / 24, jnp.expm1(safe) / safe)


def conductance_pS(source) -> Float[Array, "..."]:
    """Summed conductance [..., time] of a `Trace`, or of numbers that are in pS already."""
    if isinstance(source, Trace):
        return source.conductance_S * 1e12
    return jnp.asarray(source, float)


def current_pA(source, holding_mV, driving: Driving) -> Float[Array, "..."]:
    """Current in pA at `holding_mV`, outward positive.

    Parameters
    ----------
    source : Trace or array [..., time]
        A trace, or a conductance in pS (number of open channels times that of one).
    holding_mV : float
    driving : Driving
        `Ohmic` or `ConstantField`.
    """
    return conductance_pS(source) * driving.force_mV(holding_mV) * 1e-3
