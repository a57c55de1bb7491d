"""Subunit compositions: where a receptor sits, its scheme, and its sensitivity to steroid."""

import re
import tomllib
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import equinox as eqx
import numpy as np

from gabatone.kernels.card import Card, read_cards
from gabatone.kernels.errors import BadInput
from gabatone.kernels.receptor.catalogue import load_scheme
from gabatone.kernels.receptor.names import known
from gabatone.kernels.receptor.reversibility import require_reversible
from gabatone.kernels.receptor.scheme import KineticScheme
from gabatone.kernels.receptor.steroid import Steroid
from gabatone.kernels.receptor.steroid_catalogue import load_steroid

_HERE = Path(__file__).parent
_GREEK = {"α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta"}


@dataclass(frozen=True)
class Composition:
    """A kind of receptor by its subunits.

    ``scheme`` is the nearest default with a few rates scaled, ``steroid`` the site with the
    affinity of this receptor; ``status`` says how firm the scheme is. `cards` holds every
    number that made the difference, and ``measured_EC50`` (uM) where one is known.
    """

    key: str
    title: str
    place: str
    region: str
    place_status: str
    base: str
    status: str
    why: str
    scheme: KineticScheme
    steroid: Steroid
    cards: dict[str, Card] = field(hash=False)


def composition_names() -> list[str]:
    """Keys that `load_composition` knows: alpha, beta, gamma or delta as in ``a4bd``."""
    return list(_texts())


def load_composition(name: str, *, steroid: str = "allopregnanolone") -> Composition:
    """A receptor by its subunits: ``"a4bd"``, ``"alpha4-beta-delta"`` or ``"α4β3δ"``.

    The kind of beta subunit and the splice form of gamma2 are not told apart. Raises
    `BadInput`, with the nearest names, for a composition or steroid that is not known.
    """
    short = name if name in _texts() else _short(name)
    key = known(short, composition_names(), "composition", given=name)
    text, cards = _texts()[key], _cards(key)
    scale = {
        part.removeprefix("scale."): card.value
        for part, card in cards.items()
        if part.startswith("scale.")
    }
    base = load_scheme(text["base"])
    scheme = base
    if scale:
        scheme = _changed(
            scale_rates(base, scale, name=key),
            facts=replace(
                base.facts,
                status=text["status"],
                receptor=text["title"],
                notes=f"{base.name} with rates scaled: {text['why']}",
                known_misfits=(),
            ),
        )
    site = load_steroid(steroid)
    site = eqx.tree_at(
        lambda s: s.dissociation_closed_M,
        site,
        site.dissociation_closed_M * cards["steroid_K"].value,
    )
    return Composition(key=key, **text, scheme=scheme, steroid=site, cards=cards)


def scale_rates(
    scheme: KineticScheme, factors: dict[str, float], *, name: str = ""
) -> KineticScheme:
    """The scheme with all rates of a symbol multiplied by one factor, its cycles checked again.

    Raises `BadInput` for a symbol the scheme lacks, a factor that is not finite and above 0,
    or factors that unbalance a cycle.
    """
    for symbol, factor in factors.items():
        if symbol not in scheme.facts.symbols:
            known(symbol, sorted(set(scheme.facts.symbols)), f"rate of {scheme.name}")
        if not (np.isfinite(factor) and factor > 0):
            raise BadInput(
                f"factor of {symbol}", factor, "not finite and above 0", "give a positive factor"
            )
    change = np.log([factors.get(symbol, 1.0) for symbol in scheme.facts.symbols])
    scaled = eqx.tree_at(lambda s: s.log_rate, scheme, scheme.log_rate + change)
    scaled = _changed(scaled, name=name or f"{scheme.name}, scaled")
    require_reversible(scaled)
    return scaled


def _changed(scheme: KineticScheme, **changes) -> KineticScheme:
    fields = {f: getattr(scheme, f) for f in scheme.__dataclass_fields__}
    return KineticScheme(**{**fields, **changes})


def _short(name: str) -> str:
    text = str(name).lower()
    for letter, word in _GREEK.items():
        text = text.replace(letter, word)
    for word in _GREEK.values():
        text = text.replace(word, word[0])
    text = re.sub(r"[^a-z0-9]", "", text)
    return re.sub(r"g2[sl]$", "g2", re.sub(r"b\d", "b", text))


@cache
def _texts() -> dict[str, dict[str, str]]:
    return tomllib.loads((_HERE / "composition.toml").read_text(encoding="utf-8"))


@cache
def _cards(key: str) -> dict[str, Card]:
    cards = read_cards(_HERE / "composition_cards.toml")
    return {k.removeprefix(f"{key}."): c for k, c in cards.items() if k.startswith(f"{key}.")}
