"""Published numbers a receptor scheme is fitted to or held against, from ``targets.csv``."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gabatone.kernels.errors import BadInput

FILE = Path(__file__).parent / "targets.csv"
USES, STATUSES = ("calibration", "validation"), ("read", "derived")


@dataclass(frozen=True)
class Target:
    """One published number, its error and the range that would confirm it, with protocol and source.

    ``value`` and ``error`` are None where only a direction was read; ``lo`` and ``hi`` may be None.
    """

    id: str
    quantity: str
    value: float | None
    error: float | None
    lo: float | None
    hi: float | None
    unit: str
    use: str
    protocol: str
    temperature_C: str
    receptor: str
    preparation: str
    species: str
    source: str
    where_seen: str
    status: str
    note: str

    def verdict(self, ours: float) -> str:
        """``met`` inside the range, ``missed`` outside, ``shown`` without one."""
        if self.lo is None and self.hi is None:
            return "shown"
        above = self.lo is None or ours >= self.lo
        return "met" if above and (self.hi is None or ours <= self.hi) else "missed"

    def distance(self, ours: float) -> float:
        """How far `ours` lies outside the range, as a share of the nearer bound; 0 inside."""
        if self.lo is not None and ours < self.lo:
            return ours / self.lo - 1.0
        if self.hi is not None and ours > self.hi:
            return ours / self.hi - 1.0
        return 0.0


def load_targets(path=None) -> dict[str, Target]:
    """Targets by id; without `path` those shipped.

    Raises `BadInput` naming row and column for an unreadable number, a use or status that is not
    allowed (only ``read`` numbers and what is derived from them may be targets), an id given
    twice, or a calibration row without a value.
    """
    path = FILE if path is None else Path(path)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise BadInput(path.name, str(path), "the file cannot be read", "check the path") from error
    found = {}
    for k, row in enumerate(rows):
        target = _target(f"{path.name}: row {k + 2}", row)
        if target.id in found:
            raise BadInput(f"{path.name}: row {k + 2}.id", target.id, "given twice", "rename one")
        found[target.id] = target
    return found


def _target(where: str, row: dict) -> Target:
    fields = {}
    for name in Target.__dataclass_fields__:
        if row.get(name) is None:
            raise BadInput(f"{where}.{name}", None, "the column is missing", "give it")
        text = row[name]
        fields[name] = _number(f"{where}.{name}", text) if name in _NUMBERS else text
    for name, allowed in (("use", USES), ("status", STATUSES)):
        if fields[name] not in allowed:
            raise BadInput(f"{where}.{name}", fields[name], "not allowed", f"use one of {allowed}")
    if fields["use"] == "calibration" and fields["value"] is None:
        raise BadInput(f"{where}.value", None, "a fitted number is missing", "give it")
    return Target(**fields)


_NUMBERS = ("value", "error", "lo", "hi")


def _number(where: str, text: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BadInput(where, text, "not a finite number", "give a number or leave it empty")
    return value


def published_curve(targets: dict[str, Target], time_s) -> tuple[np.ndarray, np.ndarray]:
    """Published deactivation at `time_s` [time]: the three exponentials, and their standard error.

    The error is that of independent shares and time constants, to first order.
    """
    time_s = np.asarray(time_s, float)
    value, variance = np.zeros(len(time_s)), np.zeros(len(time_s))
    for k in (1, 2, 3):
        share, tau = targets[f"curve.share_{k}"], targets[f"curve.tau_{k}"]
        decay = np.exp(-time_s / tau.value)
        value += share.value * decay
        variance += (decay * share.error) ** 2
        variance += (share.value * decay * time_s / tau.value**2 * tau.error) ** 2
    return value, np.sqrt(variance)
