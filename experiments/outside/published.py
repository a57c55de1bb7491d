"""Rows of the tables of published numbers, and the bounds their sources declare."""

import csv
import re
from decimal import Decimal
from pathlib import Path

from gabatone.experiments.checks import Check
from gabatone.kernels.errors import BadInput

_HERE = Path(__file__).parent
_NOISE = 1e-12  # digits past the 12th of a float64 computation are rounding


def table(name: str) -> list[dict]:
    """Rows of a CSV file of this folder."""
    with (_HERE / f"{name}.csv").open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def bounds(expected: str, tolerance: str) -> tuple[float | None, float | None]:
    """The range that confirms a published number, from the tolerance its source declares.

    ``N dp``: half a unit of the N-th decimal; ``X rel``, ``X abs``: that much of the number,
    or that much; ``printed``: half a unit of the last printed digit; ``none``: no range. A
    number printed with more digits than float64 carries through is held to 12. Raises
    `BadInput` for anything else.
    """
    value = float(expected)
    places = re.match(r"(\d+) dp", tolerance)
    declared = re.match(r"([\d.e+-]+) (rel|abs)", tolerance)
    if tolerance == "none":
        return None, None
    if places:
        width = 0.5 * 10.0 ** -int(places[1])
    elif declared:
        width = float(declared[1]) * (abs(value) if declared[2] == "rel" else 1.0)
    elif tolerance == "printed":
        width = 0.5 * 10.0 ** Decimal(expected).as_tuple().exponent
        width = max(width, _NOISE * abs(value))
    else:
        raise BadInput(
            "source_tolerance", tolerance, "cannot be read", "write N dp, X rel, X abs or printed"
        )
    return value - width, value + width


def check(row: dict, ours: float, *, prefix: str, label: str | None = None) -> dict:
    """One row of the verdict table from a row of a CSV file (expected, source_tolerance, source)."""
    name = row["quantity"] if label is None else label
    lo, hi = bounds(row["expected"], row["source_tolerance"])
    note = row.get("note", "")
    return Check(
        f"{prefix}.{name}".replace(" ", "_"),
        name + (f" ({note})" if note and lo is None else ""),
        row.get("unit", ""),
        float(row["expected"]),
        lo,
        hi,
        ours,
        row["source"] if not row.get("program") else f"{row['program']} {row['source']}",
        row.get("status") or "read",
    ).row()
