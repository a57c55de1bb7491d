"""The recorded reference curves of the receptor schemes."""

import csv
from pathlib import Path

import numpy as np

CURVES = Path(__file__).resolve().parents[2] / "experiments" / "outside" / "reference_curves"

# how the recorded curves were sampled: doses before rounding, and where a peak was looked for
DOSES_M = np.logspace(-2, 4, 37) * 1e-6
STEP_TIME_S = np.geomspace(2e-6, 0.5, 500)
PULSE_TIME_S = np.concatenate([np.linspace(0, 1e-3, 201)[1:], 1e-3 + np.linspace(0, 0.05, 500)[1:]])


def columns(name: str) -> dict[str, np.ndarray]:
    """Columns of one recorded curve."""
    rows = rows_of(name)
    return {key: np.array([float(row[key]) for row in rows]) for key in rows[0]}


def rows_of(name: str) -> list[dict[str, str]]:
    """Rows of one recorded table, as text."""
    with (CURVES / f"{name}.csv").open(newline="") as handle:
        return list(csv.DictReader(handle))
