"""A receptor scheme and its steroid site built from a few free numbers, always in detailed balance.

The gating follows the concerted-transition form of `default_synaptic_abg_mwc`: a receptor with n of
N agonists bound opens with the equilibrium ``E_n = 1/(L g^n)``, ``g = c^(2/N)``; its opening rate
is ``alpha E_N g^(phi (N - n))`` and its closing rate that over E_n. The graph is a tree, so no choice
of the numbers can break a cycle.
"""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from gabatone.kernels.card import Card, read_cards
from gabatone.kernels.errors import BadInput
from gabatone.kernels.receptor.catalogue import load_steroid
from gabatone.kernels.receptor.scheme import EQUILIBRIUM, KineticScheme, SchemeFacts
from gabatone.kernels.receptor.steroid import Steroid

FILE = Path(__file__).parent / "receptor_priors.toml"
SETTINGS = Path(__file__).parent / "refit.toml"
SCALES = ("log", "logit")
GABA, STEROID = "GABA", "allopregnanolone"


@cache
def _open_conductance_pS() -> float:
    return read_cards(SETTINGS)["open_conductance"].value


@dataclass(frozen=True)
class Free:
    """One free number: its card (the prior median), its scale, spread and the topologies that use it."""

    card: Card
    scale: str
    spread: float
    needs: str


@dataclass(frozen=True)
class Topology:
    """Which states a scheme has beside the common ones.

    ``second_open`` adds a second open state behind the fully bound closed one; ``third_site``
    adds a third agonist site; ``own_last_site`` lets the last site bind and unbind with rates of
    its own.
    """

    name: str
    second_open: bool = False
    third_site: bool = False
    own_last_site: bool = False

    @property
    def agonists(self) -> int:
        """Number of agonist sites."""
        return 3 if self.third_site else 2


TOPOLOGIES = {
    t.name: t
    for t in (
        Topology("one_open"),
        Topology("two_open", second_open=True),
        Topology("third_site", third_site=True),
        Topology("own_last_site", own_last_site=True),
        Topology("third_site_own", third_site=True, own_last_site=True),
        Topology("two_open_own", second_open=True, own_last_site=True),
    )
}


@cache
def free_numbers(topology: Topology) -> dict[str, Free]:
    """Free numbers of a topology in a fixed order; `BadInput` for a broken prior file."""
    cards, tables = read_cards(FILE), tomllib.loads(FILE.read_text(encoding="utf-8"))
    found = {}
    for name, card in cards.items():
        scale, spread = tables[name].get("scale"), tables[name].get("spread")
        if scale not in SCALES:
            raise BadInput(f"{FILE.name}: {name}.scale", scale, "unknown", f"use one of {SCALES}")
        if not isinstance(spread, int | float) or not 0 < spread < float("inf"):
            raise BadInput(f"{FILE.name}: {name}.spread", spread, "not above 0", "give a number")
        needs = tables[name].get("needs", "")
        if not needs or getattr(topology, needs):
            found[name] = Free(card, scale, float(spread), needs)
    return found


def numbers_at(topology: Topology, z) -> dict:
    """Free numbers by name at standard-normal coordinates `z` [number]; 0 is the prior median."""
    out = {}
    for k, (name, free) in enumerate(free_numbers(topology).items()):
        if free.scale == "log":
            out[name] = free.card.value * jnp.exp(free.spread * z[k])
        else:
            middle = np.log(free.card.value / (1 - free.card.value))
            out[name] = jax.nn.sigmoid(middle + free.spread * z[k])
    return out


def coordinates_of(topology: Topology, numbers: dict) -> np.ndarray:
    """Coordinates z [number] of given numbers: the inverse of `numbers_at`."""
    z = []
    for name, free in free_numbers(topology).items():
        value, middle = float(numbers[name]), free.card.value
        if free.scale == "log":
            z.append(np.log(value / middle) / free.spread)
        else:
            z.append((np.log(value / (1 - value)) - np.log(middle / (1 - middle))) / free.spread)
    return np.array(z)


def build_scheme(topology: Topology, numbers: dict, name: str = "refit") -> KineticScheme:
    """The scheme of a topology with its free numbers; rates may be traced."""
    edges = _edges(topology, numbers)
    source, target, ligand, rate, factor, symbol = zip(*edges, strict=True)
    states, kinds, bound = _states(topology)
    where = {state: k for k, state in enumerate(states)}
    log_rate = [jnp.log(r) + np.log(f) for r, f in zip(rate, factor, strict=True)]
    if not any(isinstance(r, jax.core.Tracer) for r in log_rate):
        log_rate = np.array([float(r) for r in log_rate])
    else:
        log_rate = jnp.stack([jnp.asarray(r, float) for r in log_rate])
    return KineticScheme(
        log_rate=log_rate,
        conductance_pS=_open_conductance_pS() * np.array([float(k == "open") for k in kinds]),
        name=name,
        states=states,
        kinds=kinds,
        source=tuple(where[s] for s in source),
        target=tuple(where[s] for s in target),
        ligands=ligand,
        initial=EQUILIBRIUM,
        facts=SchemeFacts(status="derived", bound_agonists=bound, symbols=symbol, factors=factor),
    )


def build_steroid(numbers: dict) -> Steroid:
    """The steroid site of the free numbers; unbinding rate and number of sites are the catalogue's."""
    catalogued = load_steroid(STEROID)
    return Steroid(
        dissociation_closed_M=numbers["K_closed_M"],
        c_open=numbers["c_open"],
        c_desensitized=numbers["c_desensitized"],
        unbinding_closed_per_s=catalogued.unbinding_closed_per_s,
        phi_open=numbers["phi_open"],
        phi_desensitized=numbers["phi_desensitized"],
        n_sites=catalogued.n_sites,
        ligand=STEROID,
        name=STEROID,
        status="derived",
    )


def load_refit_steroid() -> Steroid:
    """The steroid site that was fitted together with the scheme ``refit_synaptic_abg``."""
    return load_steroid(STEROID, site="refit_synaptic")


def _states(topology: Topology):
    n = topology.agonists
    rows = [(f"R{k}", "closed", k) for k in range(n + 1)]
    rows += [(f"O{k}", "open", k) for k in range(n + 1)]
    rows += [("Df", "desensitized", n), ("Ds", "desensitized", n), ("D1", "desensitized", n - 1)]
    if topology.second_open:
        rows.append(("OL", "open", n))
    return tuple(zip(*rows, strict=True))


def _edges(topology: Topology, p: dict) -> list[tuple]:
    n, edges = topology.agonists, []

    def pair(low, high, forward, back, symbols, ligand="", factors=(1.0, 1.0)):
        edges.append((low, high, ligand, forward, factors[0], symbols[0]))
        edges.append((high, low, "", back, factors[1], symbols[1]))

    for k in range(n):
        last = k == n - 1
        own = last and topology.own_last_site
        on, off = ("kon_last", "koff_last") if own else ("kon", "koff")
        factors = (float(n - k), float(k + 1))
        pair(f"R{k}", f"R{k + 1}", p[on], p[off], (on, off), GABA, factors)
    # the whole drive from no to all agonists is L c^2 however many sites share it
    c = p["c"] ** (2.0 / n)
    full = 1.0 / (p["L"] * c**n)
    for k in range(n + 1):
        opening = p["alpha"] * full * c ** (p["phi"] * (n - k))
        closing = opening * p["L"] * c**k
        pair(f"R{k}", f"O{k}", opening, closing, (f"beta{k}", f"alpha{k}"))
    pair(f"R{n}", "Df", p["df"], p["rf"], ("df", "rf"))
    pair(f"R{n}", "Ds", p["ds"], p["rs"], ("ds", "rs"))
    pair(f"R{n - 1}", "D1", p["d1"], p["r1"], ("d1", "r1"))
    if topology.second_open:
        pair(f"R{n}", "OL", p["beta_long"], p["alpha_long"], ("beta_long", "alpha_long"))
    return edges
