"""Infusion schedules: who gets how much per kilogram, and when."""

import csv
import difflib
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gabatone.kernels.errors import BadInput

SCHEDULES = Path(__file__).parent / "cards" / "dosing_schedules.csv"
RATE_UNIT = "ug/kg/h"
_NEEDED = ("regimen", "t_start_h", "t_end_h", "rate_or_dose", "unit", "status")


def _vector(values):
    return jnp.atleast_1d(jnp.asarray(values, dtype=jnp.result_type(float)))


class Schedule(eqx.Module):
    """Constant-rate infusions one after the other; nothing flows between or outside them.

    Parameters
    ----------
    name : str
    start_h, stop_h : float [interval]
        Ends of each infusion, in h after the start of dosing, in order and without overlap.
    rate_ug_per_kg_h : float [interval]
        Rate of each infusion per kilogram of body weight.

    Raises
    ------
    BadInput
        A negative or non-finite number, an interval of no length, intervals that overlap or are
        out of order, or arrays of different length.
    """

    name: str = eqx.field(static=True)
    start_h: Float[Array, " interval"] = eqx.field(converter=_vector)
    stop_h: Float[Array, " interval"] = eqx.field(converter=_vector)
    rate_ug_per_kg_h: Float[Array, " interval"] = eqx.field(converter=_vector)

    def __check_init__(self):
        arrays = (self.start_h, self.stop_h, self.rate_ug_per_kg_h)
        if not any(isinstance(array, jax.core.Tracer) for array in arrays):
            _check(self.name, *(np.asarray(array, np.float64) for array in arrays))

    @property
    def total_dose_ug_per_kg(self) -> Float[Array, ""]:
        """Everything infused, per kilogram."""
        return jnp.sum(self.rate_ug_per_kg_h * (self.stop_h - self.start_h))

    @property
    def breaks_h(self) -> np.ndarray:
        """Times at which the rate changes, increasing, for solvers that must stop there."""
        return np.unique(np.concatenate([np.asarray(self.start_h), np.asarray(self.stop_h)]))


def schedule_names(path: str | Path = SCHEDULES) -> list[str]:
    """Names in a schedule file, in its order."""
    return list(dict.fromkeys(row["regimen"] for _, row in _rows(Path(path))))


def load_schedule(name: str, path: str | Path = SCHEDULES) -> Schedule:
    """Read one schedule from a CSV with a row for each infusion.

    The columns ``regimen, t_start_h, t_end_h, rate_or_dose, unit, status`` are needed; the unit
    is ug/kg/h. Raises `BadInput` for an unknown name (with the nearest ones), a missing column,
    another unit, a number that is none, or a row that is only recalled.
    """
    path = Path(path)
    rows = _rows(path)
    mine = [(line, row) for line, row in rows if row["regimen"] == name]
    if not mine:
        known = list(dict.fromkeys(row["regimen"] for _, row in rows))
        near = difflib.get_close_matches(str(name).upper(), known, n=3, cutoff=0.4) or known
        raise BadInput("schedule", name, "no schedule of that name", f"use {' or '.join(near)}")
    for line, row in mine:
        if row["unit"] != RATE_UNIT:
            raise BadInput(
                f"{path.name}: line {line}: unit",
                row["unit"],
                "an infusion rate needs a rate per kilogram",
                f"give the rate in {RATE_UNIT}",
            )
        if row["status"] not in ("read", "derived"):
            raise BadInput(
                f"{path.name}: line {line}: status",
                row["status"],
                "a schedule must have been seen in a source",
                "use a row that is read or derived, or build Schedule from your own numbers",
            )
    columns = ("t_start_h", "t_end_h", "rate_or_dose")
    numbers = [[_number(path, line, row, column) for line, row in mine] for column in columns]
    return Schedule(name, *numbers)


def _rows(path: Path) -> list[tuple[int, dict]]:
    try:
        text = path.read_text()
    except OSError as error:
        raise BadInput("schedule file", str(path), "cannot be read", "check the path") from error
    reader = csv.DictReader(text.splitlines())
    missing = [column for column in _NEEDED if column not in (reader.fieldnames or ())]
    if missing:
        raise BadInput(
            f"{path.name}: header", reader.fieldnames, f"no column {missing[0]}", "add the column"
        )
    return [(line, row) for line, row in enumerate(reader, start=2)]


def _number(path: Path, line: int, row: dict, column: str) -> float:
    try:
        return float(row[column])
    except (TypeError, ValueError) as error:
        raise BadInput(
            f"{path.name}: line {line}: {column}", row[column], "not a number", "give a number"
        ) from error


def _check(name: str, start, stop, rate) -> None:
    where = f"schedule {name}: "
    if not start.shape == stop.shape == rate.shape or start.ndim != 1:
        raise BadInput(
            where + "start_h, stop_h, rate_ug_per_kg_h",
            (start.shape, stop.shape, rate.shape),
            "one number is needed for each infusion in each of the three",
            "give three lists of one length",
        )
    for field, values in (("start_h", start), ("stop_h", stop), ("rate_ug_per_kg_h", rate)):
        for i in np.flatnonzero(~np.isfinite(values) | (values < 0)):
            cause = "negative" if values[i] < 0 else "not a finite number"
            fix = "give a number of 0 or more"
            raise BadInput(f"{where}{field}[{i}]", float(values[i]), cause, fix)
    for i in np.flatnonzero(stop <= start):
        cause = f"the infusion stops at or before its start, {start[i]} h"
        raise BadInput(f"{where}stop_h[{i}]", float(stop[i]), cause, "give a later stop")
    for i in np.flatnonzero(start[1:] < stop[:-1]) + 1:
        cause = f"infusion {i} starts before infusion {i - 1} stops, at {stop[i - 1]} h"
        fix = "put the infusions in order and let none overlap"
        raise BadInput(f"{where}start_h[{i}]", float(start[i]), cause, fix)
