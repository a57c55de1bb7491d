"""``gabatone check``: the schemes, the outside suites and the verdicts of finished runs."""

import json
import re
import sys
import types

import pytest

from gabatone.experiments import scheme_cli, verdicts
from gabatone.experiments.outside import curves, suites
from gabatone.kernels.errors import Failure
from gabatone.kernels.receptor import catalogue
from gabatone.kernels.receptor.catalogue import load_scheme


def row(id="one", verdict="met"):
    ours = {"met": 0.5, "missed": 7.0, "shown": 0.5}[verdict]
    hi = None if verdict == "shown" else 1.0
    return {
        "id": id,
        "quantity": "a number",
        "unit": "1",
        "published": 0.0,
        "lo": None,
        "hi": hi,
        "ours": ours,
        "source": "here",
        "status": "read",
        "verdict": verdict,
    }


@pytest.fixture
def stand_in(monkeypatch):
    """Replace the suites by small ones: ``stand_in(name=rows or exception)``."""

    def put(false_alarm=1e-5, **named):
        monkeypatch.setattr(suites, "SUITES", {name: f"about {name}" for name in named})
        for name, rows in named.items():

            def give(quick=False, progress=None, rows=rows):
                progress("half way")
                if isinstance(rows, Exception):
                    raise rows
                return [*rows, row("quick", "shown")] if quick else rows

            module = types.ModuleType(f"gabatone.experiments.outside.{name}")
            module.rows, module.FALSE_ALARM = give, false_alarm
            monkeypatch.setitem(sys.modules, module.__name__, module)

    return put


def test_suites_give_a_table_with_their_false_alarm_rate(say, stand_in):
    stand_in(alpha=[row(), row("two")], beta=[row("three", "shown"), row("four")])
    said = say("check")
    assert (said.code, said.err) == (0, "")
    assert re.search(r"alpha +passed +2 +0 +0 +1e-05 +about alpha", said.out)
    assert re.search(r"beta +passed +1 +0 +1", said.out)
    assert "by chance with probability at most 2e-05" in said.out
    assert "three" not in said.out
    assert re.search(r"shown +three", say("check", "--all").out)


def test_a_missed_number_is_shown_and_ends_with_1(say, stand_in):
    stand_in(alpha=[row()], beta=[row("far", "missed")])
    said = say("check")
    assert said.code == 1
    assert re.search(r"beta +failed +0 +1", said.out)
    assert re.search(r"missed +far +7 +- +1", said.out)
    data = json.loads(say("check", "--json").out)
    assert [suite["verdict"] for suite in data["suites"]] == ["passed", "failed"]
    assert data["suites"][1]["checks"] == [row("far", "missed")]
    assert data["false_alarm"] == pytest.approx(2e-5)


def test_a_suite_that_gives_no_result_fails_and_the_others_run(say, stand_in):
    stand_in(alpha=Failure("near_defective", "no roots"), beta=[row()], gamma=[])
    said = say("check")
    assert said.code == 1
    assert "alpha: near_defective: no roots" in said.out
    assert re.search(r"beta +passed", said.out)
    # a suite without a single row has shown nothing
    assert re.search(r"gamma +failed", said.out)


def test_suites_are_chosen_and_quick_ones_asked_for(say, stand_in):
    stand_in(alpha=[row()], beta=[row("far", "missed")])
    data = json.loads(say("check", "--suite", "alpha", "--quick", "--json").out)
    assert [suite["suite"] for suite in data["suites"]] == ["alpha"]
    assert [check["id"] for check in data["suites"][0]["checks"]] == ["one", "quick"]
    assert json.loads(say("check", "--suite", "none", "--json").out)["suites"] == []


def test_a_bar_names_the_suite_and_what_it_is_at(stand_in, monkeypatch):
    seen = []

    class Bar:
        def init(self, title, total):
            seen.append((title, total))

        def step(self, count=1, note=""):
            seen.append((count, note))

        def close(self):
            seen.append("closed")

    stand_in(alpha=[row()])
    monkeypatch.setattr(verdicts.bars, "choose", lambda quiet: Bar())
    assert verdicts.run_suites(["alpha"], quick=False, quiet=False)[0].passed
    assert seen == [
        ("outside suites", 1),
        (0, "alpha"),
        (0, "alpha: half way"),
        (1, ""),
        "closed",
    ]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["check", "OUT"], ["DIR", "no run"]),
        (["check", "--suite", "dsmt"], ["--suite = 'dsmt'", "write dsmts"]),
    ],
)
def test_bad_input_is_one_message_before_anything_is_run(refused, tmp_path, arguments, parts):
    message = refused(*[str(tmp_path / "out") if part == "OUT" else part for part in arguments])
    for part in parts:
        assert part in message


def test_every_suite_of_the_list_has_rows_and_a_false_alarm_rate_below_the_stated_sum():
    total = 0.0
    for name in suites.SUITES:
        module = __import__(f"gabatone.experiments.outside.{name}", fromlist=["rows"])
        assert callable(module.rows)
        total += float(getattr(module, "FALSE_ALARM", 0.0))
    assert 0 < total <= 1e-3


def test_the_curves_of_one_scheme_are_met_and_a_wrong_scheme_is_not(monkeypatch):
    name = "destexhe_1994_2state"
    only = {name: curves.recorded()[name]}
    monkeypatch.setattr(curves, "recorded", lambda: only)
    notes = []
    rows = curves.rows(quick=True, progress=notes.append)
    assert notes == [name]
    assert len(rows) == 7 and {one["verdict"] for one in rows} == {"met"}
    other = load_scheme(name).at_temperature(23.1)
    monkeypatch.setattr(catalogue, "load_scheme", lambda _: other)
    missed = [one["id"] for one in curves.rows(quick=True) if one["verdict"] == "missed"]
    assert f"curves.{name}.pulse_1mM_1ms.open" in missed


# schemes and runs


def test_check_verifies_the_catalogue_and_gathers_the_runs(say, finished_once):
    said = say("check", finished_once.parent, "--suite", "none", "--json")
    data = json.loads(said.out)
    assert (said.code, said.err) == (0, "")
    assert [row["scheme"] for row in data["schemes"]] == catalogue.scheme_names()
    assert all(row["verdict"] == "sound" for row in data["schemes"])
    (run,) = data["runs"]
    assert {check["id"]: check["verdict"] for check in run["checks"]} == {
        "mean": "met",
        "wide": "missed",
        "seen": "shown",
    }
    text = say("check", finished_once, "--suite", "none").out
    assert "jones_westbrook_1995" in text and "missed" in text


def test_check_ends_with_1_for_a_damaged_run(say, done):
    (done / "posterior.nc").write_bytes(b"")
    said = say("check", done, "--suite", "none")
    assert said.code == 1
    assert "damaged: posterior.nc: truncated: 0 of" in said.out


def test_check_ends_with_1_for_a_scheme_that_is_not_sound(say, monkeypatch):
    sound = scheme_cli._summary(load_scheme("pugh_raman_2005_patch"))
    edges = sound["transitions"]
    broken = {
        **sound,
        "cycles": [{"states": ["C2", "O2"], "ratio": 1.4}],
        "transitions": [edge for edge in edges if edge["to"] != edges[0]["from"]],
    }
    monkeypatch.setattr(scheme_cli, "_summary", lambda scheme: broken)
    monkeypatch.setattr(catalogue, "scheme_names", lambda: ["pugh_raman_2005_patch"])
    said = say("check", "--suite", "none")
    assert said.code == 1
    assert "cycle C2 O2 has ratio 1.4" in said.out
    assert "cannot be reached from every state" in said.out


def test_check_sees_a_generator_row_that_does_not_sum_to_zero():
    class Leaky:
        def generator(self, conc_M):
            return load_scheme("destexhe_1994_2state").generator(conc_M) + 1e-3

    leaky = Leaky()
    with pytest.MonkeyPatch.context() as patch:
        sound = scheme_cli._summary(load_scheme("destexhe_1994_2state"))
        patch.setattr(scheme_cli, "_summary", lambda scheme: sound)
        assert "row sums to" in scheme_cli.verify_scheme(leaky)[0]
