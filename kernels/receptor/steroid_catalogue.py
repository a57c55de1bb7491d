"""Neurosteroids by name, each with a card for every number."""

import tomllib
from functools import cache
from pathlib import Path

from gabatone.kernels.card import STATUSES, Card, read_cards
from gabatone.kernels.receptor.names import known
from gabatone.kernels.receptor.steroid import Steroid

_HERE = Path(__file__).with_name("steroids")


def steroid_names() -> list[str]:
    """Names that `load_steroid` knows."""
    return [name for name in _texts() if name != "site"]


def steroid_facts(name: str) -> dict[str, str]:
    """Chemical title, ligand name, action and what is known of a steroid.

    Raises `BadInput` for an unknown name.
    """
    return dict(_texts()[known(name, steroid_names(), "steroid")])


def site_names() -> list[str]:
    """Fits of the steroid site: ``"common"``, and those that came with a scheme of their own."""
    own = {path.stem for path in _HERE.glob("*.toml")} - {"steroids", "cards"}
    return ["common", *sorted(own)]


def steroid_cards(name: str, *, site: str = "common") -> dict[str, Card]:
    """The numbers of a steroid by field: its own, and those of the site for the rest.

    Raises `BadInput` for an unknown steroid or site.
    """
    known(name, steroid_names(), "steroid")
    known(site, site_names(), "steroid site")
    base = _cards("site") if site == "common" else read_cards(_HERE / f"{site}.toml")
    return {**base, **_cards(name)}


def load_steroid(name: str = "allopregnanolone", *, site: str = "common") -> Steroid:
    """A neurosteroid of the catalogue; brexanolone is allopregnanolone and shares its ligand name.

    A potentiator has the numbers of the `site` (see `site_names`) with K times its relative
    potency; the antagonists of the 3beta and sulfate class have a K and preferences of
    their own. `Steroid.status` is the weakest status among the steroid's own numbers.
    Raises `BadInput` for an unknown name or site.
    """
    cards, facts = steroid_cards(name, site=site), steroid_facts(name)
    value = {field: card.value for field, card in cards.items()}
    where = _texts()["site"]["where"] if site == "common" else cards["K_closed"].source
    return Steroid(
        dissociation_closed_M=value["K_closed"] * 1e-6 * value.get("relative_potency", 1.0),
        c_open=value["c_open"],
        c_desensitized=value["c_desensitized"],
        unbinding_closed_per_s=value["koff_closed"],
        phi_open=value["phi_open"],
        phi_desensitized=value["phi_desensitized"],
        n_sites=int(value["n_sites"]),
        ligand=facts["ligand"],
        name=name,
        status=weakest(card.status for card in _cards(name).values()),
        where=where,
        action=facts["action"],
    )


def weakest(statuses) -> str:
    """The least firm of some statuses: what a number computed from such numbers has."""
    return max(statuses, key=STATUSES.index)


@cache
def _texts() -> dict:
    return tomllib.loads((_HERE / "steroids.toml").read_text(encoding="utf-8"))


@cache
def _cards(owner: str) -> dict[str, Card]:
    cards = read_cards(_HERE / "cards.toml")
    return {
        key.removeprefix(f"{owner}."): card
        for key, card in cards.items()
        if key.startswith(f"{owner}.")
    }
