"""The refit experiment: what it writes, checks and refuses; the computations stand in tests/inference."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from gabatone.experiments import refit, refit_files
from gabatone.experiments.plan import read_plan
from gabatone.experiments.run import run
from gabatone.inference.calibrate import Optimum
from gabatone.inference.receptor_model import TOPOLOGIES, build_scheme, free_numbers, numbers_at
from gabatone.inference.receptor_posterior import ReceptorPosterior
from gabatone.inference.targets import load_targets
from gabatone.kernels.card import read_cards
from gabatone.kernels.errors import BadInput
from gabatone.kernels.receptor.catalogue import load_scheme

TARGETS = load_targets()


def found(factor=1.0):
    """Observables that equal the published numbers, or lie inside a one-sided range, times a factor."""
    ours = {}
    for name, t in TARGETS.items():
        middle = t.value if t.value else (0.9 * t.hi if t.hi else 1.1 * t.lo)
        ours[name] = factor * middle
    return ours


def optimum(topology):
    n = len(free_numbers(topology))
    return Optimum(np.zeros(n), 3.0, np.array([3.0, 3.2]), np.zeros(2), np.ones(2), np.eye(n), ())


def posterior(topology):
    names = list(free_numbers(topology))
    rng = np.random.default_rng(0)
    z = rng.normal(size=(2, 20, len(names))) * np.linspace(0.1, 1.0, len(names))
    values = {k: np.asarray(v) for k, v in numbers_at(topology, z.T).items()}
    samples = {k: v.T for k, v in values.items()}
    diagnostics = {k: {"r_hat": 1.0, "ess_bulk": 40.0, "ess_tail": 40.0} for k in names}
    flat = np.zeros((2, 20))
    return ReceptorPosterior(samples, z, diagnostics, flat > 1, flat, flat, ("ess: too few",))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of the real shell and report around canned results."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(refit, "optimise", lambda key, problem, **_: optimum(problem.topology))
        patch.setattr(
            refit,
            "score",
            lambda subject, targets: found(2.5 if subject.scheme.name.startswith("default") else 1),
        )
        patch.setattr(refit, "sample", lambda key, problem, best, **_: posterior(problem.topology))
        patch.setattr(refit, "predict", lambda problem, z: {"ec50": np.array([1.1e-5, 1.2e-5])})
        patch.setattr(
            refit, "steroid_trade_off", lambda subject, rows: {"zhu_peak": np.ones(len(rows))}
        )
        for name in ("curve", "doses"):
            patch.setattr(refit.refit_figures, name, lambda *_: refit.refit_figures.Figure())
        plan = read_plan(
            "refit-receptor",
            quick=True,
            overrides=['fit.topologies=["one_open"]', "posterior.topology=one_open"],
        )
        return run(plan, tmp_path_factory.mktemp("refit") / "out").path


def test_every_target_is_checked_before_and_after_and_says_its_use(finished):
    checks = {c["id"]: c for c in json.loads((finished / "checks.json").read_text())}
    shown = [name for name in TARGETS if not name.startswith("curve.")]
    assert len(checks) == 2 * len(shown)
    for name in shown:
        use = TARGETS[name].use
        for when in ("before", "after"):
            assert f"({use}, {when} the refit)" in checks[f"{use}.{name}.{when}"]["quantity"]
    assert checks["calibration.ec50.before"]["verdict"] == "missed"
    assert checks["calibration.ec50.after"]["verdict"] == "met"
    assert checks["validation.dixon_deactivation.after"]["verdict"] == "shown"


def test_tables_tell_calibration_from_validation_and_what_was_learned(finished):
    targets = pd.read_csv(finished / "tables/targets.csv").set_index("id")
    assert set(targets["use"]) == {"calibration", "validation"}
    assert targets.loc["ec50", "off_before"] == pytest.approx(2.5 * 11.6 / 14.3 - 1)
    assert targets.loc["ec50", "off_after"] == 0.0
    assert targets.loc["ec50", "post_q05"] < targets.loc["ec50", "post_q95"]
    parameters = pd.read_csv(finished / "tables/parameters.csv").set_index("number")
    assert parameters["learned"].iloc[0] > 0.8 and abs(parameters["learned"].iloc[-1]) < 0.3
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert "Limits missed: ess: too few" in page and "no medical advice" in page


def test_written_scheme_is_one_the_catalogue_can_read(finished):
    scheme = load_scheme(str(finished / "tables/refit_scheme.toml"))
    topology = TOPOLOGIES["one_open"]
    ours = build_scheme(topology, numbers_at(topology, np.zeros(len(free_numbers(topology)))))
    assert scheme.states == ours.states and scheme.ligands == ours.ligands
    np.testing.assert_allclose(scheme.log_rate, ours.log_rate, atol=1e-5)
    cards = read_cards(finished / "tables/refit_steroid.toml")
    assert cards["K_closed"].value == pytest.approx(0.24) and cards["phi_open"].status == "assumed"


@pytest.mark.parametrize("topology", TOPOLOGIES.values(), ids=list(TOPOLOGIES))
def test_every_topology_can_be_written(tmp_path, topology):
    numbers = numbers_at(topology, np.zeros(len(free_numbers(topology))))
    path = tmp_path / "mine.toml"
    path.write_text(refit_files.texts(topology, numbers)[0], encoding="utf-8")
    assert load_scheme(str(path)).n_states == build_scheme(topology, numbers).n_states


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["fit.topologies=[]"], "fit.topologies"),
        (['fit.topologies=["one_opened"]'], "fit.topologies"),
        (["fit.starts=0"], "fit.starts"),
        (["posterior.samples=4"], "posterior.samples"),
        (["posterior.topology=two"], "posterior.topology"),
        (["posterior.draws=4"], "posterior.draws"),
    ],
)
def test_bad_settings_are_named(overrides, words):
    with pytest.raises(BadInput, match=words):
        read_plan("refit-receptor", overrides=overrides)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (['fit.topologies=["one_open"]'], "posterior.topology"),
        (['fit.leave_out=["nothing"]'], "refit.leave_out"),
    ],
)
def test_settings_that_do_not_fit_together_leave_no_directory(tmp_path, overrides, words):
    with pytest.raises(BadInput, match=words):
        run(read_plan("refit-receptor", quick=True, overrides=overrides), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_quick_run_from_the_command_line(tmp_path):
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "gabatone",
        "run",
        "refit-receptor",
        "--quick",
        "--out",
        str(out),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    checks = {c["id"]: c for c in json.loads((out / "checks.json").read_text())}
    assert checks["calibration.ec50.before"]["verdict"] == "missed"
    assert checks["calibration.ec50.after"]["verdict"] == "met"
