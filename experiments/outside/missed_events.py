"""Missed events of the five-state example and of small schemes, and the likelihood of a record."""

import re

import numpy as np

from gabatone.experiments.outside import ch82
from gabatone.experiments.outside.published import check, table
from gabatone.kernels.receptor.partition import partition_of
from gabatone.kernels.receptor.resolution import (
    MissedEvents,
    Record,
    burst_ends,
    log_likelihood,
    resolve,
    two_state_solutions,
)

T_CRIT_S = 4e-3


def record() -> Record:
    """The published simulated record as it is seen at 100 us."""
    intervals = table("ch82_scn_intervals")
    duration = np.array([float(row["duration_s"]) for row in intervals])
    return resolve(duration, [row["open"] == "1" for row in intervals], ch82.RESOLUTION_S)


def rows() -> list[dict]:
    """One verdict for each published number."""
    return _densities() + _two_state() + _record()


def _densities() -> list[dict]:
    found = []
    for row in table("hjc_missed_events"):
        case, quantity = row["case"], row["quantity"]
        name, index = re.fullmatch(r"(\w*)\[([\d,]+)\]", quantity).groups()
        place = tuple(int(i) - 1 for i in index.split(","))
        if name:
            ends = burst_ends(*_chs_case(case))
            ours = {"chs_start": ends.start, "chs_end": ends.end}[name][place]
            label = f"{quantity} {case.split()[0]} {_setting(case, 'tau')}"
        else:
            which, at_ms = re.fullmatch(r"eG(AF|FA)\(t=(.+) ms\)", case).groups()
            seen = ch82.example("2/3").seen
            seen = seen if which == "AF" else seen.swapped
            ours = seen.transition_density([1e-3 * float(at_ms)])[0][place]
            label = f"{case}{quantity}"
        found.append(check(row, float(ours), prefix="hjc", label=label))
    return found


def _setting(case: str, name: str) -> str:
    return re.search(rf"\b{name}=(\S+)", case)[1]


def _chs_case(case: str) -> tuple[MissedEvents, float]:
    """Channel with its resolution, and critical time, of a case described in words."""
    if case.startswith("CH82"):
        tau, crit = _setting(case, "tau"), _setting(case, "tcrit")
        seen = MissedEvents(ch82.example("2/3").channel, 1e-6 * float(tau.removesuffix("us")))
        return seen, 1e-3 * float(crit.removesuffix("ms"))
    matrix = re.search(r"\[\[(.+)\]\]", case)[1].split("],[")
    generator = [[float(rate) for rate in line.split(",")] for line in matrix]
    is_open = np.arange(len(generator)) < int(_setting(case, "nopen"))
    seen = MissedEvents(partition_of(generator, is_open), float(_setting(case, "tau")))
    return seen, float(_setting(case, "tcrit"))


def _two_state() -> list[dict]:
    found, published = [], table("two_state_missed_events")
    text = published[0]["case"]
    resolution, opened, shut = (
        float(re.search(pattern, text)[1])
        for pattern in (r"resolution ([\d.]+)/", r"means ([\d.]+) open", r"/ ([\d.]+) shut")
    )
    solutions = two_state_solutions(opened, shut, resolution)
    for row in published:
        for k, name in enumerate(("mean_open", "mean_shut")):
            entry = {**row, "expected": row[name], "quantity": f"{name} {row['solution']}"}
            ours = solutions[("slow", "fast").index(row["solution"])][k]
            found.append(check({**entry, "unit": "ms"}, ours, prefix="two_state"))
    return found


def _record() -> list[dict]:
    seen, bursts = ch82.example("2/3").seen, record().bursts(T_CRIT_S)
    ends = burst_ends(seen, T_CRIT_S)
    ours = {
        "bursts": len(bursts),
        "mean_burst_length": 1e3 * np.mean([burst.sum() for burst in bursts]),
        "mean_openings": np.mean([(len(burst) + 1) / 2 for burst in bursts]),
        "log_likelihood": log_likelihood(seen, bursts, T_CRIT_S),
        "apparent_mean_open": 1e3 * seen.mean_s,
        **{f"chs_start[{i + 1}]": p for i, p in enumerate(ends.start)},
        **{f"chs_end[{i + 1}]": p for i, p in enumerate(ends.end)},
    }
    return [
        check(row, float(ours[row["quantity"]]), prefix="ch82_record")
        for row in table("ch82_record")
    ]
