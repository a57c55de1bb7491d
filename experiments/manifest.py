"""What made a run directory, and whether its files are still what was written."""

import hashlib
import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from gabatone.kernels.errors import BadInput

NAME = "manifest.json"
_STACK = (
    "jax",
    "jaxlib",
    "equinox",
    "diffrax",
    "numpyro",
    "optax",
    "arviz",
    "numpy",
    "scipy",
    "pandas",
    "xarray",
    "zarr",
    "h5netcdf",
    "pyarrow",
    "matplotlib",
    "pydantic",
)
_ROOMS = ("kernels", "inference", "experiments")
_SOURCES = (".py", ".toml", ".csv", ".j2")


def version() -> str:
    """Return the version of this package."""
    return metadata.version("gabatone")


def git_state() -> dict | None:
    """Return the commit of the checkout the package runs from and whether its sources differ.

    None where the package lies in no checkout of its own.
    """
    here = Path(__file__).resolve().parent
    commit = _git(here, "rev-parse", "--verify", "HEAD")
    if commit is None or _git(here, "ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None  # no checkout, or one of something else that this copy only lies in
    rooms = [f":/{room}" for room in (*_ROOMS, "src")]
    status = _git(here, "status", "--porcelain", "--untracked-files=all", "--", *rooms) or b""
    return {"commit": commit.decode().strip(), "dirty": bool(status.strip())}


def source_hash() -> str:
    """Return a hash over the code and data files of the package: an edit is another input."""
    root = Path(__file__).resolve().parent.parent
    summed = hashlib.sha256()
    for room in _ROOMS:
        for path in sorted((root / room).rglob("*")):
            if path.suffix in _SOURCES:
                summed.update(
                    path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0"
                )
    return summed.hexdigest()


def _git(folder: Path, *arguments: str) -> bytes | None:
    # a git hook sets GIT_DIR and the like for another purpose
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, env=environment, capture_output=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def inputs_of(plan) -> dict:
    """Return everything that decides the result of ``plan``, with its hash as ``identity``."""
    inputs = {
        "plan": plan.canonical(),
        "version": version(),
        "git": git_state(),
        "source": source_hash(),
    }
    text = json.dumps(inputs, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return {"identity": hashlib.sha256(text.encode()).hexdigest(), **inputs}


def stack() -> dict:
    """Return versions, platform and device of this process; no host name, no path."""
    import jax

    versions = {"gabatone": version(), "python": platform.python_version()}
    for name in _STACK:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    device = jax.devices()[0]
    return {
        "versions": versions,
        "platform": {
            "system": platform.system(),
            "machine": platform.machine(),
            "byte_order": sys.byteorder,
        },
        "device": {
            "backend": jax.default_backend(),
            "kind": device.device_kind,
            "count": jax.device_count(),
            "x64": bool(jax.config.jax_enable_x64),
        },
    }


def list_files(folder: Path, leave_out=()) -> list[dict]:
    """Return path (relative), size and sha256 of every file under ``folder``, sorted by path."""
    files = []
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_file() and relative.parts[0] not in leave_out:
            files.append(
                {"path": relative.as_posix(), "bytes": path.stat().st_size, "sha256": _digest(path)}
            )
    return files


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(folder) -> dict | None:
    """Return the manifest in ``folder``, None if there is none; `BadInput` if it is broken."""
    path = Path(folder) / NAME
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        files = [(entry["path"], entry["bytes"], entry["sha256"]) for entry in manifest["files"]]
    except FileNotFoundError:
        return None
    except OSError as error:
        place = f"{Path(folder).name}/{NAME}"
        raise BadInput(
            place, NAME, f"cannot be read ({error.strerror})", "check its permissions"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        place = f"{Path(folder).name}/{NAME}"
        fix = "remove the file to let the run write it again"
        raise BadInput(place, NAME, "not a whole manifest", fix) from error
    del files
    return manifest


def damage(folder, manifest: dict) -> list[tuple[str, str]]:
    """Return (path, problem) for each listed file that is missing, truncated or changed."""
    problems = []
    for entry in manifest["files"]:
        path = Path(folder) / entry["path"]
        if not path.is_file():
            problems.append((entry["path"], "missing"))
            continue
        size = path.stat().st_size
        if size < entry["bytes"]:
            problems.append((entry["path"], f"truncated: {size} of {entry['bytes']} bytes"))
        elif size != entry["bytes"] or _digest(path) != entry["sha256"]:
            problems.append((entry["path"], "changed since the run was written"))
    return problems
