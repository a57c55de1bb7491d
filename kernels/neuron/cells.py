"""Point neurons by name, each number a card in ``cells/*.toml``."""

import difflib
import tomllib
from pathlib import Path

import equinox as eqx

from gabatone.kernels.bounds import require
from gabatone.kernels.card import Card, read_cards
from gabatone.kernels.errors import BadInput

CELLS = Path(__file__).parent / "cells"
FORMS = ("linoid", "exponential", "sigmoid")

# units that a card may carry, and what one of them is in SI, by the quantity measured
_UNITS = {
    "length2": {"um2": 1e-12},
    "capacitance per area": {"uF/cm2": 1e-2},
    "conductance per area": {"S/cm2": 1e4, "mS/cm2": 1e1},
    "voltage": {"mV": 1e-3, "V": 1.0},
    "rate": {"1/ms": 1e3},
    "rate per voltage": {"1/(ms mV)": 1e6},
    "temperature": {"C": 1.0},
    "time": {"ms": 1e-3, "s": 1.0},
    "frequency": {"Hz": 1.0},
    "conductance": {"nS": 1e-9, "S": 1.0},
    "number": {"1": 1.0},
}


class Rate(eqx.Module):
    """One rate function of voltage, in 1/s; with ``x = (midpoint_V - V) / slope_V``.

    ``linoid``: ``scale x / (exp(x) - 1)``; ``exponential``: ``scale exp(x)``; ``sigmoid``:
    ``scale / (1 + exp(x))``.
    """

    form: str = eqx.field(static=True)
    scale_per_s: float
    midpoint_V: float
    slope_V: float


class Gate(eqx.Module):
    """A two-state gate: it opens and closes with rates that follow voltage."""

    opening: Rate
    closing: Rate


class Cell(eqx.Module):
    """A one-compartment neuron with leak, sodium (m^3 h) and potassium (n^4) conductance, SI units.

    ``rate_factor`` multiplies all rates (temperature); ``largest_step_s`` is the longest membrane
    step that keeps the accuracy stated in the cell's card.
    """

    name: str = eqx.field(static=True)
    capacitance_F: float
    leak_S: float
    leak_reversal_V: float
    sodium_S: float
    sodium_reversal_V: float
    potassium_S: float
    potassium_reversal_V: float
    m: Gate
    h: Gate
    n: Gate
    rate_factor: float
    spike_threshold_V: float
    largest_step_s: float

    def __check_init__(self):
        for field in ("capacitance_F", "leak_S", "rate_factor", "largest_step_s"):
            require(f"cell {self.name}: {field}", getattr(self, field), above=0.0)
        for field in ("sodium_S", "potassium_S"):
            require(f"cell {self.name}: {field}", getattr(self, field), least=0.0)


def cell_names() -> list[str]:
    """Names of the stored cells."""
    return sorted(path.stem for path in CELLS.glob("*.toml"))


def cell_path(name: str | Path) -> Path:
    """File of a stored cell, or the path itself if it ends in ``.toml``."""
    if str(name).endswith(".toml"):
        return Path(name)
    if name not in cell_names():
        near = difflib.get_close_matches(str(name), cell_names(), n=3, cutoff=0.3) or cell_names()
        raise BadInput("cell", name, "no cell of that name", f"use {' or '.join(near)}")
    return CELLS / f"{name}.toml"


def cell_cards(name: str | Path) -> dict[str, Card]:
    """Every card of a cell, by key."""
    return read_cards(cell_path(name))


def si_value(file: str, cards: dict[str, Card], key: str, quantity: str) -> float:
    """Value of one card in SI. Raises `BadInput` for a missing card or another kind of unit."""
    if key not in cards:
        raise BadInput(f"{file}: {key}", None, "the card is missing", f"add [{key}]")
    known = _UNITS[quantity]
    if cards[key].unit not in known:
        cause = f"the card holds a {quantity}"
        fix = f"use {' or '.join(known)}"
        raise BadInput(f"{file}: {key}.unit", cards[key].unit, cause, fix)
    return cards[key].value * known[cards[key].unit]


def load_cell(name: str | Path) -> Cell:
    """Build a cell from its cards: a stored name, or the path of a TOML file of the same shape.

    Densities are multiplied by the membrane area; the Q10 of the gates is applied from the
    temperature of the rate functions to the temperature of the cell. Raises `BadInput` for an
    unknown name (with the nearest ones), a missing card, an unknown form or a wrong unit.
    """
    path = cell_path(name)
    file, cards = path.name, read_cards(path)
    forms = {key: table.get("form") for key, table in tomllib.loads(path.read_text()).items()}

    def si(key, quantity):
        return si_value(file, cards, key, quantity)

    def rate(key):
        form = forms.get(key)
        if form not in FORMS:
            raise BadInput(f"{file}: {key}.form", form, "unknown form", f"use one of {FORMS}")
        midpoint = si(f"{key}_midpoint", "voltage") + si("voltage_shift", "voltage")
        slope = si(f"{key}_slope", "voltage")
        if slope == 0:
            raise BadInput(f"{file}: {key}_slope.value", 0.0, "divides by zero", "give a slope")
        if form == "linoid":
            return Rate(form, si(key, "rate per voltage") * abs(slope), midpoint, slope)
        return Rate(form, si(key, "rate"), midpoint, slope)

    def gate(key):
        return Gate(rate(f"{key}_opening"), rate(f"{key}_closing"))

    area = si("area", "length2")
    warmer = si("temperature", "temperature") - si("rate_temperature", "temperature")
    return Cell(
        name=path.stem,
        capacitance_F=si("capacitance", "capacitance per area") * area,
        leak_S=si("leak", "conductance per area") * area,
        leak_reversal_V=si("leak_reversal", "voltage"),
        sodium_S=si("sodium", "conductance per area") * area,
        sodium_reversal_V=si("sodium_reversal", "voltage"),
        potassium_S=si("potassium", "conductance per area") * area,
        potassium_reversal_V=si("potassium_reversal", "voltage"),
        m=gate("m"),
        h=gate("h"),
        n=gate("n"),
        rate_factor=si("rate_q10", "number") ** (warmer / 10.0),
        spike_threshold_V=si("spike_threshold", "voltage"),
        largest_step_s=si("largest_step", "time"),
    )
