"""Independent cycles of a scheme and their ratio of rate products (microscopic reversibility)."""

from dataclasses import dataclass

import numpy as np

from gabatone.kernels.errors import BadInput

LOWEST, HIGHEST = 0.95, 1.05


@dataclass(frozen=True)
class Cycle:
    """One independent cycle: its states in order and forward over reverse product of rates."""

    states: tuple[str, ...]
    ratio: float


def cycle_ratios(scheme) -> list[Cycle]:
    """Ratio of every independent cycle of a scheme; 1 means detailed balance (Kolmogorov's criterion).

    A transition without its reverse counts as a reverse rate of 0. Raises `BadInput` if
    the ligands of a cycle do not cancel, so that its ratio would depend on concentration.
    """
    pairs = _pairs(scheme)
    tree, chords = _spanning_tree(scheme.n_states, list(pairs))
    cycles = []
    for a, b in chords:
        path = [*_tree_path(tree, a, b), a]
        log_ratio, ligands = 0.0, {}
        for i, j in zip(path[:-1], path[1:], strict=True):
            forward, reverse = _directed(pairs, i, j), _directed(pairs, j, i)
            log_ratio += _difference(forward[0], reverse[0])
            for ligand, sign in ((forward[1], 1), (reverse[1], -1)):
                ligands[ligand] = ligands.get(ligand, 0) + sign
        names = tuple(scheme.states[i] for i in path[:-1])
        unbalanced = {k: v for k, v in ligands.items() if k and v}
        if unbalanced and np.isfinite(log_ratio):
            raise BadInput(
                f"{scheme.name}: cycle {'-'.join(names)}",
                unbalanced,
                "binding and unbinding steps do not cancel around the cycle",
                "give each binding step the unbinding step of the same ligand",
            )
        cycles.append(Cycle(names, float(np.exp(log_ratio))))
    return cycles


def require_reversible(scheme) -> list[Cycle]:
    """The cycles, after refusing any whose ratio is outside 0.95 to 1.05 with `BadInput`."""
    cycles = cycle_ratios(scheme)
    for cycle in cycles:
        if not LOWEST <= cycle.ratio <= HIGHEST:
            raise BadInput(
                f"{scheme.name}: cycle {'-'.join(cycle.states)}",
                cycle.ratio,
                "the products of rates around the cycle differ, so the channel would do work for free",
                f"mend a rate of the cycle until the ratio is within {LOWEST} to {HIGHEST}",
            )
    return cycles


def _pairs(scheme) -> dict:
    """Unordered state pair -> {(i, j): (log rate, ligand)}."""
    pairs = {}
    for i, j, ligand, rate in zip(
        scheme.source,
        scheme.target,
        scheme.ligands,
        np.asarray(scheme.log_rate, float),
        strict=True,
    ):
        pairs.setdefault((min(i, j), max(i, j)), {})[(i, j)] = (float(rate), ligand)
    return pairs


def _directed(pairs, i, j) -> tuple[float, str]:
    return pairs[(min(i, j), max(i, j))].get((i, j), (-np.inf, ""))


def _difference(forward: float, reverse: float) -> float:
    if np.isneginf(forward) and np.isneginf(reverse):
        return 0.0
    return forward - reverse


def _spanning_tree(n_states: int, pairs: list) -> tuple[dict, list]:
    parent, chords = list(range(n_states)), []
    tree = {i: [] for i in range(n_states)}

    def root(i):
        while parent[i] != i:
            i = parent[i]
        return i

    for a, b in pairs:
        if root(a) == root(b):
            chords.append((a, b))
        else:
            parent[root(a)] = root(b)
            tree[a].append(b)
            tree[b].append(a)
    return tree, chords


def _tree_path(tree: dict, start: int, goal: int) -> list[int]:
    trail, seen = [[start]], {start}
    while trail:
        path = trail.pop()
        if path[-1] == goal:
            return path
        for nxt in tree[path[-1]]:
            if nxt not in seen:
                seen.add(nxt)
                trail.append([*path, nxt])
    raise AssertionError("a chord joins two states of one tree")
