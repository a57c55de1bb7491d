"""A drive cut into windows on which it is a constant, a ramp and exponentials."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from gabatone.kernels.drive.ligand import Drive
from gabatone.kernels.errors import BadInput


@dataclass(frozen=True)
class Segments:
    """Windows between `edge_s` [window + 1]; times inside a window run from its start.

    ``value_l(t) = level[w, l] + slope[w, l] t + sum_k amplitude[w, k] exp(-t / tau_s[k])``
    where the k-th exponential belongs to ligand ``decay_ligand[k]``. `bound` [window, ligand]
    is never below that value.
    """

    ligands: tuple[str, ...]
    edge_s: np.ndarray
    level: np.ndarray | jax.Array
    slope: np.ndarray | jax.Array
    amplitude: np.ndarray | jax.Array
    tau_s: np.ndarray
    decay_ligand: np.ndarray
    bound: np.ndarray | jax.Array

    @property
    def length_s(self) -> np.ndarray:
        """Length of each window, s."""
        return np.diff(self.edge_s)

    @property
    def smooth(self) -> bool:
        """Whether any concentration changes inside a window."""
        return bool(np.any(np.asarray(self.slope) != 0)) or len(self.tau_s) > 0

    def concentrations(self, window: int) -> dict:
        """``{ligand: level}`` of one window of a piecewise-constant drive."""
        return {name: self.level[window, k] for k, name in enumerate(self.ligands)}


def compile_drive(
    drive: Drive, ligands: tuple[str, ...], t1_s: float, *, cuts_s=(), longest_s=np.inf
) -> Segments:
    """Cut `drive` at its breaks and at `cuts_s`, into windows no longer than `longest_s`.

    Raises `BadInput` for a ligand that is not in `ligands`.
    """
    for part in drive.parts():
        if part.ligand not in ligands:
            raise BadInput(
                "drive",
                part.ligand,
                "the scheme has no transition that depends on this ligand",
                f"use one of {list(ligands)}, or a product scheme: scheme.with_steroid(load_steroid(...))",
            )
    breaks = drive.breaks_s(t1_s)
    cuts = np.asarray(cuts_s, float)
    edge = np.unique(np.concatenate([[0.0, t1_s], breaks, cuts[(cuts > 0) & (cuts < t1_s)]]))
    edge = _split(edge, longest_s)
    start, stop = edge[:-1], edge[1:]
    level = [[] for _ in ligands]
    slope = [[] for _ in ligands]
    decays = []
    for part in drive.parts():
        k = ligands.index(part.ligand)
        value, rise = part.level(start, stop)
        level[k].append(value)
        slope[k].append(rise)
        decays += [(k, amplitude, tau) for amplitude, tau in part.decays(start, stop)]
    columns = [_total(parts, len(start)) for parts in level]
    ramps = [_total(parts, len(start)) for parts in slope]
    lvl, slp = _columns(columns, len(start)), _columns(ramps, len(start))
    amp = _columns([a for _, a, _ in decays], len(start))
    owner = np.array([k for k, _, _ in decays], int)
    bound = (
        lvl + (jnp if isinstance(lvl, jax.Array) else np).maximum(slp, 0) * (stop - start)[:, None]
    )
    for j, k in enumerate(owner):
        bound = bound + amp[:, j : j + 1] * (np.arange(len(ligands)) == k)
    return Segments(
        ligands, edge, lvl, slp, amp, np.array([t for *_, t in decays], float), owner, bound
    )


def _split(edge: np.ndarray, longest: float) -> np.ndarray:
    if not np.isfinite(longest):
        return edge
    pieces = [
        np.linspace(a, b, int(np.ceil((b - a) / longest)) + 1)[:-1]
        for a, b in zip(edge, edge[1:], strict=False)
    ]
    return np.append(np.concatenate(pieces), edge[-1])


def _total(parts: list, n: int):
    total = np.zeros(n)
    for part in parts:
        total = total + part
    return total


def _columns(columns: list, n: int):
    """Stack to [window, column]; host float64 unless a value is being differentiated."""
    if any(isinstance(c, jax.core.Tracer) for c in columns):
        return jnp.stack([jnp.asarray(c) for c in columns], axis=1)
    return (
        np.stack([np.asarray(c, float) for c in columns], axis=1) if columns else np.zeros((n, 0))
    )
