"""Progress: an object with ``init``, ``step`` and ``close``; nothing is shown by default."""

import sys


class NoProgress:
    """Shows nothing; the default everywhere."""

    def init(self, title: str, total: int) -> None:
        """Begin ``total`` steps under ``title``."""

    def step(self, count: int = 1, note: str = "") -> None:
        """Count ``count`` more steps as done."""

    def close(self) -> None:
        """End what `init` began."""


class RichProgress(NoProgress):
    """Bars on the terminal; an inner ``init`` before the outer ``close`` opens a bar below."""

    def __init__(self, console=None):
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
        )

        console = console or Console(stderr=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        self._bars = Progress(*columns, console=console, transient=True)
        self._tasks = []

    def init(self, title: str, total: int) -> None:
        """Open a bar."""
        if not self._tasks:
            self._bars.start()
        self._tasks.append((self._bars.add_task(title, total=total), title))

    def step(self, count: int = 1, note: str = "") -> None:
        """Move the innermost bar."""
        if self._tasks:
            task, title = self._tasks[-1]
            self._bars.update(
                task, advance=count, description=f"{title}: {note}" if note else title
            )

    def close(self) -> None:
        """Take the innermost bar away; the last one gives the terminal back."""
        if self._tasks:
            self._bars.remove_task(self._tasks.pop()[0])
        if not self._tasks:
            self._bars.stop()


class Guarded(NoProgress):
    """Passes calls on and swallows what a broken listener raises: a bar must not end a run."""

    def __init__(self, inner):
        self._inner, self.depth = inner, 0

    def init(self, title: str, total: int) -> None:
        """Pass on."""
        self.depth += 1
        self._pass("init", title, total)

    def step(self, count: int = 1, note: str = "") -> None:
        """Pass on."""
        self._pass("step", count, note)

    def close(self) -> None:
        """Pass on."""
        self.depth = max(0, self.depth - 1)
        self._pass("close")

    def close_all(self) -> None:
        """Close every bar that a stopped run left open."""
        while self.depth:
            self.close()

    def _pass(self, name: str, *arguments) -> None:
        try:
            getattr(self._inner, name)(*arguments)
        except Exception:
            self._inner = NoProgress()


def choose(quiet: bool = False):
    """Return bars where a person watches: standard error is a terminal and ``quiet`` is not asked for."""
    return NoProgress() if quiet or not sys.stderr.isatty() else RichProgress()
