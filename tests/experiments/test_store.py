import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny_command
import xarray as xr

from gabatone.experiments import atomic, manifest
from gabatone.experiments.plan import read_plan
from gabatone.experiments.run import run
from gabatone.experiments.store import open_run
from gabatone.kernels.errors import BadInput, Failure

# these hold times; everything else of a run depends on its inputs alone
TIMED = ("manifest.json", "log.txt")


def snapshot(folder: Path) -> dict:
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    return {name: path.read_bytes() for name, path in files.items() if path.is_file()}


def results(folder: Path) -> dict:
    return {name: data for name, data in snapshot(folder).items() if name not in TIMED}


def wait_for(path: Path, process) -> None:
    for _ in range(1200):
        if path.exists():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    raise AssertionError(f"{path.name} did not come")


def test_a_run_fills_the_directory_of_the_design(done):
    assert sorted(path.name for path in done.iterdir()) == [
        "checks.json",
        "figures",
        "log.txt",
        "manifest.json",
        "plan.json",
        "posterior.nc",
        "report.html",
        "tables",
        "traces.zarr",
    ]
    parquet = pd.read_parquet(done / "tables/waits.parquet")
    written = pd.read_csv(done / "tables/waits.csv")
    pd.testing.assert_frame_equal(parquet, written, check_dtype=False)
    assert (done / "figures/waits.png").read_bytes().startswith(b"\x89PNG")
    with xr.open_dataset(
        done / "traces.zarr", group="waits", engine="zarr", consolidated=False
    ) as trace:
        np.testing.assert_array_equal(np.sort(trace["wait_s"]), parquet["wait_s"])
    with xr.open_dataset(done / "posterior.nc", group="posterior", engine="h5netcdf") as posterior:
        assert posterior["mean"].shape == (1, 200)


def test_the_manifest_says_what_made_the_run_and_where_nothing_lies(done):
    record = manifest.read_manifest(done)
    assert record["experiment"] == "tiny"
    assert record["settings"]["pulse"]["rate"] == 60.0
    assert record["versions"]["gabatone"] == manifest.version()
    assert {"python", "jax", "numpyro", "numpy"} <= set(record["versions"])
    assert record["device"]["x64"] is True
    assert record["wall_seconds"] >= 0
    assert record["started_utc"].endswith("+00:00")
    listed = {entry["path"] for entry in record["files"]}
    assert listed == set(snapshot(done)) - {"manifest.json"}
    text = (done / "manifest.json").read_text() + (done / "report.html").read_text()
    assert str(done.parent) not in text
    assert str(Path.home()) + "/" not in text


def test_the_same_inputs_again_are_done_and_touch_nothing(done):
    before = snapshot(done)
    again = run(read_plan("tiny"), done)
    assert again.found_done
    assert snapshot(done) == before


def test_other_inputs_are_refused_and_touch_nothing(done):
    before = snapshot(done)
    with pytest.raises(BadInput, match="other inputs: draws 200 there, 7 now") as caught:
        run(read_plan("tiny", overrides=["draws=7"]), done)
    assert caught.value.field == "--out"
    with pytest.raises(BadInput, match="seed 0 there, 3 now"):
        run(read_plan("tiny", seed=3), done)
    assert snapshot(done) == before


def test_other_source_code_is_another_input(done, monkeypatch):
    monkeypatch.setattr(manifest, "source_hash", lambda: "1" * 64)
    with pytest.raises(BadInput, match="source code of gabatone is another"):
        run(read_plan("tiny"), done)


def test_files_of_somebody_else_are_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(BadInput, match="no run of gabatone.*Fix: choose a new or empty"):
        run(read_plan("tiny"), tmp_path)
    (tmp_path / "plan.json").write_text("{}")
    with pytest.raises(BadInput, match="plan.json.*not a record of a run"):
        run(read_plan("tiny"), tmp_path)
    assert set(snapshot(tmp_path)) == {"thesis.tex", "plan.json"}


def test_a_directory_that_cannot_be_made_is_bad_input(tmp_path):
    (tmp_path / "file").write_text("x")
    for out, cause in (("file", "a file has that name"), ("file/inside", "cannot be")):
        with pytest.raises(BadInput, match=f"^--out = .*{cause}.*Fix: "):
            run(read_plan("tiny"), tmp_path / out)
    assert snapshot(tmp_path) == {"file": b"x"}


def test_a_directory_without_write_permission_is_bad_input(tmp_path, monkeypatch):
    # the administrator may write anywhere, so the refusal of the system is put in by hand
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(BadInput, match="cannot be written .Permission denied.*may write to"):
        run(read_plan("tiny"), tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        ("tables/waits.csv", lambda data: data[:40], "truncated: 40 of"),
        ("posterior.nc", lambda data: data[:-1], "truncated"),
        ("tables/waits.parquet", lambda data: data[:-1] + b"?", "changed since"),
        ("checks.json", lambda data: data + b" ", "changed since"),
        ("figures/waits.png", None, "missing"),
    ],
)
def test_a_damaged_file_of_a_finished_run_is_named(done, name, change, problem):
    path = done / name
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(path.read_bytes()))
    before = snapshot(done)
    with pytest.raises(BadInput, match=f"^done/{name} = .*{problem}.*Fix: restore the file"):
        run(read_plan("tiny"), done)
    assert snapshot(done) == before


def test_a_truncated_manifest_is_named_and_the_advice_works(done):
    whole = results(done)
    path = done / "manifest.json"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BadInput, match="^done/manifest.json = .*not a whole manifest"):
        run(read_plan("tiny"), done)
    path.unlink()
    assert not run(read_plan("tiny"), done).found_done
    assert results(done) == whole


def test_bad_input_found_on_the_way_leaves_no_directory_behind(tmp_path):
    with pytest.raises(BadInput, match="neither se nor n"):
        run(read_plan("tiny", overrides=["draws=666"]), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    kept = tmp_path / "kept"
    kept.mkdir()
    with pytest.raises(BadInput, match="neither se nor n"):
        run(read_plan("tiny", overrides=["draws=666"]), kept)
    assert list(kept.iterdir()) == []


def test_a_failed_run_keeps_its_stages_and_its_log(tmp_path):
    with pytest.raises(Failure, match="unlucky_number"):
        run(read_plan("tiny", overrides=["draws=13"]), tmp_path)
    assert (tmp_path / "stages/draw.npz").exists()
    assert not (tmp_path / "manifest.json").exists()
    assert "stopped by Failure: unlucky_number" in (tmp_path / "log.txt").read_text()


def test_after_kill_9_the_finished_stage_is_kept_and_the_results_are_the_same(
    tmp_path, start, finished_once
):
    out, here, count = tmp_path / "out", tmp_path / "here", tmp_path / "count"
    environment = {"TINY_COUNT": str(count)}
    first = start("run", "tiny", "--out", out, TINY_HANG=str(here), **environment)
    wait_for(here, first)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert (out / "stages/draw.npz").exists()
    assert not (out / "manifest.json").exists()
    (out / f"{atomic.TEMPORARY}99-report.html").write_text("half a re")
    second = start("run", "tiny", "--out", out, **environment)
    said, error = second.communicate()
    assert (second.returncode, error) == (0, ""), error
    assert "done" in said
    assert count.read_text() == "draw\n"
    assert results(out) == results(finished_once)
    assert manifest.read_manifest(out)["resumed"] is True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_with_130_and_a_way_on(tmp_path, start, number):
    out, here = tmp_path / "out", tmp_path / "here"
    process = start("run", "tiny", "--out", out, TINY_HANG=str(here))
    wait_for(here, process)
    process.send_signal(number)
    _, error = process.communicate()
    assert process.returncode == 130
    assert "interrupted" in error and "goes on from there" in error
    assert "Traceback" not in error
    assert (out / "stages/draw.npz").exists()


def test_two_processes_do_not_write_to_one_directory(tmp_path, start):
    out, here = tmp_path / "out", tmp_path / "here"
    process = start("run", "tiny", "--out", out, TINY_HANG=str(here))
    wait_for(here, process)
    with pytest.raises(BadInput, match="another run is writing there"):
        run(read_plan("tiny"), out)


def test_a_kept_stage_that_cannot_be_read_is_computed_again(tmp_path):
    plan = read_plan("tiny")
    with open_run(tmp_path, plan) as first:
        first.write_text("stages/draw.npz", "not an archive")
    finished = run(plan, tmp_path)
    assert finished.state == "done"
    assert "cannot be read" in (tmp_path / "log.txt").read_text()


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "table.csv"
    atomic.replace_file(path, lambda new: new.write_text("whole"))

    def half(new):
        new.write_text("ha")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        atomic.replace_file(path, half)
    assert snapshot(tmp_path) == {"table.csv": b"whole"}


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    def fill(*names):
        def write(folder):
            (folder / "deep").mkdir(parents=True)
            for name in names:
                (folder / "deep" / name).write_text(name)

        return write

    path = tmp_path / "traces.zarr"
    atomic.replace_folder(path, fill("a", "b"))
    atomic.replace_folder(path, fill("c"))

    def half(folder):
        fill("d")(folder)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        atomic.replace_folder(path, half)
    assert snapshot(tmp_path) == {"traces.zarr/deep/c": b"c"}


def test_every_file_is_synced_before_it_gets_its_name(tmp_path, monkeypatch):
    order = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda d: (order.append("sync"), fsync(d)))
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append("rename"), replace(a, b)))
    atomic.replace_file(tmp_path / "a", lambda new: new.write_text("x"))
    assert order == ["sync", "rename", "sync"]


def test_the_manifest_is_written_last(finished_once):
    files = [path for path in finished_once.rglob("*") if path.is_file()]
    newest = max(files, key=lambda path: path.stat().st_mtime_ns)
    assert newest.name == "manifest.json"


def test_git_variables_of_a_hook_do_not_mislead_the_git_state(monkeypatch, tmp_path):
    plain = tiny_command.real_git_state()
    monkeypatch.setenv("GIT_DIR", str(tmp_path))
    after = tiny_command.real_git_state()
    assert (after and after["commit"]) == (plain and plain["commit"])


def test_the_source_hash_sees_an_edit_of_code_and_of_data(tmp_path, monkeypatch):
    for room in ("kernels", "inference", "experiments"):
        (tmp_path / room).mkdir()
    code, data = tmp_path / "experiments/manifest.py", tmp_path / "kernels/dose.csv"
    code.write_text("x = 1")
    data.write_text("dose\n60\n")
    monkeypatch.setattr(manifest, "__file__", str(code))
    seen = {tiny_command.real_source_hash()}
    data.write_text("dose\n90\n")
    seen.add(tiny_command.real_source_hash())
    code.write_text("x = 2")
    seen.add(tiny_command.real_source_hash())
    assert len(seen) == 3


def test_the_inputs_are_one_hash_of_plan_version_and_code():
    inputs = manifest.inputs_of(read_plan("tiny"))
    assert set(inputs) == {"identity", "plan", "version", "git", "source"}
    assert inputs == manifest.inputs_of(read_plan("tiny"))
    assert json.dumps(inputs)
    other = manifest.inputs_of(read_plan("tiny", quick=True))
    assert other["identity"] != inputs["identity"]
