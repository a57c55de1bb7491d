"""Published numbers a run is held to, and what came of each."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

from gabatone.kernels.card import STATUSES
from gabatone.kernels.errors import BadInput

KEYS = ("id", "quantity", "unit", "published", "lo", "hi", "ours", "source", "status", "verdict")


@dataclass(frozen=True)
class Check:
    """One published number, the range that would confirm it, and ours.

    ``verdict`` follows: ``met`` inside [lo, hi] (either bound may be None), ``missed`` outside
    or without a finite value of ours, ``shown`` where there is no range or the published number
    is only recalled or assumed.
    """

    id: str
    quantity: str
    unit: str
    published: float | None
    lo: float | None
    hi: float | None
    ours: float | None
    source: str
    status: str
    verdict: str = field(init=False)

    def __post_init__(self):
        if self.status not in STATUSES:
            fix = f"use one of {', '.join(STATUSES)}"
            raise BadInput(f"check {self.id}.status", self.status, "unknown status", fix)
        for name in ("published", "lo", "hi", "ours"):
            object.__setattr__(self, name, _number(getattr(self, name)))
        object.__setattr__(self, "verdict", self._judge())

    def _judge(self) -> str:
        if self.status not in ("read", "derived") or (self.lo is None and self.hi is None):
            return "shown"
        if self.ours is None:
            return "missed"
        above = self.lo is None or self.ours >= self.lo
        below = self.hi is None or self.ours <= self.hi
        return "met" if above and below else "missed"

    def row(self) -> dict:
        """Return the check as JSON-ready data with the keys `KEYS`, in that order."""
        return {key: getattr(self, key) for key in KEYS}


def _number(value) -> float | None:
    # JSON has no NaN: what is not finite is written as null
    return float(value) if value is not None and math.isfinite(value) else None


def checks_text(checks) -> str:
    """Return the JSON list of ``checks`` as written to ``checks.json``."""
    return json.dumps([check.row() for check in checks], indent=1, ensure_ascii=False) + "\n"


def read_checks(path) -> list[Check]:
    """Read a ``checks.json``; `BadInput` for broken JSON, wrong keys or a verdict not earned."""
    path = Path(path)
    place = f"{path.parent.name}/{path.name}"
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(
            place, path.name, f"cannot be read ({error.strerror})", "check the path"
        ) from error
    except ValueError as error:
        raise BadInput(place, str(error), "not valid JSON", "run the experiment again") from error
    if not isinstance(rows, list):
        raise BadInput(
            place, type(rows).__name__, "not a list of checks", "run the experiment again"
        )
    return [_read_row(f"{place}[{i}]", row) for i, row in enumerate(rows)]


def _read_row(place: str, row) -> Check:
    fix = f"give exactly the keys {', '.join(KEYS)}"
    if not isinstance(row, dict) or sorted(row) != sorted(KEYS):
        raise BadInput(place, sorted(row) if isinstance(row, dict) else row, "wrong keys", fix)
    verdict = row.pop("verdict")
    try:
        check = Check(**row)
    except TypeError as error:
        raise BadInput(
            place, row.get("id"), "a number is not a number", "run the experiment again"
        ) from error
    if check.verdict != verdict:
        cause = f"the numbers say {check.verdict}"
        raise BadInput(f"{place}.verdict", verdict, cause, "run the experiment again")
    return check
