"""The product's own experiment from the command line: outputs, refusals, and what it must say."""

import csv
import json
import os
import re
import subprocess
import sys

import pytest

SMALL = [
    "--quick",
    "--set",
    "neurons.number=12",
    "--set",
    "neurons.duration=1 s",
    "--set",
    "fit.warmup=100",
    "--set",
    "fit.samples=40",
]
COLUMNS = [
    "trial",
    "arm",
    "time_h",
    "n",
    "observed",
    "se",
    "se_kind",
    "predicted_mean",
    "lo95",
    "hi95",
    "new_arm_lo95",
    "new_arm_hi95",
    "role",
    "in_fit",
]


def gabatone(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "gabatone", *arguments],
        capture_output=True,
        text=True,
        timeout=900,
        env=os.environ | {"MPLBACKEND": "Agg"},
    )


def refused(result, *words):
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr + result.stdout
    assert len(result.stderr.strip().splitlines()) == 1
    for word in words:
        assert word in result.stderr, result.stderr


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "first"
    result = gabatone("run", "brexanolone", "--out", str(out), *SMALL)
    assert result.returncode == 0, result.stderr
    return out


def test_run_directory_is_complete(done):
    for name in (
        "manifest.json",
        "report.html",
        "checks.json",
        "traces.zarr",
        "posterior.nc",
        "log.txt",
        "figures/chain.png",
        "tables/arms.csv",
        "tables/arms.parquet",
    ):
        assert (done / name).exists(), name
    manifest = json.loads((done / "manifest.json").read_text())
    assert manifest["seed"] == 0 or manifest["plan"]["seed"] == 0


def test_arms_table_has_every_fitted_row(done):
    with (done / "tables/arms.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert list(rows[0]) == COLUMNS
    assert len(rows) == 26
    for row in rows:
        assert float(row["lo95"]) < float(row["predicted_mean"]) < float(row["hi95"])
    wider = [
        float(r["new_arm_hi95"]) - float(r["new_arm_lo95"]) > float(r["hi95"]) - float(r["lo95"])
        for r in rows
    ]
    assert all(wider)


def test_checks_hold_the_exposure_to_its_published_numbers(done):
    checks = {c["id"]: c for c in json.loads((done / "checks.json").read_text())}
    assert {c["verdict"] for c in checks.values()} <= {"met", "missed", "shown"}
    exposure = {
        name: c for name, c in checks.items() if re.match(r"pk\.BRX(90|60)\.(plateau_)?at_", name)
    }
    assert len(exposure) == 28
    assert all(c["verdict"] == "met" for c in exposure.values())


def test_report_stands_alone_and_says_what_it_must(done):
    html = (done / "report.html").read_text()
    assert not re.search(r"""(src|href)=["'](https?:)?//""", html)
    for word in (
        "no medical advice",
        "free-drug extreme",
        "Kp_eff",
        "missed",
        "assumed",
        "recalled",
    ):
        assert word in html, word


def test_same_inputs_again_are_done_and_other_inputs_are_refused(done):
    before = {p.name: p.stat().st_mtime_ns for p in done.iterdir()}
    again = gabatone("run", "brexanolone", "--out", str(done), *SMALL)
    assert again.returncode == 0
    refused(gabatone("run", "brexanolone", "--out", str(done), *SMALL, "--seed", "2"), "--out")
    assert before == {p.name: p.stat().st_mtime_ns for p in done.iterdir()}


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("dose.rate=90 mg", ("dose.rate", "90 mg", "ug/kg/h")),
        ("receptor.ambient_gaba=-1 uM", ("receptor.ambient_gaba",)),
        ("receptor.synaptic=jones_westbrok", ("jones_westbrok", "jones_westbrook_1995")),
        ("receptor.ambiant=1", ("receptor.ambiant", "ambient_gaba")),
        ("dose.regimen=BRX9", ("BRX9", "BRX90")),
        ("neurons.cell=traub", ("traub", "traub_miles")),
        ("fit.trials=nowhere.csv", ("fit.trials", "nowhere.csv")),
        ("exposure.kp_eff=-2", ("kp_eff",)),
        ("neurons.number=0", ("neurons.number",)),
        ("neurons.levels=[]", ("neurons.levels", "6")),
        ("neurons.levels=[0, 4, 4, 20, 50, 300]", ("neurons.levels", "increasing")),
        ("neurons.levels=[0, 4, 10, 20, 50, 100]", ("neurons.levels", "above")),
        ("neurons.duration=0.1 s", ("neurons.duration", "discard")),
        ("receptor.shown=0", ("receptor.shown",)),
        ("exposure.unbound_fraction=2", ("unbound_fraction",)),
        ("fit.samples=2", ("fit.samples",)),
        ("receptor.extrasynaptic=bianchi_2007", ("bianchi_2007", "incomplete")),
        ("neurons.step=1 ms", ("step_s",)),
    ],
)
def test_bad_settings_are_one_message(tmp_path, override, words):
    out = tmp_path / "run"
    refused(gabatone("run", "brexanolone", "--quick", "--out", str(out), "--set", override), *words)
    assert not out.exists() or not any(out.iterdir())


HEAD = (
    "trial,registry_id,indication,arm,comparator,time_value,time_unit,time_h,measure,estimate_points,se_points,"
    "ci95_lo_points,ci95_hi_points,p_value,n_analysed,suggested_role,source,source_detail,status,notes\n"
)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            "202B,,PPD,PBO,,60,h,60,LS_mean_change,-14.0,1.1,,,,43,calibrate,here,,recalled,",
            ("recalled",),
        ),
        ("209,,PPD,BRX90,,60,h,60,LS_mean_change,-14.0,,,,,,calibrate,here,,read,", ("209",)),
        (
            "202B,,PPD,PBO,,60,h,60,LS_mean_change,minus,1.1,,,,43,calibrate,here,,read,",
            ("estimate_points", "minus"),
        ),
    ],
)
def test_bad_trial_tables_are_one_message(tmp_path, row, words):
    table = tmp_path / "mine.csv"
    table.write_text(HEAD + row + "\n")
    out = tmp_path / "run"
    result = gabatone(
        "run", "brexanolone", "--quick", "--out", str(out), "--set", f"fit.trials={table}"
    )
    refused(result, "mine.csv", *words)
    assert not out.exists() or not any(out.iterdir())
