"""Trial evidence: which published arm means may enter a fit, and with which standard error.

An arm mean enters only as measure ``LS_mean_change``, role ``calibrate`` and status ``read`` or
``derived``. Differences, implied SDs and significance notes restate arm means; rows marked
``duplicate`` or ``recalled`` never enter. The standard error is the printed one, else SD/sqrt(n)
with the arm's implied SD (`se_kind` "derived"), else a pooled SD that the model samples
("derived_pooled").
"""

import difflib
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gabatone.inference.evidence.table import choice, number, read_table, where
from gabatone.kernels.errors import BadInput

FOLDER = Path(__file__).parent
MEASURE = "LS_mean_change"
REGIMENS = ("BRX90", "BRX60", "PBO")
ROLES = ("calibrate", "validate", "test_MDD", "test_GNX", "context", "duplicate")
STATUSES = ("read", "derived", "recalled", "assumed")
BRANDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
CHANGE_COLUMNS = (
    "trial",
    "arm",
    "time_h",
    "measure",
    "estimate_points",
    "se_points",
    "suggested_role",
    "source",
    "status",
)


@dataclass(frozen=True)
class Row:
    """One arm mean at one visit: change from baseline in HAM-D-17 points (negative = better).

    ``se`` is None for ``se_kind`` "derived_pooled": the model samples that SD.
    """

    trial: str
    arm: str
    time_h: float
    n: int
    observed: float
    se: float | None
    se_kind: str
    role: str
    status: str
    source: str
    time_inferred: bool
    in_fit: bool
    line: int


@dataclass(frozen=True)
class Arm:
    """One arm of a trial; ``baseline`` is None where only a recalled value exists."""

    trial: str
    arm: str
    n: int | None
    baseline: float | None
    baseline_sd: float | None
    entry_min: float | None
    setting: str
    sd: float | None


@dataclass(frozen=True)
class Dropped:
    """A row of the table that stays out of the fit, and why."""

    line: int
    trial: str
    arm: str
    measure: str
    reason: str


@dataclass(frozen=True)
class Trials:
    """Rows that may be fitted, their arms, and what was left out.

    ``rows`` keep the order of the file; ``in_fit`` of a row may be False because its visit
    time is inferred and the switch asks for the fit without such rows.
    """

    rows: tuple[Row, ...]
    arms: tuple[Arm, ...]
    dropped: tuple[Dropped, ...]
    file: str

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the trials in order of appearance."""
        return tuple(dict.fromkeys(row.trial for row in self.rows))

    @property
    def settings(self) -> tuple[str, ...]:
        """Names of the settings in order of appearance."""
        return tuple(dict.fromkeys(arm.setting for arm in self.arms))

    @property
    def in_fit(self) -> np.ndarray:
        """[row] bool."""
        return np.array([row.in_fit for row in self.rows])

    def arm_of(self, row: Row) -> int:
        """Position in `arms` of the arm of a row."""
        return [(a.trial, a.arm) for a in self.arms].index((row.trial, row.arm))

    def without_inferred_times(self) -> "Trials":
        """The same table with the rows of inferred visit time out of the fit."""
        rows = tuple(replace(r, in_fit=r.in_fit and not r.time_inferred) for r in self.rows)
        return replace(self, rows=rows)


def load_trials(path=None, *, inferred_times=True) -> Trials:
    """Read a trial table; without ``path`` the shipped brexanolone table.

    Parameters
    ----------
    path : str or Path, optional
        A CSV with the columns of the shipped ``hamd_change.csv``, or a folder that holds
        ``hamd_change.csv`` and, if wanted, its own ``trial_arms.csv`` and ``trial_settings.csv``.
    inferred_times : bool
        False keeps rows whose visit time was inferred out of the fit.

    Raises
    ------
    BadInput
        Naming file, row and column: unreadable or broken CSV, missing column, bad number, unknown
        role, status or arm; neither SE nor n; a recalled or duplicate row named as data; the same
        arm and visit twice.
    """
    shipped = path is None
    folder = FOLDER if shipped else Path(path)
    file = folder / "hamd_change.csv" if folder.is_dir() else folder
    table = read_table(file, CHANGE_COLUMNS)
    chosen, dropped = _choose(file, table, shipped)
    if not chosen:
        raise BadInput(
            file.name,
            len(table),
            "no row may enter a fit",
            f"give rows with measure {MEASURE}, role calibrate, status read or derived",
        )
    arms = _arms(file, table, chosen, folder if folder.is_dir() else FOLDER)
    rows = tuple(_row(file, row, arms[row["trial"], row["arm"]]) for row in chosen)
    trials = Trials(rows, tuple(arms.values()), tuple(dropped), file.name)
    return trials if inferred_times else trials.without_inferred_times()


def _choose(file, table, shipped):
    """Split the table into rows that may enter and reasons for the others."""
    chosen, dropped, seen = [], [], {}
    for row in table:
        reason = _reason_to_drop(file, row, shipped)
        if reason:
            dropped.append(Dropped(row["#"], row["trial"], row["arm"], row["measure"], reason))
            continue
        place = (row["trial"], row["arm"], number(file, row, "time_h", above=0.0))
        if place in seen:
            raise BadInput(
                where(file, row, "suggested_role"),
                row["suggested_role"],
                f"{place[0]} {place[1]} at {place[2]:g} h already stands in row {seen[place]}",
                "mark one of the two as duplicate",
            )
        seen[place] = row["#"]
        chosen.append(row)
    return chosen, dropped


def _reason_to_drop(file, row, shipped) -> str | None:
    role = choice(file, row, "suggested_role", ROLES)
    status = choice(file, row, "status", STATUSES)
    forced = choice(file, row, "in_fit", BRANDS, default="false") if row.get("in_fit") else None
    forced = None if forced is None else BRANDS[forced]
    named_as_data = forced or (not shipped and role == "calibrate" and forced is None)
    firm = status in ("read", "derived")
    if row["measure"] != MEASURE:
        if forced:
            raise BadInput(
                where(file, row, "measure"),
                row["measure"],
                "it restates arm means and may not be fitted beside them",
                f"give the arm rows with measure {MEASURE}",
            )
        return f"measure {row['measure']} restates arm means"
    if not firm:
        if named_as_data:
            raise BadInput(
                where(file, row, "status"),
                status,
                f"a {status} number is named as data (role {role})",
                "give a source in which the number was read, or set suggested_role to context",
            )
        return f"status {status} is no datum"
    if role != "calibrate":
        if forced:
            raise BadInput(
                where(file, row, "suggested_role"),
                role,
                "only calibrate rows enter the fit",
                "set suggested_role to calibrate, once for each arm and visit",
            )
        return f"role {role}"
    return "in_fit is false in the table" if forced is False else None


def _arms(file, table, chosen, folder) -> dict:
    arm_file, setting_file = folder / "trial_arms.csv", folder / "trial_settings.csv"
    arm_file = arm_file if arm_file.exists() else FOLDER / arm_file.name
    setting_file = setting_file if setting_file.exists() else FOLDER / setting_file.name
    facts = _arm_facts(arm_file)
    settings = {
        row["trial"]: row["setting"] for row in read_table(setting_file, ("trial", "setting"))
    }
    arms = {}
    for row in chosen:
        trial, arm = row["trial"], row["arm"]
        if arm not in REGIMENS:
            near = difflib.get_close_matches(arm, REGIMENS, 1, 0.0)
            raise BadInput(
                where(file, row, "arm"),
                arm,
                "no such regimen",
                f"use one of {', '.join(REGIMENS)}" + (f" (nearest: {near[0]})" if near else ""),
            )
        if trial not in settings:
            raise BadInput(
                where(file, row, "trial"),
                trial,
                f"{setting_file.name} gives it no setting",
                f"use one of {', '.join(settings)} or add the trial to {setting_file.name}",
            )
        if (trial, arm) in arms:
            continue
        own = facts.get((trial, arm), {})
        every = facts.get((trial, "ALL"), {})
        baseline = own.get("baseline_HAMD17", (None, None))
        entry = every.get("entry_HAMD17_min", (None, None))[0]
        if baseline[0] is None and entry is None:
            raise BadInput(
                f"{arm_file.name}: {trial} {arm}, baseline_HAMD17",
                None,
                "neither a read baseline nor an entry score is known",
                "add baseline_HAMD17 of the arm or entry_HAMD17_min of the trial",
            )
        n = own.get("n_efficacy", (_listed_n(file, table, trial, arm), None))[0]
        arms[trial, arm] = Arm(
            trial,
            arm,
            None if n is None else int(n),
            *baseline,
            entry,
            settings[trial],
            _arm_sd(file, table, trial, arm, n),
        )
    return arms


def _listed_n(file, table, trial, arm) -> float | None:
    """The first n that the table itself gives for an arm."""
    for row in table:
        if (row["trial"], row["arm"]) == (trial, arm):
            n = number(file, row, "n_analysed", required=False, above=0.0, whole=True)
            if n is not None:
                return n
    return None


def _arm_facts(file) -> dict:
    """(trial, arm) -> attribute -> (value, SD); recalled and assumed rows are not used."""
    facts: dict = {}
    for row in read_table(file, ("trial", "arm", "attribute", "value", "value_sd", "status")):
        if choice(file, row, "status", STATUSES) in ("read", "derived"):
            value = (
                number(file, row, "value"),
                number(file, row, "value_sd", required=False, above=0.0),
            )
            facts.setdefault((row["trial"], row["arm"]), {})[row["attribute"]] = value
    return facts


def _arm_sd(file, table, trial, arm, n) -> float | None:
    """SD of change of an arm: as listed, else from a printed SE of the arm and n."""
    mine = [
        r
        for r in table
        if (r["trial"], r["arm"]) == (trial, arm) and r["status"] in ("read", "derived")
    ]
    for row in mine:
        if row["measure"] == "implied_SD_of_change":
            return number(file, row, "estimate_points", above=0.0)
    for row in mine:
        if row["measure"] == MEASURE and row["se_points"] and n:
            return number(file, row, "se_points", above=0.0) * math.sqrt(n)
    return None


def _row(file, row, arm: Arm) -> Row:
    n = arm.n
    se = number(file, row, "se_points", required=False, above=0.0)
    if n is None and se is None:
        raise BadInput(
            where(file, row, "se_points"),
            row["se_points"],
            f"{arm.trial} {arm.arm} has neither a standard error nor n",
            "give se_points, or n_analysed, or n_efficacy of the arm",
        )
    kind = "printed" if se is not None else "derived" if arm.sd is not None else "derived_pooled"
    if kind == "derived":
        se = arm.sd / math.sqrt(n)
    observed = number(file, row, "estimate_points")
    if arm.baseline is not None and observed < -arm.baseline:
        raise BadInput(
            where(file, row, "estimate_points"),
            observed,
            f"the fall is larger than the baseline {arm.baseline:g}",
            "give the change in points",
        )
    told = (
        BRANDS[choice(file, row, "time_inferred", BRANDS)]
        if row.get("time_inferred")
        else ("timepoint inferred" in (row.get("source_detail", "") + row.get("notes", "")).lower())
    )
    return Row(
        arm.trial,
        arm.arm,
        number(file, row, "time_h", above=0.0),
        0 if n is None else int(n),
        observed,
        se,
        kind,
        row["suggested_role"],
        row["status"],
        row["source"],
        told,
        True,
        row["#"],
    )
