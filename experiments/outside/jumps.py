"""The five-state example after a step from 0 to 10 uM, its critical shut times and dose-response."""

import re

import numpy as np

from gabatone.experiments.outside import ch82
from gabatone.experiments.outside.published import check, table
from gabatone.kernels.receptor.partition import partition
from gabatone.kernels.receptor.relaxation import relaxation

STEP_M = 1e-5


def rows() -> list[dict]:
    """One verdict for each published number."""
    rounded = ch82.example("0.66667")
    return _step() + [
        check(row, ch82.value(row["quantity"], rounded), prefix="ch82")
        for row in table("ch82_tcrit_popen")
    ]


def _step() -> list[dict]:
    scheme = ch82.scheme()
    rest, after = (partition(scheme, {ch82.LIGAND: conc}) for conc in (0.0, STEP_M))
    on = relaxation(after, rest.equilibrium)
    arrays = {"on_eigenvalue": -on.rates_per_s, "weighted_on_tau_ms": 1e3 * on.weighted_tau_s}
    found = []
    for row in table("ch82_concentration_jump"):
        name, place = re.fullmatch(r"(\w+)(?:\[(.+)\])?", row["quantity"]).groups()
        if name == "pinf":
            ours = after.equilibrium[ch82.STATES.index(place)]
        else:
            ours = np.atleast_1d(arrays[name])[int(place or 1) - 1]
        found.append(check(row, float(ours), prefix="jump"))
    return found
