"""The house rules that a reader relies on: who may import whom, and how long things get."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.tree import ROOMS, ROOT, modules

MODULE_LINES = 400
FUNCTION_LINES = 60

# which of our own packages each room may use
OURS = {
    "kernels": ("gabatone.kernels",),
    "inference": ("gabatone.kernels", "gabatone.inference"),
    "experiments": ("gabatone",),
}
# the shell, the clock and the network stay outside the layer that runs on the accelerator
NOT_IN_KERNELS = {
    *("numpyro", "arviz", "optax", "pandas", "pint", "pydantic", "typer", "rich", "jinja2"),
    *("matplotlib", "time", "datetime", "socket", "urllib", "http", "requests"),
}


def parse(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), filename=str(path))


def imported(path: Path) -> list[str]:
    """Dotted names of all imports of a file; a relative one starts with a dot."""
    names = []
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            names += [f"{base}.{alias.name}" for alias in node.names]
    return names


def within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


@pytest.mark.parametrize("room", ROOMS)
def test_each_room_imports_only_the_rooms_below(room):
    wrong = [
        f"{path}: {name}"
        for path in modules(room)
        for name in imported(path)
        if name.split(".")[0] == "gabatone" and not within(name, OURS[room])
    ]
    assert modules(room)
    assert not wrong, wrong


def test_kernels_leave_shell_clock_and_network_alone():
    wrong = [
        f"{path}: {name}"
        for path in modules("kernels")
        for name in imported(path)
        if name.split(".")[0] in NOT_IN_KERNELS
    ]
    assert not wrong, wrong


def test_imports_are_absolute_and_under_the_package_name():
    wrong = [
        f"{path}: {name}"
        for path in modules(*ROOMS, "src", "tests", "benchmarks", "docs")
        for name in imported(path)
        # tests reach their helpers by one name only, or the statistics would be counted twice
        if name.split(".")[0] in {*ROOMS, "tests", ""} or within(name, ("jax._src",))
    ]
    assert not wrong, wrong


def test_modules_are_short_and_named_for_what_they_hold():
    wrong = []
    for path in modules(*ROOMS, "src", "tests", "benchmarks", "docs"):
        lines = len((ROOT / path).read_text(encoding="utf-8").splitlines())
        if lines > MODULE_LINES:
            wrong.append(f"{path}: {lines} lines")
        if path.stem.strip("_") in {"utils", "util", "misc", "common"}:
            wrong.append(f"{path}: says nothing about what it holds")
    assert not wrong, wrong


def test_functions_are_short():
    wrong = []
    for path in modules(*ROOMS, "src", "tests", "benchmarks", "docs"):
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = node.end_lineno - node.lineno + 1
                if lines > FUNCTION_LINES:
                    wrong.append(f"{path}:{node.lineno} {node.name}: {lines} lines")
    assert not wrong, wrong


def run_fresh(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("module", ["gabatone", "gabatone.experiments.cli"])
def test_import_stays_light(module):
    heavy = ("jax", "numpy", "matplotlib", "numpyro")
    code = f"import sys, {module}; print([m for m in {heavy!r} if m in sys.modules])"
    assert run_fresh(code) == "[]"


def test_importing_the_kernels_leaves_no_array_on_the_device():
    names = [".".join(("gabatone", *path.with_suffix("").parts)) for path in modules("kernels")]
    names = [name.removesuffix(".__init__") for name in names]
    code = (
        "import importlib, jax\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        "print(jax.live_arrays())"
    )
    assert run_fresh(code) == "[]"
