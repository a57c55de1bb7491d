import json
import subprocess
import sys
from pathlib import Path

import pytest

from gabatone.experiments import cli, manifest, scheme_cli, stages, terminal
from gabatone.experiments.registry import EXPERIMENTS
from gabatone.kernels.receptor import catalogue
from gabatone.kernels.receptor.catalogue import load_scheme

SCHEMES = Path(catalogue.__file__).parent / "schemes"


def snapshot(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# what is asked for, answered


def test_a_run_says_what_it_found_and_then_that_it_is_done(say, tmp_path):
    out = tmp_path / "out"
    said = say("run", "tiny", "--out", out, "--quick", "--seed", 4)
    assert (said.code, said.err) == (0, "")
    assert "done" in said.out
    assert "1 met, 1 missed, 1 shown" in said.out
    assert "missed: a wait <too> long" in said.out
    assert str(out / "report.html") in said.out
    again = say("run", "tiny", "--out", out, "--quick", "--seed", 4)
    assert again.code == 0
    assert "was done already; nothing to do" in again.out


def test_a_run_prints_json_where_asked(say, tmp_path):
    said = say("run", "tiny", "--out", tmp_path, "--json")
    data = json.loads(said.out)
    assert (said.code, said.err) == (0, "")
    assert data["checks"] == {"met": 1, "missed": 1, "shown": 1}
    assert [check["id"] for check in data["missed"]] == ["wide"]
    assert json.loads(say("run", "tiny", "--out", tmp_path, "--json").out)["already_done"] is True


def test_the_experiments_are_listed(say):
    assert "brexanolone" in say("list").out
    rows = json.loads(say("list", "--json").out)
    assert {"brexanolone", "tiny"} <= {row["name"] for row in rows} == set(EXPERIMENTS)


def test_the_version_is_the_one_of_the_package(say):
    assert say("--version").out == f"gabatone {manifest.version()}\n"


def test_every_scheme_is_listed_and_can_be_shown(say):
    rows = json.loads(say("scheme", "list", "--json").out)
    names = catalogue.scheme_names() + catalogue.incomplete_names()
    assert [row["name"] for row in rows] == names
    text = say("scheme", "list").out
    assert all(name in text for name in names)
    for row in rows:
        page = say("scheme", "show", row["name"])
        data = json.loads(say("scheme", "show", row["name"], "--json").out)
        assert (page.code, page.err) == (0, "")
        assert data["complete"] is row["complete"]
        if row["complete"]:
            assert all(state["name"] in page.out for state in data["states"])
            assert all(edge["unit"] in ("s^-1", "M^-1 s^-1") for edge in data["transitions"])


def test_a_scheme_shows_values_units_sources_and_the_ratio_of_its_cycle(say):
    data = json.loads(say("scheme", "show", "pugh_raman_2005_patch", "--json").out)
    assert len(data["cycles"]) == 1
    page = say("scheme", "show", "pugh_raman_2005_patch").out
    for part in ("M^-1 s^-1", "forward/backward", "citation: Pugh", "status: read", "pS"):
        assert part in page
    assert " ".join(data["cycles"][0]["states"]) in page


def test_a_scheme_of_ones_own_is_shown_from_its_file(say, tmp_path):
    mine = tmp_path / "mine.toml"
    mine.write_text((SCHEMES / "jones_westbrook_1995.toml").read_text())
    data = json.loads(say("scheme", "show", mine, "--json").out)
    assert [state["name"] for state in data["states"]] == ["C0", "C1", "C2", "O1", "O2", "D1", "D2"]


# bad input: one message, exit code 2, nothing touched


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["run", "tine", "--out", "OUT"], ["experiment = 'tine'", "write tiny"]),
        (["run", "tiny"], ["--out", "gabatone run --help"]),
        (["run", "tiny", "--out", "OUT", "--sed", "1"], ["--sed", "gabatone run --help"]),
        (["run", "tiny", "--out", "OUT", "--seed", "x"], ["--seed", "'x'"]),
        (["run", "tiny", "--out", "OUT", "--seed", "-1"], ["--seed = -1", "greater than"]),
        (["run", "tiny", "--out", "OUT", "--set", "pulse.rate=90 mg"], ["pulse.rate", "ug/kg/h"]),
        (["run", "tiny", "--out", "OUT", "--set", "pulse.conc=-1 nM"], ["pulse.conc", "negative"]),
        (["run", "tiny", "--out", "OUT", "--set", "pulse.con=1"], ["pulse.con", "write conc"]),
        (["run", "tiny", "--out", "OUT", "--set", "pulse"], ["--set = 'pulse'"]),
        (["run", "tiny", "--out", "OUT", "--config", "gone.toml"], ["gone.toml", "cannot be read"]),
        (["run", "tiny", "--out", "OUT", "--set", "draws=666"], ["trials.csv: row 3", "neither"]),
        (["run", "tiny", "--out", "/proc/version/x"], ["--out", "cannot be"]),
        (["run", "tiny", "--out", "/proc/x"], ["--out", "cannot be written"]),
        (
            ["scheme", "show", "jones_westbrok_1995"],
            ["jones_westbrok_1995", "jones_westbrook_1995"],
        ),
        (["scheme", "show", "gone.toml"], ["gone.toml", "cannot be read"]),
        (["chek"], ["chek", "check"]),
        ([], ["no command"]),
        (["scheme"], ["no command", "gabatone scheme --help"]),
    ],
)
def test_bad_input_is_one_message_and_nothing_is_made(refused, tmp_path, arguments, parts):
    message = refused(*[str(tmp_path / "out") if part == "OUT" else part for part in arguments])
    for part in parts:
        assert part in message
    assert list(tmp_path.iterdir()) == []


def test_a_directory_with_a_run_of_other_inputs_is_left_as_it_is(refused, done):
    before = snapshot(done)
    message = refused("run", "tiny", "--out", done, "--seed", 9)
    assert "other inputs: seed 0 there, 9 now" in message
    assert snapshot(done) == before


GOOD = (SCHEMES / "pugh_raman_2005_patch.toml").read_text()


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ('to = "CA1"', 'to = "C9"', ["transitions[0].to", "'C9'", "not a state"]),
        ("value = ", "value = -", ["transitions[0].value", "negative"]),
        ("value = ", "valu = ", ["transitions[0].value", "missing"]),
        ("value = ", "value = inf #", ["transitions[0].value", "inf"]),
        ("[[transitions]]", "[[transitions]", ["not valid TOML"]),
    ],
)
def test_a_broken_scheme_file_is_one_message(refused, tmp_path, old, new, parts):
    assert old in GOOD
    mine = tmp_path / "mine.toml"
    mine.write_text(GOOD.replace(old, new, 1))
    message = refused("scheme", "show", mine)
    for part in ["mine.toml", *parts]:
        assert part in message


def test_a_scheme_file_with_a_broken_cycle_is_one_message(refused, tmp_path):
    (cycle,) = scheme_cli._summary(load_scheme("pugh_raman_2005_patch"))["cycles"]
    first, second = cycle["states"][:2]
    head, edge = GOOD.split(f'from = "{first}"\nto = "{second}"\nvalue = ')
    value, rest = edge.split("\n", 1)
    mine = tmp_path / "mine.toml"
    mine.write_text(f'{head}from = "{first}"\nto = "{second}"\nvalue = {3 * float(value)}\n{rest}')
    message = refused("scheme", "show", mine)
    for part in ("mine.toml", "cycle", "CA2", "0.95"):
        assert part in message


# other ends


def test_a_failed_run_ends_with_1_and_its_name(say, tmp_path):
    said = say("run", "tiny", "--out", tmp_path, "--set", "draws=13")
    assert said.code == 1
    assert said.err.startswith("gabatone: unlucky_number: ")
    assert len(said.err.splitlines()) == 1


def test_a_full_disk_is_a_named_failure(say, tmp_path, monkeypatch):
    def full(path, value):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stages, "save", full)
    said = say("run", "tiny", "--out", tmp_path / "out")
    assert said.code == 1
    assert said.err.startswith("gabatone: write_failed: No space left on device")
    assert len(said.err.splitlines()) == 1


def test_an_interrupt_in_a_stage_ends_with_130(say, tmp_path):
    said = say("run", "tiny", "--out", tmp_path, "--set", "draws=777")
    assert said.code == 130
    assert "the stages finished so far are kept" in said.err
    assert (tmp_path / "stages/draw.npz").exists()


def test_a_closed_pipe_is_no_error():
    command = f"{sys.executable} -m gabatone.experiments.cli"
    script = f"set -o pipefail; {command} scheme show haas_macdonald_1999_a1b3g2L | head -n 1"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "haas_macdonald_1999_a1b3g2L\n"


def test_bad_input_from_a_process_shows_no_traceback(start, tmp_path):
    process = start("run", "tiny", "--out", tmp_path / "out", "--set", "pulse.rate=90 mg")
    out, err = process.communicate()
    assert (process.returncode, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "pulse.rate = '90 mg'" in err and "Fix: " in err


def test_the_quick_questions_load_nothing_heavy():
    heavy = "('jax', 'matplotlib', 'pandas', 'numpyro', 'pint', 'xarray')"
    code = (
        "import sys; from gabatone.experiments.cli import main\n"
        "for question in ('--version', '--help', 'list'):\n"
        "    assert main([question]) == 0\n"
        f"loaded = [name for name in {heavy} if name in sys.modules]\n"
        "assert not loaded, loaded\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_process_keeps_warnings_off_the_terminal(monkeypatch):
    code = (
        "import warnings, logging; from gabatone.experiments.terminal import settle; settle()\n"
        "warnings.warn('stray'); logging.getLogger('some.library').warning('stray')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_columns_align_and_leave_a_dash_for_nothing():
    text = terminal.columns([["a", 1.5, None], ["bcd", 20.25, "x"]], ("name", "value", "note"))
    assert text.splitlines() == ["name  value  note", "a       1.5  -", "bcd   20.25  x"]
    assert terminal.columns([]) == ""


def test_the_process_starts_through_the_script_entry():
    assert cli.main.__module__ == "gabatone.experiments.cli"
    done = subprocess.run(
        [sys.executable, "-m", "gabatone.experiments.cli", "--version"],
        capture_output=True,
        text=True,
    )
    assert done.stdout == f"gabatone {manifest.version()}\n"
