"""Published brexanolone concentrations and what the exposure model gives for them."""

import csv
import re

import jax
import numpy as np

from gabatone.experiments.checks import Check
from gabatone.kernels.body.dosing import load_schedule
from gabatone.kernels.body.pharmacokinetics import (
    BREXANOLONE,
    load_brexanolone_population,
    plasma_ng_per_mL,
)

PUBLISHED = BREXANOLONE.with_name("published_pk.csv")
schedule = load_schedule


def checks(settings) -> list[Check]:
    """Checks of plateau (with the published 95 % interval between women) and of the C(t) rows.

    They hold the published model to its own numbers, so they use its reference weight whatever
    the settings say.
    """
    women = load_brexanolone_population()
    typical, weight = women.typical(women.reference_weight_kg), women.reference_weight_kg
    found = []
    with PUBLISHED.open(newline="") as handle:
        for row in csv.DictReader(handle):
            at = re.match(r"C\(t=(\d+) h\)", row["parameter"])
            plateau = re.match(r"plateau plasma conc at (\d+) h", row["parameter"])
            if at is None and plateau is None:
                continue
            hour = float((at or plateau).group(1))
            ours = float(
                plasma_ng_per_mL(typical, load_schedule(row["regimen"]), weight, np.array([hour]))[
                    0
                ]
            )
            value = float(row["value"])
            lo, hi = (value - 0.05, value + 0.05) if at else _interval(row, value)
            kind = "at" if at else "plateau_at"
            found.append(
                Check(
                    f"pk.{row['regimen']}.{kind}_{hour:g}h",
                    f"plasma brexanolone, {row['parameter']}",
                    "ng/mL",
                    value,
                    lo,
                    hi,
                    ours,
                    row["source"],
                    row["status"],
                )
            )
    return found + _between_women(women)


def _interval(row, value: float) -> tuple[float, float]:
    """The published interval; a plateau without one is held to the digit it was read to."""
    if row["lo"] and row["hi"]:
        return float(row["lo"]), float(row["hi"])
    return value - 0.5, value + 0.5


def _between_women(women) -> list[Check]:
    batch = women.sample(jax.random.key(0), 4000)
    plasma = np.asarray(
        plasma_ng_per_mL(batch, load_schedule("BRX90"), women.reference_weight_kg, np.array([52.0]))
    )
    lo, median, hi = np.quantile(plasma[:, 0], (0.025, 0.5, 0.975))
    source, text = (
        "nlmixr2lib_Wald2022",
        "plasma at 52 h under BRX90, women of the reference weight",
    )
    return [
        Check(
            f"pk.BRX90.women_{name}",
            f"{text}: {name}",
            "ng/mL",
            published,
            None,
            None,
            float(ours),
            source,
            "read",
        )
        for name, published, ours in (
            ("2.5th percentile", 50.0, lo),
            ("median", 78.0, median),
            ("97.5th percentile", 117.0, hi),
        )
    ]
