"""What is installed: every package and data file, under the name gabatone only."""

import ast
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import gabatone
from helpers.tree import ROOMS, ROOT, project_files, pyproject

PYTHONS = ("3.11", "3.12", "3.13")
# the accelerator stacks are pinned by jax itself
UNPINNED_EXTRAS = {"cuda", "tpu"}


def installed_name(path: Path) -> str:
    """Name in the wheel of a project file that belongs to a package."""
    parts = path.parts
    return "/".join(parts[1:] if parts[0] == "src" else ("gabatone", *parts))


def copy_checkout(target: Path, links: bool) -> Path:
    for path in project_files():
        source, copy = ROOT / path, target / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        if not source.is_symlink():
            shutil.copyfile(source, copy)
        elif links:
            copy.symlink_to(os.readlink(source))
        else:
            # what git writes where links are not allowed
            copy.write_text(os.readlink(source))
    return target


def run(*command: str, cwd: Path) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def build_wheel(source: Path, target: Path) -> Path:
    options = ["--no-deps", "--no-build-isolation", "--disable-pip-version-check", "-q"]
    run(sys.executable, "-m", "pip", "wheel", *options, "-w", str(target), ".", cwd=source)
    (wheel,) = target.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    return copy_checkout(tmp_path_factory.mktemp("checkout"), links=True)


@pytest.fixture(scope="module")
def wheel(checkout, tmp_path_factory) -> Path:
    return build_wheel(checkout, tmp_path_factory.mktemp("wheel"))


def contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_package_list_names_every_package_folder():
    table = pyproject()["tool"]["setuptools"]
    folders = {"gabatone": "src/gabatone"}
    for path in project_files():
        if path.suffix == ".py" and path.parts[0] in ROOMS:
            folders[".".join(("gabatone", *path.parent.parts))] = path.parent.as_posix()
    assert set(table["packages"]) == set(folders)
    assert table["package-dir"] == folders
    for folder in folders.values():
        assert (ROOT / folder / "__init__.py").is_file(), f"{folder} has no __init__.py"


def test_wheel_installs_one_top_name(wheel):
    tops = {name.split("/")[0] for name in contents(wheel)}
    version = pyproject()["project"]["version"]
    assert tops == {"gabatone", f"gabatone-{version}.dist-info"}
    with zipfile.ZipFile(wheel) as archive:
        listed = archive.read(f"gabatone-{version}.dist-info/top_level.txt").decode().split()
    assert listed == ["gabatone"]


def test_wheel_holds_every_module_and_data_file(wheel):
    owned = [p for p in project_files() if p.parts[0] in {*ROOMS, "src"}]
    wanted = {installed_name(p) for p in owned if not (ROOT / p).is_symlink()}
    assert any(name.startswith("gabatone/kernels/receptor/schemes/") for name in wanted)
    packed = {name for name in contents(wheel) if ".dist-info/" not in name}
    assert packed == wanted


def test_wheel_from_a_clone_without_links_is_the_same(wheel, tmp_path):
    source = copy_checkout(tmp_path / "checkout", links=False)
    assert contents(build_wheel(source, tmp_path / "wheel")) == contents(wheel)


def test_wheel_from_the_source_archive_is_the_same(checkout, wheel, tmp_path):
    build = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    run(sys.executable, "-c", build, str(tmp_path), cwd=checkout)
    (archive,) = tmp_path.glob("*.tar.gz")
    shutil.unpack_archive(archive, tmp_path, filter="data")
    source = tmp_path / archive.name.removesuffix(".tar.gz")
    assert contents(build_wheel(source, tmp_path / "wheel")) == contents(wheel)


def test_links_lead_to_the_folders():
    for room in ROOMS:
        link = ROOT / "src" / "gabatone" / room
        target = os.readlink(link) if link.is_symlink() else link.read_text()
        assert target == f"../../{room}"


def test_public_names_are_listed_once_and_resolve():
    home = gabatone._HOME
    assert sorted([*home, "__version__"]) == sorted(gabatone.__all__)
    tree = ast.parse(Path(gabatone.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    assert {name.name: node.module for node in block.body for name in node.names} == home
    for name in gabatone.__all__:
        assert getattr(gabatone, name) is not None
        assert name in dir(gabatone)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = gabatone.nonsense


def test_one_version_everywhere():
    version = pyproject()["project"]["version"]
    assert gabatone.__version__ == version
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## (\S+)", changelog, re.M).group(1) == version


@pytest.mark.parametrize("python", PYTHONS)
def test_every_requirement_has_one_pin_that_it_allows(python):
    project = pyproject()["project"]
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"]]
    needed += [r for extra in extras if extra not in UNPINNED_EXTRAS for r in extras[extra]]
    pins: dict[str, list[str]] = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        pin = Requirement(line) if line and not line.startswith("#") else None
        if pin and (pin.marker is None or pin.marker.evaluate({"python_version": python})):
            (exact,) = pin.specifier
            assert exact.operator == "=="
            pins.setdefault(canonicalize_name(pin.name), []).append(exact.version)
    for requirement in map(Requirement, needed):
        if requirement.marker and not requirement.marker.evaluate({"python_version": python}):
            continue
        versions = pins.get(canonicalize_name(requirement.name), [])
        assert len(versions) == 1, f"{requirement.name}: {versions} on Python {python}"
        assert requirement.specifier.contains(versions[0]), str(requirement)
    assert all(len(versions) == 1 for versions in pins.values())
    assert "gabatone" not in pins


def test_ci_runs_the_commands_of_the_readme():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    for command in ('pip install -c constraints.txt -e ".[test]"', "python -m pytest -q"):
        assert command in script
        assert command in readme


def test_no_file_names_a_machine_or_a_registry_host():
    # spelled in pieces so that this file does not match itself
    roots = "|".join(("work", "root", "home", "Users"))
    hosts = "|".join(("py" + "pi.org", "python" + "hosted", "conda.an" + "aconda"))
    outside = r"\.\./sha" + "red"
    pattern = re.compile(rf"(?<![\w.])/(?:{roots})/|{hosts}|{outside}")
    found = []
    for path in project_files():
        source = ROOT / path
        if source.is_symlink():
            continue
        try:
            text = source.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path}: {match.group()}" for match in pattern.finditer(text)]
    assert not found, found
