"""Schemes for tests: written as files, built at random, and changed by a factor."""

from dataclasses import dataclass

import equinox as eqx
import numpy as np
from hypothesis import strategies as st

from gabatone.kernels.receptor.scheme import KineticScheme


def write_scheme(path, states, transitions, **top):
    """Write a scheme file; a state is (name, kind), a transition a dict or (from, to, value[, ligand])."""
    text = [f"{key} = {_toml(value)}" for key, value in {"key": path.stem, **top}.items()]
    for name, kind in states:
        text += [
            "[[states]]",
            f'name = "{name}"',
            f'kind = "{kind}"',
            f"conductance_pS = {27.0 if kind == 'open' else 0.0}",
        ]
    for item in transitions:
        if not isinstance(item, dict):
            start, stop, value, ligand = (*item, "")[:4]
            item = {
                "from": start,
                "to": stop,
                "value": value,
                "ligand": ligand,
                "unit": "M^-1 s^-1" if ligand else "s^-1",
            }
        text += ["[[transitions]]", *(f"{key} = {_toml(value)}" for key, value in item.items())]
    path.write_text("\n".join(text) + "\n", encoding="utf-8")
    return path


def _toml(value) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def scale_rate(scheme: KineticScheme, edge: int, factor: float) -> KineticScheme:
    """The scheme with one rate multiplied by `factor`."""
    change = np.where(np.arange(len(scheme.source)) == edge, np.log(factor), 0.0)
    return eqx.tree_at(lambda s: s.log_rate, scheme, scheme.log_rate + change)


def edge_named(scheme: KineticScheme, start: str, stop: str) -> int:
    """Number of the transition from one named state to another."""
    wanted = (scheme.states.index(start), scheme.states.index(stop))
    return list(zip(scheme.source, scheme.target, strict=True)).index(wanted)


@dataclass(frozen=True)
class Reversible:
    """What a scheme in detailed balance is made of: energies (kT), agonists bound, and barriers of edges."""

    energy: tuple[float, ...]
    bound: tuple[int, ...]
    kinds: tuple[str, ...]
    barriers: dict[tuple[int, int], float]

    @property
    def scheme(self) -> KineticScheme:
        """The scheme; one agonist is as likely bound as not at 1 uM, apart from the energies."""
        edges = [edge for pair in self.barriers for edge in (pair, pair[::-1])]
        binding = [self.bound[j] > self.bound[i] for i, j in edges]
        log_rate = [
            self.barriers[min(i, j), max(i, j)]
            + (self.energy[i] - self.energy[j]) / 2
            - np.log(1e-6) * b
            for (i, j), b in zip(edges, binding, strict=True)
        ]
        source, target = zip(*edges, strict=True)
        return KineticScheme(
            log_rate=np.array(log_rate),
            conductance_pS=np.where(np.array(self.kinds) == "open", 27.0, 0.0),
            name="random",
            states=tuple(f"S{i}" for i in range(len(self.energy))),
            kinds=self.kinds,
            source=source,
            target=target,
            ligands=tuple("GABA" if b else "" for b in binding),
            initial="S0",
        )

    def equilibrium(self, conc_M: float) -> np.ndarray:
        """Boltzmann law at a concentration."""
        weight = np.exp(-np.array(self.energy)) * (conc_M / 1e-6) ** np.array(self.bound)
        return weight / weight.sum()


@st.composite
def reversible_schemes(draw, most_states: int = 6):
    """A random tree of states plus random further edges, with rates that follow from energies."""
    n = draw(st.integers(2, most_states))
    energy = tuple(draw(st.floats(-3.0, 3.0)) for _ in range(n))
    bound, pairs = [0], []
    for i in range(1, n):
        parent = draw(st.integers(0, i - 1))
        bound.append(max(0, bound[parent] + draw(st.integers(-1, 1))))
        pairs.append((parent, i))
    spare = [
        (i, j)
        for j in range(n)
        for i in range(j)
        if (i, j) not in pairs and abs(bound[i] - bound[j]) <= 1
    ]
    pairs += draw(st.lists(st.sampled_from(spare), unique=True)) if spare else []
    kinds = (
        "closed",
        "open",
        *(draw(st.sampled_from(["closed", "open", "desensitized"])) for _ in range(n - 2)),
    )
    return Reversible(
        energy, tuple(bound), kinds, {pair: draw(st.floats(0.0, 8.0)) for pair in pairs}
    )
