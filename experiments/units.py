"""Quantities as a user writes them: a number in the declared unit, or text with a unit.

Each name is an annotated ``float`` for a settings model. ``"100 nM"`` for a `ConcentrationM`
becomes ``1e-7``; ``100`` would stay ``100.0`` M. The unit library is loaded only for text.
"""

import hashlib
import math
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer
from pydantic_core import PydanticCustomError

_NUMBER = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?)\s*(.*?)\s*", re.DOTALL)
_WORD = r"[A-Za-zµμΩ°%]+(?:\s*(?:\^|\*\*)\s*-?\d)?"
_UNIT = re.compile(rf"(?:1\s*/\s*)?{_WORD}(?:\s*[/*·]\s*{_WORD}|\s+{_WORD})*")


@dataclass(frozen=True)
class Measure:
    """What a settings value measures: a word for it, declared unit, example and range."""

    what: str
    unit: str
    example: str
    lo: float = -math.inf
    hi: float = math.inf
    positive: bool = False

    def read(self, value) -> float:
        """Return ``value`` as a float in the declared unit.

        Raises a pydantic error that carries cause and fix for a wrong dimension, an unknown
        unit, text without a unit, a value out of range, or anything that is not finite.
        """
        if isinstance(value, str):
            number = self._from_text(value)
        elif isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong("neither a number nor text with a unit")
        else:
            number = _finite_or_none(value)
        if number is None or not math.isfinite(number):
            raise self._wrong("not a finite number")
        if not self.lo <= number <= self.hi:
            side = f"below {self.lo:g}" if number < self.lo else f"above {self.hi:g}"
            bound = "negative" if side == "below 0" else f"{side} {self.unit}"
            raise self._wrong(f"a {self.what} cannot be {bound}")
        if self.positive and number == 0:
            raise self._wrong(f"a {self.what} cannot be zero")
        return number

    def _from_text(self, text: str) -> float | None:
        match = _NUMBER.fullmatch(text)
        if match is None:
            raise self._wrong("no number in front")
        number, unit = float(match[1]), match[2]
        if not unit:
            raise self._wrong("text without a unit")
        if len(unit) > 40 or _UNIT.fullmatch(unit) is None:
            raise self._wrong(f"{unit[:40]!r} cannot be read as a unit")
        registry = _registry()
        try:
            given, wanted = registry.parse_units(unit), registry.parse_units(self.unit)
        except (
            Exception
        ) as error:  # the unit library raises several unrelated kinds for text it does not know
            raise self._wrong(f"unknown unit {unit!r}") from error
        if not _same(given, wanted):
            raise self._wrong(f"{unit!r} does not measure a {self.what}")
        converted = registry.Quantity(number, given).to(wanted).magnitude
        return float(f"{converted:.15g}")  # "100 nM" is 1e-07 M, the same input as the number

    def _wrong(self, cause: str) -> PydanticCustomError:
        fix = f'give a number in {self.unit}, or text with a unit such as "{self.example}"'
        if self.lo == 0:
            fix += ", not negative"
        context = {"cause": f"{cause}; expected a {self.what} in {self.unit}", "fix": fix}
        return PydanticCustomError("quantity", "{cause}", context)


def _finite_or_none(value) -> float | None:
    try:
        return float(value)
    except OverflowError:
        return None


@cache
def _registry():
    import pint

    return pint.UnitRegistry(cache_folder=None)


def _same(given, wanted) -> bool:
    # a dose rate per body weight has the bare dimension 1/time: its mass per mass must be there too
    return given.dimensionality == wanted.dimensionality and _masses(given) == _masses(wanted)


def _masses(units) -> list:
    from pint.util import to_units_container

    registry = _registry()
    powers = to_units_container(units).items()
    return sorted(
        power for name, power in powers if dict(registry.get_dimensionality(name)) == {"[mass]": 1}
    )


def _quantity(measure: Measure):
    return Annotated[float, BeforeValidator(measure.read)]


ConcentrationM = _quantity(Measure("concentration", "M", "100 nM", lo=0))
ConcentrationNM = _quantity(Measure("concentration", "nM", "100 nM", lo=0))
PlasmaNgPerML = _quantity(Measure("mass concentration", "ng/mL", "78 ng/mL", lo=0))
RateUgPerKgPerH = _quantity(Measure("dose rate per body weight", "ug/kg/h", "60 ug/kg/h", lo=0))
MolarMassGPerMol = _quantity(Measure("molar mass", "g/mol", "318.5 g/mol", lo=0, positive=True))
TimeS = _quantity(Measure("time", "s", "4 s", lo=0))
TimeH = _quantity(Measure("time", "h", "60 h", lo=0))
WeightKg = _quantity(Measure("weight", "kg", "70 kg", lo=0, positive=True))
TemperatureC = _quantity(Measure("temperature", "degC", "37 degC", lo=-273.15))
ConductanceS = _quantity(Measure("conductance", "S", "1 nS", lo=0))
ConductancePS = _quantity(Measure("conductance", "pS", "27 pS", lo=0))
VoltageV = _quantity(Measure("voltage", "V", "-70 mV"))
FrequencyHz = _quantity(Measure("frequency", "Hz", "5 Hz", lo=0))


def _existing_file(value) -> str:
    if not isinstance(value, str) or not Path(value).is_file():
        context = {
            "cause": "no such file",
            "fix": "give the path of a file that exists and can be read",
        }
        raise PydanticCustomError("quantity", "{cause}", context)
    return value


def _content(path: str) -> dict:
    # inputs are told apart by what the file holds; the folder it lies in is nobody's business
    return {"file": Path(path).name, "sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest()}


InputFile = Annotated[str, BeforeValidator(_existing_file), PlainSerializer(_content)]
