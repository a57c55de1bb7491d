"""Number cards: every scientific number with its unit, source, species and status."""

import math
import tomllib
from dataclasses import dataclass
from pathlib import Path

from gabatone.kernels.errors import BadInput

STATUSES = ("read", "derived", "recalled", "assumed")


@dataclass(frozen=True)
class Card:
    """One number and where it comes from.

    ``status`` is one of `STATUSES`: seen in a source, computed from such numbers,
    remembered only, or chosen by us.
    """

    name: str
    value: float
    unit: str
    status: str
    source: str
    species: str
    note: str = ""

    @property
    def firm(self) -> bool:
        """Whether the number may serve as a test oracle or a fitted datum."""
        return self.status in ("read", "derived")


def read_cards(path) -> dict[str, Card]:
    """Read a TOML file of cards, one table each.

    Raises `BadInput`, naming file, table and key, for a missing key, an unknown
    status or a value that is not a finite number.
    """
    path = Path(path)
    try:
        tables = tomllib.loads(path.read_text())
    except OSError as error:
        raise BadInput(path.name, str(path), "the file cannot be read", "check the path") from error
    except tomllib.TOMLDecodeError as error:
        raise BadInput(
            path.name, str(error), "the file is not valid TOML", "mend that line"
        ) from error
    return {key: _card(path.name, key, table) for key, table in tables.items()}


def _card(file: str, key: str, table) -> Card:
    needed = ("value", "unit", "status", "source", "species")
    if not isinstance(table, dict):
        raise BadInput(
            f"{file}: {key}", table, "a card is a table", f"write [{key}] with {', '.join(needed)}"
        )
    for field in needed:
        if field not in table:
            raise BadInput(f"{file}: {key}.{field}", None, "the key is missing", f"give {field}")
    if table["status"] not in STATUSES:
        raise BadInput(
            f"{file}: {key}.status", table["status"], "unknown status", f"use one of {STATUSES}"
        )
    value = table["value"]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadInput(f"{file}: {key}.value", value, "not a finite number", "give a number")
    return Card(
        key,
        float(value),
        table["unit"],
        table["status"],
        table["source"],
        table["species"],
        table.get("note", ""),
    )
