"""The outside suites that ``gabatone check`` runs, and their verdicts.

A suite is a module beside this one with ``rows() -> list of dict`` in the form of
``checks.json`` and, where chance plays a part, ``FALSE_ALARM``: the probability that a correct
program misses any row.
"""

import difflib
import inspect
from dataclasses import dataclass
from importlib import import_module

from gabatone.kernels.errors import BadInput, Failure

SUITES = {
    "ch82": "single-channel theory: the five-state example of Colquhoun & Hawkes 1982",
    "missed_events": "likelihood with missed events",
    "jumps": "concentration jumps, critical shut times, EC50",
    "dsmts": "stochastic SBML suite: means and standard deviations of reaction networks",
    "curves": "reference curves of every scheme of the catalogue",
}


@dataclass(frozen=True)
class Verdict:
    """What came of one suite; ``failure`` is the text of a computation that gave no result."""

    suite: str
    title: str
    false_alarm: float
    rows: tuple[dict, ...]
    failure: str = ""

    def count(self, verdict: str) -> int:
        """Rows with that verdict: ``met``, ``missed`` or ``shown``."""
        return sum(row["verdict"] == verdict for row in self.rows)

    @property
    def passed(self) -> bool:
        """Whether every row that is held to a range is inside it."""
        return not self.failure and bool(self.rows) and not self.count("missed")

    def summary(self) -> dict:
        """The verdict as JSON-ready data."""
        return {
            "suite": self.suite,
            "title": self.title,
            "verdict": "passed" if self.passed else "failed",
            "false_alarm": self.false_alarm,
            **{verdict: self.count(verdict) for verdict in ("met", "missed", "shown")},
            "failure": self.failure,
            "checks": list(self.rows),
        }


def chosen(names) -> list[str]:
    """Suites by name; all of them for no names, none for ``none``. `BadInput` for an unknown name."""
    names = list(names or SUITES)
    if names == ["none"]:
        return []
    for name in names:
        if name not in SUITES:
            near = difflib.get_close_matches(name, SUITES, n=1, cutoff=0.0)[0]
            fix = f"write {near}, or none; the suites are {', '.join(SUITES)}"
            raise BadInput("--suite", name, "no suite of that name", fix)
    return list(dict.fromkeys(names))


def run_suite(name: str, *, quick: bool = False, progress=None) -> Verdict:
    """Run one suite. A `Failure` inside it makes a failed verdict, so that the others still run."""
    module = import_module(f"gabatone.experiments.outside.{name}")
    offered = {"quick": quick, "progress": progress}
    taken = inspect.signature(module.rows).parameters
    false_alarm = float(getattr(module, "FALSE_ALARM", 0.0))
    try:
        rows, failure = module.rows(**{k: v for k, v in offered.items() if k in taken}), ""
    except Failure as error:
        rows, failure = [], str(error)
    return Verdict(name, SUITES[name], false_alarm, tuple(rows), failure)
