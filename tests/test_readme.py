"""The README holds: its Python runs, its commands exist, its links lead somewhere, its table is measured."""

import importlib.util
import json
import re

import jax
import numpy as np
import pytest
import typer

from gabatone import Master, Pulse, load_scheme, simulate
from gabatone.experiments.cli import app
from helpers.statistics import assert_consistent
from helpers.tree import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = ROOT / "benchmarks" / "results"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.M | re.S)


def test_python_blocks_run_one_after_the_other():
    assert len(blocks("python")) >= 3
    names: dict = {"__name__": "readme"}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)
    # what the comments beside the numbers say
    assert float(names["peak"]) == pytest.approx(0.594, abs=5e-4)
    assert float(names["fold_total"]) == pytest.approx(5.1, abs=0.05)
    assert float(names["fold_free"]) == pytest.approx(1.06, abs=0.005)
    seen = names["exposure"]
    np.testing.assert_allclose(seen.plasma_ng_per_mL, [50.0, 80.0, 5.4], atol=0.05)
    np.testing.assert_allclose(seen.effect_site_nM, [161, 255, 21], atol=0.5)
    np.testing.assert_allclose(seen.free_nM, [1.6, 2.5, 0.2], atol=0.05)


def test_python_blocks_use_public_names():
    import gabatone

    used = re.findall(r"from gabatone import ([\w, ]+)", README)
    assert used
    assert {name.strip() for line in used for name in line.split(",")} <= set(gabatone.__all__)


def test_commands_and_options_exist():
    commands = re.findall(r"(?:`|&& )gabatone ((?:scheme )?[a-z]+)(?= |`)", README)
    assert commands
    tree = typer.main.get_command(app)
    for line in commands:
        command = tree
        for word in line.split():
            assert word in command.commands, f"gabatone {line}"
            command = command.commands[word]
    options = {name for param in tree.commands["run"].params for name in param.opts}
    assert set(re.findall(r"`\.\.\. (--\w+)", README)) <= options


def test_settings_named_are_settings():
    from gabatone.experiments.plan import read_plan

    named = [text.replace('"', "") for text in re.findall(r"--set (\w+\.\w+=[^`]+)`", README)]
    named.remove("table.key=value")
    assert named
    read_plan("brexanolone", overrides=named)


def test_links_lead_to_files():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    missing = [link for link in links if "://" not in link and not (ROOT / link).is_file()]
    assert not missing, missing


def test_readme_is_short():
    assert len(README.splitlines()) <= 340


def test_speed_tables_show_the_stored_result():
    newest = max(RESULTS.glob("*-channels-cpu.json"))
    result = json.loads(newest.read_text(encoding="utf-8"))
    places = (README, (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8"))
    for page in places:
        assert newest.name in page
        assert result["command"] in page
        assert result["date"] in page
        assert result["hardware"]["cpu"] in page
        for name, row in result["methods"].items():
            (line,) = (line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
            shown = float(line.split("|")[2])
            assert shown == pytest.approx(row["channel_steps_per_s"], rel=0.01), name


def module_of(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("peer", "n"), [("every_channel", 16_384), ("movers_only", 65_536)])
def test_numpy_peers_of_the_speed_table_follow_the_scheme(peer, n):
    grids = module_of(ROOT / "benchmarks" / "grid_numpy.py")
    scheme = load_scheme("jones_westbrook_1995")
    pair = [scheme.generator({"GABA": conc}) for conc in (1e-3, 0.0)]
    job = grids.GridJob(pair, scheme.is_open, 0, 1e-4, first_steps=10, steps=400)
    opened = getattr(grids, peer)(job, 1, n)
    drive, key = Pulse(1e-3, 0.0, 1e-3), jax.random.key(0)
    exact = simulate(key, scheme, drive, engine=Master(), t1_s=0.04, save_s=1e-4)
    at = np.array([1, 3, 10, 17, 50, 150, 400])
    p = np.asarray(exact.open_probability, np.float64)[at]
    assert_consistent((opened[at] / n - p) / np.sqrt(p * (1 - p) / n), f"J1 by {peer}")
