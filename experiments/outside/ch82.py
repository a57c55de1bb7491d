"""The five-state example of Colquhoun & Hawkes 1982 and what is published about it at 100 nM.

Dwell times, bursts, correlations and missed events by several programs; see README.md here.
"""

import csv
import re
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from gabatone.experiments.outside.published import check, table
from gabatone.kernels.receptor.bursts import Bursts, bursts, critical_time
from gabatone.kernels.receptor.correlation import (
    open_open_correlation,
    open_shut_correlation,
    shut_shut_correlation,
)
from gabatone.kernels.receptor.dwell import open_time, shut_time
from gabatone.kernels.receptor.exponentials import modes
from gabatone.kernels.receptor.partition import Partition, partition
from gabatone.kernels.receptor.relaxation import DoseResponse, equilibrium_dose_response
from gabatone.kernels.receptor.resolution import MissedEvents
from gabatone.kernels.receptor.scheme import KineticScheme, SchemeFacts

LIGAND = "ACh"
STATES = ("AR*", "A2R*", "AR", "A2R", "R")
BRIEF = ("AR", "A2R")
CONC_M = 1e-7
RESOLUTION_S = 1e-4
_ROUNDED = "2k*-2"  # the rate that some programs print and use with five digits
_RATES = Path(__file__).with_name("ch82_rates.csv")


def scheme(rounded_rate_per_s: float | None = None) -> KineticScheme:
    """The scheme; `rounded_rate_per_s` replaces the rate A2R* -> AR* that some programs round."""
    with _RATES.open(newline="", encoding="utf-8") as handle:
        edges = list(csv.DictReader(handle))
    rates = [
        rounded_rate_per_s
        if rounded_rate_per_s is not None and edge["symbol"] == _ROUNDED
        else float(edge["value"])
        for edge in edges
    ]
    is_open = [name.endswith("*") for name in STATES]
    return KineticScheme(
        log_rate=np.log(rates),
        conductance_pS=np.where(is_open, 1.0, 0.0),
        name="ch82",
        states=STATES,
        kinds=tuple("open" if opened else "closed" for opened in is_open),
        source=tuple(STATES.index(edge["from"]) for edge in edges),
        target=tuple(STATES.index(edge["to"]) for edge in edges),
        ligands=tuple(edge["ligand"] for edge in edges),
        initial="R",
        facts=SchemeFacts(
            citation=edges[0]["source"],
            receptor="nicotinic",
            species=edges[0]["species"],
            status=edges[0]["status"],
            conductance_note="relative: 1 where open",
            symbols=tuple(edge["symbol"] for edge in edges),
        ),
    )


@dataclass(frozen=True)
class Example:
    """The example at 100 nM with one version of the rounded rate."""

    rate_per_s: float | None

    @cached_property
    def channel(self) -> Partition:
        """Open and shut states."""
        return partition(scheme(self.rate_per_s), {LIGAND: CONC_M})

    @cached_property
    def bursts(self) -> Bursts:
        """Bursts with the brief shut states of the example."""
        return bursts(self.channel, np.isin(STATES, BRIEF))

    @cached_property
    def seen(self) -> MissedEvents:
        """The channel at the published resolution."""
        return MissedEvents(self.channel, RESOLUTION_S)

    @cached_property
    def dose(self) -> DoseResponse:
        """Equilibrium dose-response."""
        return equilibrium_dose_response(scheme(self.rate_per_s), LIGAND)


@cache
def example(rate: str) -> Example:
    """The example with the rate as its source wrote it, ``2/3`` or a decimal."""
    return Example(None if rate == "2/3" else float(rate))


def _laplace(channel: Partition, s: float) -> np.ndarray:
    return np.linalg.solve(s * np.eye(len(channel.within)) - channel.within, channel.leave)


def _exact(seen: MissedEvents, m: int, power: int) -> np.ndarray:
    ends = seen.seen_shut.sum(axis=1)
    return np.einsum("i,kij,j->k", seen.entry, seen.exact_coefficients(m)[power], ends)


_LAGS = np.arange(1, 6)
# name -> value or array, slowest component first where the source lists them so
_QUANTITIES = {
    "root_open": lambda e: e.seen.roots_per_s,
    "root_shut": lambda e: e.seen.swapped.roots_per_s,
    "area_open": lambda e: e.seen.asymptotic().areas,
    "area_shut": lambda e: e.seen.swapped.asymptotic().areas,
    "phiA_hjc": lambda e: e.seen.entry,
    "phiF_hjc": lambda e: e.seen.swapped.entry,
    "exact_open_g00": lambda e: _exact(e.seen, 0, 0),
    "exact_open_g10": lambda e: _exact(e.seen, 1, 0),
    "exact_open_g11": lambda e: _exact(e.seen, 1, 1),
    "exact_shut_g00": lambda e: _exact(e.seen.swapped, 0, 0),
    "exact_shut_g10": lambda e: _exact(e.seen.swapped, 1, 0),
    "exact_shut_g11": lambda e: _exact(e.seen.swapped, 1, 1),
    "phiA_ideal": lambda e: e.channel.entry,
    "phiF_ideal": lambda e: e.channel.swapped.entry,
    "pinf": lambda e: e.channel.equilibrium,
    "popen": lambda e: e.channel.open_probability,
    "lifetime": lambda e: -1.0 / np.diagonal(e.channel.generator),
    # counted from 0, which is the equilibrium
    "eig": lambda e: -modes(e.channel.generator).values[::-1][1:],
    "open_rate": lambda e: open_time(e.channel).exponentials().rates_per_s[::-1],
    "open_amp": lambda e: open_time(e.channel).exponentials().amplitudes_per_s[::-1],
    "shut_rate": lambda e: shut_time(e.channel).exponentials().rates_per_s[::-1],
    "shut_amp": lambda e: shut_time(e.channel).exponentials().amplitudes_per_s[::-1],
    "mean_open_ms": lambda e: 1e3 * open_time(e.channel).mean_s,
    "mean_shut_ms": lambda e: 1e3 * shut_time(e.channel).mean_s,
    "latency_to_shut_ms": lambda e: 1e3 * e.channel.time_left,
    # numbered as the states, the open ones first
    "latency_to_open_ms": lambda e: 1e3 * np.append([0.0, 0.0], e.channel.swapped.time_left),
    "burst_start": lambda e: e.bursts.start,
    "burst_end": lambda e: e.bursts.last,
    "burst_openings_mean": lambda e: e.bursts.mean_openings,
    "burst_length_ms": lambda e: 1e3 * e.bursts.length().mean_s,
    "burst_open_ms": lambda e: 1e3 * e.bursts.open_time().mean_s,
    "burst_shut_ms": lambda e: 1e3 * e.bursts.shut_time().mean_s,
    "burst_popen": lambda e: e.bursts.open_probability,
    "openings_rho": lambda e: e.bursts.openings().ratios[::-1],
    "openings_amp": lambda e: e.bursts.openings().amplitudes[::-1],
    "var_open_s2": lambda e: open_time(e.channel).variance_s2,
    "var_shut_s2": lambda e: shut_time(e.channel).variance_s2,
    "corr_open": lambda e: open_open_correlation(e.channel, _LAGS),
    "corr_shut": lambda e: shut_shut_correlation(e.channel, _LAGS),
    "corr_open_shut": lambda e: open_shut_correlation(e.channel, _LAGS),
    "popen_max_ideal": lambda e: e.dose.most,
    "EC50_ideal": lambda e: 1e6 * e.dose.ec50_M,
    "nH_ideal_at_EC50": lambda e: e.dose.hill,
}
_AT = {
    "H_open": lambda e, s: e.seen.reduced(s),
    "H_shut": lambda e, s: e.seen.swapped.reduced(s),
    "laplace_GAF": lambda e, s: _laplace(e.channel, s),
    "laplace_GFA": lambda e, s: _laplace(e.channel.swapped, s),
}
_TCRIT = {"DC": "percent", "C&N": "number", "Jackson": "total"}


def value(quantity: str, case: Example) -> float:
    """Our value of a published quantity, ``name``, ``name[i]`` or ``name(s)[i,j]``, counted from 1."""
    critical = re.match(r"tcrit (\S+) .*comps (\d)-\d", quantity)
    if critical:
        shut = shut_time(case.channel).exponentials()
        return critical_time(shut, int(critical[2]), _TCRIT[critical[1]])
    name, at, index = re.fullmatch(r"(\w+)(?:\(([^)]+)\))?(?:\[([\d,]+)\])?", quantity).groups()
    found = _QUANTITIES[name](case) if at is None else _AT[name](case, float(at))
    place = () if index is None else tuple(int(i) - 1 for i in index.split(","))
    return float(np.asarray(found)[place])


def rows() -> list[dict]:
    """One verdict for each published number of the example at 100 nM."""
    return [
        check(
            row,
            value(row["quantity"], example(row["k_rate_used"])),
            prefix="ch82",
            label=f"{row['quantity']} {row['program']}",
        )
        for row in table("ch82_qmatrix_100nM")
    ]
