"""What a simulation of individual channels writes down: `Occupancy`, `Readout`, `Events`, `Dwells`."""

from dataclasses import dataclass

import equinox as eqx
import numpy as np

from gabatone.kernels.bounds import require
from gabatone.kernels.errors import BadInput


class Record(eqx.Module):
    """What `simulate` keeps of the paths; memory is that of the result, whatever n."""


class Occupancy(Record):
    """Number of channels in each state at the save times: `Trace.occupancy`."""


class Readout(Record):
    """Sum over the channels of a function of the state, at the save times.

    Parameters
    ----------
    values : float [state]
        The function, such as ``scheme.is_open`` or ``scheme.conductance_pS``. Only changes of it
        are counted, so one bin holds one number for each distinct change.
    """

    values: np.ndarray = eqx.field(converter=lambda v: np.asarray(v, np.float64))

    def columns(self, scheme) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """``(sizes [column], column [edge], sign [edge])`` of the change that each edge makes.

        Raises `BadInput` if there is not one finite value for each state.
        """
        if self.values.shape != (scheme.n_states,):
            raise BadInput(
                "Readout.values",
                self.values.shape,
                f"the scheme has {scheme.n_states} states",
                "give one value for each state",
            )
        require("Readout.values", self.values)
        change = self.values[list(scheme.target)] - self.values[list(scheme.source)]
        sizes = np.unique(np.abs(change[change != 0]))
        sizes = sizes if len(sizes) else np.ones(1)
        column = np.minimum(np.searchsorted(sizes, np.abs(change)), len(sizes) - 1)
        return sizes, column.astype(np.int32), np.sign(change).astype(np.int32)


class Events(Record):
    """Every transition of every channel: `Trace.recorded` is a `Paths`.

    Parameters
    ----------
    most : int
        Largest number of transitions to hold; a run that would need more is refused after
        its first block of channels, with the number of channels that would fit.
    """

    most: int = eqx.field(static=True, default=50_000_000)

    def __check_init__(self):
        require("Events.most", self.most, least=1, whole=True)


class Dwells(Record):
    """Durations of complete sojourns in classes of states: `Trace.recorded` is a `DwellTable`.

    Parameters
    ----------
    edges_s : float [bin + 1]
        Increasing edges of the histogram, s.
    classes : tuple of (str, tuple of str) or None
        Names of classes and their states; None for ``open`` and ``shut``. A sojourn is
        complete if both its ends lie within the run.
    """

    edges_s: np.ndarray = eqx.field(converter=lambda v: np.asarray(v, np.float64))
    classes: tuple[tuple[str, tuple[str, ...]], ...] | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        edges = self.edges_s
        if edges.ndim != 1 or len(edges) < 2 or not (np.diff(edges) > 0).all():
            raise BadInput(
                "Dwells.edges_s",
                edges.tolist()[:5] if edges.ndim == 1 else edges.shape,
                "not increasing",
                "give increasing edges in s, such as np.geomspace(1e-5, 1, 60)",
            )

    def labels(self, scheme) -> tuple[tuple[str, ...], np.ndarray]:
        """Class names, and the class of each state (-1 for none)."""
        classes = self.classes
        if classes is None:
            shut = tuple(s for s in scheme.states if s not in scheme.open_states)
            classes = (("open", scheme.open_states), ("shut", shut))
        label = np.full(scheme.n_states, -1)
        for k, (name, states) in enumerate(classes):
            for state in states:
                if state not in scheme.states or label[scheme.states.index(state)] >= 0:
                    raise BadInput(
                        f"Dwells.classes[{name}]",
                        state,
                        "not a state of the scheme, or in two classes",
                        f"use each of {list(scheme.states)} at most once",
                    )
                label[scheme.states.index(state)] = k
        return tuple(name for name, _ in classes), label


@dataclass(frozen=True)
class Paths:
    """Transitions of individual channels, channel by channel and in time order.

    Attributes
    ----------
    channel, source, target : int [event]
        Number of the channel, and the states that it leaves and enters.
    time_s : float [event]
        Time of the transition, s.
    start : int [channel]
        State at t = 0.
    t1_s : float
        End of the run, s.
    """

    channel: np.ndarray
    time_s: np.ndarray
    source: np.ndarray
    target: np.ndarray
    start: np.ndarray
    t1_s: float

    def of(self, channel: int) -> tuple[np.ndarray, np.ndarray]:
        """``(time_s, state)`` of one channel: the state from each time on, the first at 0."""
        if not 0 <= channel < len(self.start):
            raise BadInput(
                "channel", channel, f"{len(self.start)} channels were simulated", "count from 0"
            )
        low, high = np.searchsorted(self.channel, [channel, channel + 1])
        return (
            np.concatenate([[0.0], self.time_s[low:high]]),
            np.concatenate([self.start[channel : channel + 1], self.target[low:high]]),
        )

    def sojourns(self, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``(class, duration_s)`` of every complete sojourn; `label` [state] gives the classes."""
        leaves = label[self.source] != label[self.target]
        channel, time = self.channel[leaves], self.time_s[leaves]
        same = channel[1:] == channel[:-1]
        return label[self.source[leaves]][1:][same], (time[1:] - time[:-1])[same]


@dataclass(frozen=True)
class DwellTable:
    """Histogram of complete sojourns in each class.

    Attributes
    ----------
    classes : tuple of str
    edges_s : float [bin + 1]
    counts : int [class, bin]
        Sojourns between the edges.
    number : int [class]
        All sojourns, those beyond the edges as well.
    mean_s : float [class]
        Their mean duration; NaN where there was none.
    """

    classes: tuple[str, ...]
    edges_s: np.ndarray
    counts: np.ndarray
    number: np.ndarray
    mean_s: np.ndarray


class DwellSum:
    """Adds up the sojourns of block after block of channels."""

    def __init__(self, record: Dwells, scheme):
        self.record = record
        self.names, self.label = record.labels(scheme)
        self.counts = np.zeros((len(self.names), len(record.edges_s) - 1), np.int64)
        self.number = np.zeros(len(self.names), np.int64)
        self.total_s = np.zeros(len(self.names))

    def add(self, paths: Paths) -> None:
        """Count the sojourns of one block."""
        which, duration = paths.sojourns(self.label)
        for k in range(len(self.names)):
            mine = duration[which == k]
            self.counts[k] += np.histogram(mine, self.record.edges_s)[0]
            self.number[k] += len(mine)
            self.total_s[k] += mine.sum()

    def table(self) -> DwellTable:
        """The histogram so far."""
        mean = np.where(self.number > 0, self.total_s / np.maximum(self.number, 1), np.nan)
        return DwellTable(self.names, self.record.edges_s, self.counts, self.number, mean)
