"""A small real experiment for the tests of the shell: samples of an exponential decay.

With TINY_HANG=FILE in the environment it stops for good inside its second stage, after
writing FILE; the results do not depend on it.
"""

import os
import time
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from gabatone.experiments.checks import Check
from gabatone.experiments.plan import SettingsTable
from gabatone.experiments.units import ConcentrationM, InputFile, RateUgPerKgPerH, TimeS
from gabatone.kernels.card import Card
from gabatone.kernels.errors import BadInput, Failure


class Pulse(SettingsTable):
    conc: ConcentrationM
    width: TimeS
    rate: RateUgPerKgPerH


class Settings(SettingsTable):
    draws: int
    pulse: Pulse
    levels: tuple[ConcentrationM, ...] = ()
    observed: InputFile | None = None


QUICK = {"draws": 20}
CHAIN = ("draw", "estimate")


def draw(seed, draws):
    with open(os.environ.get("TINY_COUNT", os.devnull), "a") as count:
        count.write("draw\n")
    key = jax.random.fold_in(jax.random.key(seed), 0)
    return {"waits": jax.random.exponential(key, (draws,)), "key": key}


def estimate(waits, settings):
    if "TINY_HANG" in os.environ:
        Path(os.environ["TINY_HANG"]).write_text("here")
        time.sleep(600)
    if settings.draws == 13:
        raise Failure("unlucky_number", "13 draws never give an estimate; ask for another number")
    if settings.draws == 666:
        raise BadInput("trials.csv: row 3", "", "neither se nor n is given", "give one of them")
    if settings.draws == 777:
        raise KeyboardInterrupt
    return {"mean": float(waits.mean()), "se": float(waits.std() / np.sqrt(waits.size))}


def run(plan, bench):
    settings = plan.settings
    drawn = bench.stage("draw", lambda: draw(plan.seed, settings.draws))
    found = bench.stage("estimate", lambda: estimate(np.asarray(drawn["waits"]), settings))
    bench.table("waits", pd.DataFrame({"wait_s": np.sort(drawn["waits"]), "arm": "tiny"}), "Waits.")
    figure = Figure(figsize=(4, 3))
    figure.add_subplot().plot(np.sort(drawn["waits"]))
    bench.figure("waits", figure, "Sorted waits.")
    waits = np.asarray(drawn["waits"])
    bench.trace(
        "waits", xr.Dataset({"wait_s": ("draw", waits)}, coords={"draw": range(len(waits))})
    )
    bench.posterior({"posterior": xr.Dataset({"mean": (("chain", "draw"), waits[None])})})
    bench.check(Check("mean", "mean wait", "s", 1.0, 0.5, 1.5, found["mean"], "algebra", "derived"))
    bench.check(
        Check("wide", "a wait <too> long", "s", 9.0, 8.0, 10.0, found["mean"], "none", "read")
    )
    bench.check(Check("seen", "error", "s", 0.1, 0.0, 1.0, found["se"], "memory", "recalled"))
    bench.card(Card("tau", 1.0, "s", "assumed", "chosen", "none", "sets the scale"))
    bench.section("Waits", "How long it took.\n\nSecond <paragraph>.", ("waits",), ("waits",))
