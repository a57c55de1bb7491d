"""CSV reading that names file, line and column of whatever is wrong."""

import csv
import math
from pathlib import Path

from gabatone.kernels.errors import BadInput


def read_table(path, columns) -> list[dict]:
    """Rows of a CSV file as dictionaries, with the line number under ``"#"``.

    Raises `BadInput` for a file that cannot be read, a missing column, or a row
    whose number of fields differs from the header.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file, strict=True)
            lines = [(reader.line_num, line) for line in reader if line]
    except OSError as error:
        raise BadInput(path.name, str(path), "the file cannot be read", "check the path") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise BadInput(
            f"{path.name}: line {reader.line_num}",
            str(error),
            "this is not valid CSV",
            "mend the quotes or the encoding (UTF-8) near that line",
        ) from error
    if not lines:
        raise BadInput(path.name, None, "the table is empty", "give a header and rows")
    header = [name.strip() for name in lines[0][1]]
    for column in columns:
        if column not in header:
            raise BadInput(
                f"{path.name}: column {column}",
                header,
                "the column is missing",
                f"add the column {column}",
            )
    if len(set(header)) < len(header):
        raise BadInput(f"{path.name}: header", header, "a column name stands twice", "keep one")
    rows = []
    for number, line in lines[1:]:
        if len(line) != len(header):
            raise BadInput(
                f"{path.name}: row {number}",
                f"{len(line)} fields",
                f"the header has {len(header)} fields",
                "add the missing fields or quote commas inside a field",
            )
        rows.append({"#": number, **{k: v.strip() for k, v in zip(header, line, strict=True)}})
    return rows


def where(file, row, column) -> str:
    """The name of one cell as error messages give it."""
    return f"{Path(file).name}: row {row['#']}, column {column}"


def number(file, row, column, *, required=True, above=None, whole=False):
    """A finite number of one cell, or None for an empty cell that may be empty."""
    text = row.get(column, "")
    if not text:
        if required:
            raise BadInput(where(file, row, column), text, "a number is missing", "give a number")
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or (whole and value != int(value)):
        kind = "a whole number" if whole else "a finite number"
        raise BadInput(
            where(file, row, column), text, f"not {kind}", f"give {kind} without its unit"
        )
    if above is not None and value <= above:
        raise BadInput(
            where(file, row, column),
            text,
            f"must be above {above:g}",
            f"give a number above {above:g}",
        )
    return value


def choice(file, row, column, allowed, default=None):
    """The text of one cell, which must be one of ``allowed``."""
    text = row.get(column, "") or default
    if text not in allowed:
        raise BadInput(
            where(file, row, column),
            text,
            "unknown value",
            f"use one of {', '.join(sorted(allowed))}",
        )
    return text
