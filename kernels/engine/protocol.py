"""What every engine is: one method, and whether its law is exact."""

from abc import abstractmethod
from typing import ClassVar, NamedTuple

import equinox as eqx
import numpy as np

from gabatone.kernels.drive.ligand import Drive
from gabatone.kernels.engine.records import Occupancy, Record
from gabatone.kernels.engine.trace import Trace
from gabatone.kernels.receptor.scheme import KineticScheme


class Request(NamedTuple):
    """A checked call of `simulate`: one scheme, one drive, n channels, increasing save times."""

    scheme: KineticScheme
    drive: Drive
    n: int
    t1_s: float
    save_s: np.ndarray
    uniform_step_s: float | None
    p0: object
    record: Record = Occupancy()


class Engine(eqx.Module):
    """A way to turn a request into a `Trace`; `exact` says whether its law is that of the scheme."""

    exact: ClassVar[bool]

    @abstractmethod
    def run(self, key, request: Request) -> Trace:
        """Simulate; raises `Failure` by name where no trustworthy result can be given."""
