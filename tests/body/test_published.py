"""Published exposure numbers (tests/outside/pk_rows.csv) against the model as it stands.

A published number that the model does not meet stays here as a strict xfail with its distance.
"""

import csv
import re
from pathlib import Path

import jax
import numpy as np
import pytest

from gabatone.kernels.body.dosing import load_schedule
from gabatone.kernels.body.pharmacokinetics import (
    area_ng_h_per_mL,
    half_lives_h,
    load_brexanolone_population,
    plasma_ng_per_mL,
)

POPULATION = load_brexanolone_population()
TYPICAL = POPULATION.typical(POPULATION.reference_weight_kg)
WEIGHT_KG = POPULATION.reference_weight_kg
# where a published mean has no interval: the band of the area under the curve, set beforehand
BAND = 0.05


def rows():
    path = Path(__file__).parents[1] / "outside" / "pk_rows.csv"
    with path.open(newline="") as file:
        found = list(csv.DictReader(file))
    assert all(row["status"] in ("read", "derived") for row in found)
    return found


def rounding(text):
    """Half a unit of the last printed digit."""
    return 0.5 * 10.0 ** -len(text.partition(".")[2])


def plasma(regimen, time_h, model=TYPICAL):
    return np.asarray(
        plasma_ng_per_mL(model, load_schedule(regimen), WEIGHT_KG, np.atleast_1d(time_h))
    )


def row(parameter, regimen="BRX90"):
    (found,) = [r for r in rows() if r["parameter"] == parameter and r["regimen"] in (regimen, "")]
    return found


CURVE = [r for r in rows() if r["parameter"].startswith("C(t=")]


def test_the_curve_has_all_its_rows():
    assert len(CURVE) == 26


@pytest.mark.parametrize("row", CURVE, ids=lambda r: f"{r['regimen']} {r['parameter'][2:8]}")
def test_typical_concentration_to_the_printed_digit(row):
    (hour,) = re.match(r"C\(t=(\d+) h\)", row["parameter"]).groups()
    ours = plasma(row["regimen"], float(hour))[0]
    assert abs(ours - float(row["value"])) <= rounding(row["value"]) * (1 + 1e-9)


@pytest.mark.parametrize(
    ("parameter", "ours"),
    [
        ("CL per kg at 82.9 kg", lambda: TYPICAL.clearance_L_per_h / WEIGHT_KG),
        (
            "Vss per kg at 82.9 kg",
            lambda: (TYPICAL.central_volume_L + TYPICAL.peripheral_volume_L) / WEIGHT_KG,
        ),
        ("distribution half-life (alpha)", lambda: half_lives_h(TYPICAL)[0]),
        ("terminal half-life (beta)", lambda: half_lives_h(TYPICAL)[1]),
    ],
)
def test_derived_constants_to_the_printed_digit(parameter, ours):
    published = row(parameter)["value"]
    assert abs(float(ours()) - float(published)) <= rounding(published)


def women(n=4000):
    return POPULATION.sample(jax.random.key(2022), n)


def test_plateau_at_90_lies_in_the_published_interval():
    published = row("plateau plasma conc at 52 h (median)")
    low, middle, high = (float(published[k]) for k in ("lo", "value", "hi"))
    for ours in (plasma("BRX90", 52.0)[0], np.median(plasma("BRX90", 52.0, women()))):
        assert low <= ours <= high
        assert abs(ours / middle - 1) < BAND


@pytest.mark.xfail(reason="typical woman 80.0, median of women 79.7, against 78 read off a figure")
def test_plateau_at_90_to_the_printed_digit():
    published = row("plateau plasma conc at 52 h (median)")["value"]
    ours = plasma("BRX90", 52.0)[0], np.median(plasma("BRX90", 52.0, women()))
    assert min(abs(np.array(ours) - float(published))) <= rounding(published)


def test_plateau_at_60_to_the_printed_digit():
    published = row("plateau plasma conc at 56 h (median)", "BRX60")["value"]
    for ours in (plasma("BRX60", 56.0)[0], np.median(plasma("BRX60", 56.0, women()))):
        assert abs(ours - float(published)) <= rounding(published)


def test_upper_end_between_women():
    published = float(row("plateau plasma conc at 52 h (median)")["hi"])
    assert abs(np.percentile(plasma("BRX90", 52.0, women()), 97.5) / published - 1) < BAND


@pytest.mark.xfail(reason="2.5 % of women lie below 53, not 50; the published one is off a figure")
def test_lower_end_between_women():
    published = float(row("plateau plasma conc at 52 h (median)")["lo"])
    assert abs(np.percentile(plasma("BRX90", 52.0, women()), 2.5) / published - 1) < BAND


def area(start_h, stop_h):
    ends = area_ng_h_per_mL(TYPICAL, load_schedule("BRX90"), WEIGHT_KG, np.array([start_h, stop_h]))
    return float(ends[1] - ends[0])


def top():
    time_h = np.linspace(0, 72, 1441)
    curve = plasma("BRX90", time_h)
    return float(curve.max()), float(time_h[curve.argmax()])


WITH_INTERVAL = {
    "Cmax": lambda: top()[0],
    "Tmax (median)": lambda: top()[1],
    "Cavg 24-56 h": lambda: area(24, 56) / 32,
    "AUCinf": lambda: area(0, np.inf),
    "terminal half-life": lambda: float(half_lives_h(TYPICAL)[1]),
}


@pytest.mark.parametrize("parameter", WITH_INTERVAL)
def test_typical_woman_lies_in_the_published_interval(parameter):
    published = row(parameter)
    assert float(published["lo"]) <= WITH_INTERVAL[parameter]() <= float(published["hi"])


WITHOUT_INTERVAL = {
    "CL (NCA)": lambda: float(TYPICAL.clearance_L_per_h),
    "AUC0-60": lambda: area(0, 60),
    "AUC24-56": lambda: area(24, 56),
    "AUCinf": lambda: area(0, np.inf),
}


@pytest.mark.parametrize("parameter", WITHOUT_INTERVAL)
def test_typical_woman_lies_near_the_published_mean(parameter):
    assert abs(WITHOUT_INTERVAL[parameter]() / float(row(parameter)["value"]) - 1) < BAND


def test_every_published_row_is_judged():
    judged = {*WITH_INTERVAL, *WITHOUT_INTERVAL, *(r["parameter"] for r in CURVE)}
    judged |= {"CL per kg at 82.9 kg", "Vss per kg at 82.9 kg"}
    judged |= {"distribution half-life (alpha)", "terminal half-life (beta)"}
    judged |= {f"plateau plasma conc at {hour} h (median)" for hour in (52, 56)}
    assert {r["parameter"] for r in rows()} == judged
