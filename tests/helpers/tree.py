"""Where the checkout is, which files belong to it, and how its folders map to packages."""

import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("kernels", "inference", "experiments")
SKIPPED = {".git", "__pycache__", "build", "dist", "venv", ".venv"}


def project_files() -> list[Path]:
    """Files of the checkout, relative to its root: git's list, or a walk where git is absent."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        found = {Path(name) for name in out.split("\0") if name}
    except (OSError, subprocess.CalledProcessError):
        found = {path.relative_to(ROOT) for path in ROOT.rglob("*")}
        found = {path for path in found if not SKIPPED & set(path.parts) and not _built(path)}
    return sorted(p for p in found if (ROOT / p).is_symlink() or (ROOT / p).is_file())


def _built(path: Path) -> bool:
    if path.suffix == ".pyc" or path.parts[0].startswith(".") and path.parts[0] != ".ci":
        return True
    # what lies behind the links is listed under its own folder
    behind_link = path.parts[:2] == ("src", "gabatone") and path.parts[2:3] and len(path.parts) > 3
    return bool(behind_link) or any(part.endswith(".egg-info") for part in path.parts)


def pyproject() -> dict:
    """The parsed pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def modules(*folders: str) -> list[Path]:
    """Python files below the named top folders, relative to the root."""
    return [p for p in project_files() if p.suffix == ".py" and p.parts[0] in folders]
