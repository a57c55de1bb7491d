"""Files and folders that are either whole or absent: temporary name, fsync, rename."""

import os
import shutil
from pathlib import Path

TEMPORARY = ".tmp-"


def replace_file(path: Path, write) -> None:
    """Let ``write(temporary_path)`` make the file, then put it in place of ``path`` in one step."""
    temporary = _beside(path)
    try:
        write(temporary)
        _sync(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def replace_folder(path: Path, write) -> None:
    """Let ``write(temporary_path)`` fill a folder, then put it in place of ``path``.

    A stop between the two renames leaves no folder at ``path``, never half of one.
    """
    temporary, old = _beside(path), _beside(path, "old-")
    try:
        write(temporary)
        for inner in sorted(temporary.rglob("*"), reverse=True):
            _sync(inner)
        _sync(temporary)
        if path.exists():
            os.rename(path, old)
        os.rename(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    _sync(path.parent)


def sweep(folder: Path) -> None:
    """Remove what an earlier, killed writer left half-done anywhere under ``folder``."""
    for left in [*folder.glob(f"{TEMPORARY}*"), *folder.glob(f"*/{TEMPORARY}*")]:
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _beside(path: Path, tag: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f"{TEMPORARY}{tag}{os.getpid()}-{path.name}")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
