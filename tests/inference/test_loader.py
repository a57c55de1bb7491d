import csv
import shutil

import numpy as np
import pytest

from gabatone.inference.evidence.loader import FOLDER, load_trials
from gabatone.kernels.errors import BadInput

SHIPPED = FOLDER / "hamd_change.csv"


def shipped_rows():
    with SHIPPED.open(newline="") as file:
        return list(csv.DictReader(file))


def write(path, rows, fields=None):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fields or list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def edited(tmp_path, **changes):
    """The shipped table with one fitted row changed (202B BRX60 at 60 h, row 4 of the file)."""
    rows = shipped_rows()
    row = next(
        r
        for r in rows
        if (r["trial"], r["arm"], r["time_h"]) == ("202B", "BRX60", "60")
        and r["measure"] == "LS_mean_change"
    )
    row.update(changes)
    fields = list(dict.fromkeys([*rows[0], *changes]))
    return write(tmp_path / "mine.csv", rows, fields)


def test_shipped_table_gives_the_26_arm_means():
    trials = load_trials()
    assert len(trials.rows) == 26 and trials.in_fit.all()
    assert trials.names == ("202B", "202C", "202A")
    assert sum(r.time_inferred for r in trials.rows) == 12
    kinds = [r.se_kind for r in trials.rows]
    assert [kinds.count(k) for k in ("printed", "derived", "derived_pooled")] == [5, 17, 4]
    assert {r.trial for r in trials.rows if r.se_kind == "derived_pooled"} == {"202A"}
    assert {r.status for r in trials.rows} <= {"read", "derived"}
    assert {r.role for r in trials.rows} == {"calibrate"}


def test_every_other_row_is_left_out_for_a_reason():
    trials = load_trials()
    assert len(trials.rows) + len(trials.dropped) == len(shipped_rows())
    reasons = {d.reason for d in trials.dropped}
    assert "role duplicate" in reasons
    assert all(reasons)


def test_derived_standard_error_is_sd_over_root_n():
    row = next(
        r for r in load_trials().rows if (r.trial, r.arm, r.time_h) == ("202B", "PBO", 696.0)
    )
    assert row.se_kind == "derived"
    np.testing.assert_allclose(row.se, 7.21 / np.sqrt(43), rtol=1e-12)


def test_recalled_baselines_are_not_used():
    arms = {(a.trial, a.arm): a for a in load_trials().arms}
    for arm in ("PBO", "BRX90"):
        assert arms["202A", arm].baseline is None
        assert arms["202A", arm].entry_min == 26
    assert arms["202B", "PBO"].baseline == 28.6


def test_inferred_times_can_be_left_out():
    trials = load_trials(inferred_times=False)
    assert trials.in_fit.sum() == 14 and len(trials.rows) == 26
    assert not any(r.in_fit and r.time_inferred for r in trials.rows)


def test_sources_of_all_rows_are_shipped():
    with (FOLDER / "sources.csv").open(newline="") as file:
        known = {r["key"] for r in csv.DictReader(file)}
    for name in ("hamd_change", "trial_arms", "trial_settings", "response_remission"):
        with (FOLDER / f"{name}.csv").open(newline="") as file:
            assert {r["source"] for r in csv.DictReader(file)} <= known


def test_a_copy_or_a_folder_reads_like_the_shipped_table(tmp_path):
    for name in ("hamd_change.csv", "trial_arms.csv"):
        shutil.copy(FOLDER / name, tmp_path / name)
    assert load_trials(tmp_path).rows == load_trials().rows
    assert load_trials(tmp_path / "hamd_change.csv").rows == load_trials().rows


def test_own_n_is_used_for_an_arm_without_one(tmp_path):
    path = edited(tmp_path)
    arms = (FOLDER / "trial_arms.csv").read_text().splitlines()
    (tmp_path / "trial_arms.csv").write_text(
        "\n".join(line for line in arms if not ("202B" in line and "n_efficacy" in line))
    )
    shutil.move(path, tmp_path / "hamd_change.csv")
    row = next(r for r in load_trials(tmp_path).rows if (r.trial, r.arm) == ("202B", "BRX60"))
    assert row.n == 38 and row.se == 1.2


def test_in_fit_false_drops_a_row_with_its_reason(tmp_path):
    trials = load_trials(edited(tmp_path, in_fit="false"))
    assert len(trials.rows) == 25
    assert any(d.reason == "in_fit is false in the table" for d in trials.dropped)


BAD_CELLS = {
    "recalled row named as data": ({"status": "recalled"}, "status"),
    "recalled row forced": (
        {"status": "recalled", "suggested_role": "context", "in_fit": "true"},
        "status",
    ),
    "assumed row named as data": ({"status": "assumed"}, "status"),
    "duplicate forced": ({"suggested_role": "duplicate", "in_fit": "true"}, "suggested_role"),
    "difference forced": ({"measure": "LS_mean_difference", "in_fit": "true"}, "measure"),
    "unknown role": ({"suggested_role": "calibrat"}, "suggested_role"),
    "unknown status": ({"status": "seen"}, "status"),
    "unknown switch": ({"in_fit": "maybe"}, "in_fit"),
    "unknown arm": ({"arm": "BRX75"}, "arm"),
    "unknown trial": ({"trial": "202Z"}, "trial"),
    "text for a number": ({"estimate_points": "a lot"}, "estimate_points"),
    "number with a unit": ({"estimate_points": "-19.5 points"}, "estimate_points"),
    "nan": ({"estimate_points": "nan"}, "estimate_points"),
    "no estimate": ({"estimate_points": ""}, "estimate_points"),
    "impossible fall": ({"estimate_points": "-40"}, "estimate_points"),
    "negative error": ({"se_points": "-1.2"}, "se_points"),
    "zero error": ({"se_points": "0"}, "se_points"),
    "infinite error": ({"se_points": "inf"}, "se_points"),
    "time zero": ({"time_h": "0"}, "time_h"),
    "fractional n": ({"n_analysed": "37.5"}, "n_analysed"),
    "same visit twice": ({"arm": "BRX90"}, "suggested_role"),
}


@pytest.mark.parametrize("name", BAD_CELLS)
def test_bad_cell_is_named(tmp_path, name):
    changes, column = BAD_CELLS[name]
    with pytest.raises(BadInput) as error:
        load_trials(edited(tmp_path, **changes))
    message = str(error.value)
    assert "mine.csv: row" in message and f"column {column}" in message and "Fix:" in message


def test_neither_error_nor_n_is_named(tmp_path):
    rows = shipped_rows()
    for row in rows:
        if (row["trial"], row["arm"]) == ("202A", "PBO"):
            row["n_analysed"] = ""
    write(tmp_path / "hamd_change.csv", rows)
    arms = (FOLDER / "trial_arms.csv").read_text().splitlines()
    keep = [
        line for line in arms if not ("202A" in line and "PBO" in line and "n_efficacy" in line)
    ]
    (tmp_path / "trial_arms.csv").write_text("\n".join(keep))
    with pytest.raises(BadInput, match="neither a standard error nor n"):
        load_trials(tmp_path)


@pytest.mark.parametrize("column", ["se_points", "status", "suggested_role", "time_h", "measure"])
def test_missing_column_is_named(tmp_path, column):
    rows = [{k: v for k, v in r.items() if k != column} for r in shipped_rows()]
    with pytest.raises(BadInput, match=f"mine.csv: column {column}"):
        load_trials(write(tmp_path / "mine.csv", rows))


BROKEN_FILES = {
    "empty": ("", "the table is empty"),
    "header only": (SHIPPED.read_text().splitlines()[0], "no row may enter a fit"),
    "short row": (SHIPPED.read_text() + "202B,oops\n", "2 fields"),
    "open quote": (SHIPPED.read_text() + '202B,"open\n', "not valid CSV"),
    "column twice": (
        "trial,trial,arm,time_h,measure,estimate_points,se_points,suggested_role,source,status\n",
        "stands twice",
    ),
    "not text": (b"\xff\xfe\x00", "not valid CSV"),
}


@pytest.mark.parametrize("name", BROKEN_FILES)
def test_broken_file_is_named(tmp_path, name):
    content, words = BROKEN_FILES[name]
    path = tmp_path / "mine.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BadInput, match="mine.csv") as error:
        load_trials(path)
    assert words in str(error.value)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(BadInput, match="absent.csv.*cannot be read"):
        load_trials(tmp_path / "absent.csv")
