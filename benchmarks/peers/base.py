"""What every peer of the benchmark offers."""

from dataclasses import dataclass
from importlib import util
from pathlib import Path

import numpy as np
from benchmarks.job import Job


@dataclass(frozen=True)
class Run:
    """Summed open count [step + 1] of one run, and its state changes where the peer counts them."""

    opened: np.ndarray
    events: int | None = None


class Peer:
    """One way to do the job. `channels` is a number that it does in about half a second."""

    name: str
    what: str  # one line for the table
    channels: int
    law: str = "exact"  # or "exact at grid points", "deterministic"
    needs: tuple[str, ...] = ()  # modules, looked up without importing them
    drive: str = "pulse"  # which exact mean it is held to
    cores: int = 1
    environment: dict = {}  # set in its process before anything is imported

    def missing(self) -> str | None:
        """Why the peer cannot run here, or None."""
        absent = [module for module in self.needs if util.find_spec(module) is None]
        return f"{', '.join(absent)} not installed" if absent else None

    def prepare(self, job: Job, n: int, folder: Path) -> None:
        """Build and compile for runs of `n` channels, with scratch files in `folder`."""
        raise NotImplementedError

    def run(self, n: int, seed: int) -> Run:
        """Simulate `n` channels."""
        raise NotImplementedError


def start_counts(job: Job, n: int) -> dict[str, int]:
    """Channels in each state at the start."""
    return {name: n if k == job.start else 0 for k, name in enumerate(job.states)}


def propagator_chains(job: Job) -> np.ndarray:
    """Cumulative rows of exp(Q step) for each window, [window, state, state]."""
    from scipy.linalg import expm

    return np.stack([np.cumsum(expm(q * job.step_s), axis=1) for q in job.generators])


def sampled(time_s, opened, job: Job) -> np.ndarray:
    """Values at the grid times of a count that changes at `time_s` (first entry at 0)."""
    grid = np.arange(job.steps + 1) * job.step_s
    return np.asarray(opened)[np.searchsorted(np.asarray(time_s), grid, side="right") - 1]
