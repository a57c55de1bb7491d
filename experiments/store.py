"""One directory per run: opened for new, resumed or finished work, and never half-written."""

import contextlib
import json
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

from gabatone.experiments import atomic, manifest, stages
from gabatone.experiments.plan import Plan
from gabatone.kernels.errors import BadInput

PLAN = "plan.json"
STAGES = "stages"
LAYOUT = (
    PLAN,
    "manifest.json",
    "report.html",
    "checks.json",
    "tables",
    "figures",
    "traces.zarr",
    "posterior.nc",
    "log.txt",
    STAGES,
)


class RunDirectory:
    """The folder of one run; ``state`` is ``"new"``, ``"resume"`` or ``"done"``.

    Everything is written under a temporary name, synced and renamed; `finish` writes the
    manifest last, so a folder with a manifest is whole. Use it as a context manager.
    """

    def __init__(self, path: Path, inputs: dict, state: str, lock, made: bool):
        self.path, self.inputs, self.state = path, inputs, state
        self._lock, self._made = lock, made
        self.found_done = state == "done"
        self._started = datetime.now(UTC)

    def __enter__(self):
        """Return the directory itself."""
        return self

    def __exit__(self, *_):
        """Give the directory free for others."""
        self.release()

    def write(self, relative: str, write) -> Path:
        """Let ``write(path)`` make the file ``relative`` in one step."""
        path = self.path / relative
        atomic.replace_file(path, write)
        return path

    def write_text(self, relative: str, text: str) -> Path:
        """Write ``text`` as the file ``relative`` in one step."""
        return self.write(relative, lambda path: path.write_text(text, encoding="utf-8"))

    def write_folder(self, relative: str, write) -> Path:
        """Let ``write(path)`` fill the folder ``relative`` in one step."""
        path = self.path / relative
        atomic.replace_folder(path, write)
        return path

    def log(self, text: str) -> None:
        """Add a line with the time to ``log.txt``."""
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        with open(self.path / "log.txt", "a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{stamp} {text}\n")
            file.flush()
            os.fsync(file.fileno())

    def stage(self, name: str, compute):
        """Return the kept result of stage ``name``, or compute and keep it.

        Fresh results are read back too, so a resumed run sees exactly what the first one saw.
        """
        path = self.path / STAGES / f"{name}.npz"
        if path.exists():
            try:
                value = stages.load(path)
                self.log(f"stage {name}: taken from the earlier start")
                return value
            except (
                Exception
            ) as error:  # whatever is wrong with a kept result, computing again mends it
                self.log(f"stage {name}: kept result cannot be read ({error}); computed again")
        self.log(f"stage {name}: started")
        value = compute()
        self.write(f"{STAGES}/{name}.npz", lambda temporary: stages.save(temporary, value))
        self.log(f"stage {name}: done")
        return stages.load(path)

    def finished_stages(self) -> list[str]:
        """Return the names of the stages whose results are kept."""
        return sorted(path.stem for path in (self.path / STAGES).glob("[!.]*.npz"))

    def finish(self) -> None:
        """Write the manifest: the run is done from here on."""
        self.log("run: done")
        ended = datetime.now(UTC)
        record = {
            "identity": self.inputs["identity"],
            **self.inputs["plan"],
            "git": self.inputs["git"],
            "source": self.inputs["source"],
            **manifest.stack(),
            "started_utc": self._started.isoformat(timespec="seconds"),
            "ended_utc": ended.isoformat(timespec="seconds"),
            "wall_seconds": round((ended - self._started).total_seconds(), 3),
            "resumed": self.state == "resume",
            "files": manifest.list_files(self.path, leave_out=(manifest.NAME, STAGES)),
        }
        self.write_text(manifest.NAME, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        self.state = "done"
        shutil.rmtree(self.path / STAGES, ignore_errors=True)

    def discard(self) -> None:
        """Take back a new run that had bad input, so that better input can have the place."""
        if self.state != "new":
            return
        for name in LAYOUT:
            path = self.path / name
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        if self._made:
            with contextlib.suppress(OSError):
                self.path.rmdir()

    def release(self) -> None:
        """Let go of the lock; the directory keeps its content."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def open_run(out, plan: Plan) -> RunDirectory:
    """Open ``out`` for ``plan``: new, resumed or already done.

    Raises
    ------
    BadInput
        ``out`` cannot be written, is in use, holds other files, a run of other inputs, or a
        finished run whose files were damaged. Nothing in it is touched then.
    """
    path = Path(out)
    inputs = manifest.inputs_of(plan)
    state = _inspect(path, inputs)
    if state == "done":
        return RunDirectory(path, inputs, state, None, False)
    made = not path.exists()
    lock = None
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = _take_lock(path)
        state = _inspect(path, inputs)  # another process may have been there in between
        run = RunDirectory(path, inputs, state, lock, made)
        if state == "done":
            return run
        atomic.sweep(path)
        if state == "new":
            run.write_text(PLAN, json.dumps(inputs, indent=1, ensure_ascii=False) + "\n")
        run.log("run: started" if state == "new" else "run: resumed")
        return run
    except (OSError, BadInput) as error:
        if lock is not None:
            os.close(lock)
        if isinstance(error, BadInput):
            raise
        cause = f"the directory cannot be written ({error.strerror})"
        raise BadInput("--out", str(out), cause, "choose a directory you may write to") from error


def _take_lock(path: Path) -> int:
    import fcntl

    lock = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with the process, however it ends
    except BlockingIOError as error:
        os.close(lock)
        fix = "wait for it, or choose another directory"
        raise BadInput("--out", str(path), "another run is writing there", fix) from error
    except OSError:
        return lock  # some network file systems lend no locks
    return lock


def _inspect(path: Path, inputs: dict) -> str:
    fix = "choose a new or empty directory"
    try:
        if not path.exists():
            return "new"
        if not path.is_dir():
            raise BadInput("--out", str(path), "a file has that name", fix)
        names = [entry.name for entry in path.iterdir()]
    except OSError as error:
        cause = f"the directory cannot be read ({error.strerror})"
        raise BadInput("--out", str(path), cause, "choose a directory you may write to") from error
    if PLAN not in names:
        if all(name.startswith(atomic.TEMPORARY) for name in names):
            return "new"
        raise BadInput("--out", str(path), "holds files that are no run of gabatone", fix)
    there = _read_inputs(path)
    if there["identity"] != inputs["identity"]:
        cause = f"holds a run of other inputs: {_difference(there, inputs)}"
        raise BadInput("--out", str(path), cause, fix)
    written = manifest.read_manifest(path)
    if written is None:
        return "resume"
    problems = manifest.damage(path, written)
    if problems:
        raise damaged(path, problems)
    return "done"


def damaged(path: Path, problems: list) -> BadInput:
    """Return the message for a finished run whose files are no longer what was written."""
    first, problem = problems[0]
    more = f" (and {len(problems) - 1} more files)" if len(problems) > 1 else ""
    fix = f"restore the file, or remove {manifest.NAME} to write the run again"
    return BadInput(
        f"{Path(path).name}/{first}", problem, f"the finished run is damaged{more}", fix
    )


def _read_inputs(path: Path) -> dict:
    try:
        inputs = json.loads((path / PLAN).read_text(encoding="utf-8"))
        return {key: inputs[key] for key in ("identity", "plan", "version", "git", "source")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        fix = "choose a new or empty directory"
        raise BadInput(f"{path.name}/{PLAN}", PLAN, "not a record of a run", fix) from error


def _difference(there: dict, wanted: dict) -> str:
    changes = []
    before, after = _flat(there["plan"]), _flat(wanted["plan"])
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key):
            name = key.removeprefix("settings.")
            changes.append(f"{name} {before.get(key)!r} there, {after.get(key)!r} now")
    if there["version"] != wanted["version"]:
        changes.append(f"gabatone {there['version']} there, {wanted['version']} now")
    elif there["git"] != wanted["git"] or there["source"] != wanted["source"]:
        changes.append("the source code of gabatone is another")
    more = f" and {len(changes) - 3} more" if len(changes) > 3 else ""
    return "; ".join(changes[:3]) + more


def _flat(table: dict, above: str = "") -> dict:
    flat = {}
    for key, value in table.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{above}{key}.")
        else:
            flat[f"{above}{key}"] = value
    return flat
