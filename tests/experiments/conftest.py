import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from gabatone.experiments import cli
from gabatone.experiments.plan import read_plan
from gabatone.experiments.run import run

# the small experiment lies beside the tests and is imported by its bare name
sys.path.insert(0, str(Path(__file__).parent))

import tiny_command  # noqa: E402


@dataclass
class Said:
    code: int
    out: str
    err: str


@pytest.fixture(autouse=True, scope="module")
def tiny():
    """Put the small experiment into the list."""
    with pytest.MonkeyPatch.context() as patch:
        tiny_command.prepare(patch.setitem, patch.setattr)
        yield


@pytest.fixture(scope="module")
def finished_once(tiny, tmp_path_factory):
    """One finished run, to be copied and not to be touched."""
    return run(read_plan("tiny"), tmp_path_factory.mktemp("once") / "done").path


@pytest.fixture
def done(finished_once, tmp_path):
    """A finished run that a test may spoil."""
    return Path(shutil.copytree(finished_once, tmp_path / "done"))


@pytest.fixture
def say(capsys):
    """Run the command line in this process: ``say("list") -> Said``."""

    def call(*arguments):
        code = cli.main([str(part) for part in arguments])
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    return call


@pytest.fixture
def start():
    """Start the command line as a process of its own; it is ended with the test."""
    running = []

    def call(*arguments, **environment):
        command = [sys.executable, str(Path(tiny_command.__file__)), *map(str, arguments)]
        process = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield call
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def refused(say):
    """Run the command line and require one message of bad input; returns the message."""

    def call(*arguments):
        said = say(*arguments)
        assert said.code == 2, said
        assert said.out == ""
        assert len(said.err.strip().splitlines()) == 1, said.err
        assert said.err.startswith("gabatone: ")
        assert "Traceback" not in said.err
        assert "Fix: " in said.err
        return said.err

    return call
