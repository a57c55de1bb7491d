"""The experiments a user can run, by name; a module is imported only when it is asked for.

An experiment module offers ``Settings`` (a `gabatone.experiments.plan.SettingsTable`), ``QUICK``
(overrides for ``--quick``, keys dotted or nested), ``CHAIN`` (stage names in order) and
``run(plan, bench)``.
"""

import difflib
import importlib
from dataclasses import dataclass
from pathlib import Path

from gabatone.kernels.errors import BadInput

CATALOGUE = Path(__file__).parent / "catalogue"


@dataclass(frozen=True)
class Entry:
    """One experiment: its name, its module, what it does in a line, its default settings."""

    name: str
    module: str
    line: str
    defaults: Path

    def load(self):
        """Import and return the experiment module."""
        return importlib.import_module(self.module)


EXPERIMENTS = {
    "brexanolone": Entry(
        "brexanolone",
        "gabatone.experiments.brexanolone",
        "brexanolone infusion -> plasma -> GABA-A channels -> neurons -> HAM-D of the trials",
        CATALOGUE / "brexanolone.toml",
    ),
    "refit-receptor": Entry(
        "refit-receptor",
        "gabatone.experiments.refit",
        "refit of the default synaptic receptor and steroid site to published observables",
        CATALOGUE / "refit_receptor.toml",
    ),
}


def find(name: str) -> Entry:
    """Return the experiment called ``name``; `BadInput` with the nearest names if there is none."""
    if name in EXPERIMENTS:
        return EXPERIMENTS[name]
    raise BadInput("experiment", name, "no such experiment", nearest(name, EXPERIMENTS))


def nearest(name: str, known) -> str:
    """Return advice that names the known names closest to ``name``, or all if none is close."""
    known = [str(entry) for entry in known]
    close = difflib.get_close_matches(str(name), known, n=3, cutoff=0.5)
    if close:
        return "write " + " or ".join(close) + " if that is meant"
    return "use one of " + ", ".join(known) if known else "leave it out"
