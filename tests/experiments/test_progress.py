import io

import pytest
from rich.console import Console

from gabatone.experiments.progress import Guarded, NoProgress, RichProgress, choose


class Broken(NoProgress):
    calls = 0

    def step(self, count=1, note=""):
        self.calls += 1
        raise RuntimeError("the listener fell over")


def test_a_broken_listener_is_dropped_and_the_work_goes_on():
    listener = Broken()
    bar = Guarded(listener)
    bar.init("work", 3)
    for _ in range(3):
        bar.step()
    bar.close()
    assert listener.calls == 1


def test_bars_open_move_and_close():
    screen = io.StringIO()
    bar = Guarded(RichProgress(Console(file=screen, force_terminal=True, width=80)))
    bar.init("chain", 2)
    bar.init("posterior", 4)
    bar.step(2, "block 2")
    bar.close()
    bar.step(note="posterior done")
    bar.close_all()
    bar.close()
    assert "chain" in screen.getvalue()
    assert bar.depth == 0


@pytest.mark.parametrize(("terminal", "quiet"), [(False, False), (True, True)])
def test_there_are_no_bars_in_a_pipe_or_with_json(monkeypatch, terminal, quiet):
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
    assert type(choose(quiet)) is NoProgress


def test_there_are_bars_on_a_terminal(monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert type(choose()) is RichProgress
