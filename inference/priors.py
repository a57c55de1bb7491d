"""Priors of the outcome model as cards with a distribution."""

import math
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpyro.distributions as dist

from gabatone.kernels.card import Card, read_cards
from gabatone.kernels.errors import BadInput

FILE = Path(__file__).parent / "priors.toml"
FAMILIES = ("lognormal", "halfnormal", "normal")


@dataclass(frozen=True)
class Prior:
    """A card with a family and a spread; ``family`` None marks a fixed number."""

    card: Card
    family: str | None
    spread: float | None

    @property
    def value(self) -> float:
        """Median (lognormal), centre (normal), 0 (halfnormal) or the fixed number."""
        return self.card.value

    def distribution(self):
        """The NumPyro distribution."""
        if self.family == "lognormal":
            return dist.LogNormal(math.log(self.value), self.spread)
        if self.family == "halfnormal":
            return dist.HalfNormal(self.spread)
        return dist.Normal(self.value, self.spread)


def load_priors(path=None) -> dict[str, Prior]:
    """Read prior cards (the shipped ``priors.toml`` without ``path``).

    Raises `BadInput` for an unknown family, a spread that is not above 0, or a lognormal
    median that is not above 0.
    """
    path = FILE if path is None else Path(path)
    cards = read_cards(path)
    tables = tomllib.loads(path.read_text())
    priors = {}
    for name, card in cards.items():
        family, spread = tables[name].get("family"), tables[name].get("spread")
        here = f"{path.name}: {name}"
        if family is not None and family not in FAMILIES:
            raise BadInput(
                f"{here}.family", family, "unknown family", f"use one of {', '.join(FAMILIES)}"
            )
        if family is not None and not (
            isinstance(spread, int | float) and 0 < spread < float("inf")
        ):
            raise BadInput(
                f"{here}.spread", spread, "a prior needs a spread above 0", "give a number above 0"
            )
        if family == "lognormal" and card.value <= 0:
            raise BadInput(
                f"{here}.value",
                card.value,
                "the median of a lognormal is above 0",
                "give a number above 0",
            )
        priors[name] = Prior(card, family, spread)
    return priors
