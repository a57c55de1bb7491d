"""Ligand drives: concentrations over time, added with ``+``.

Every drive is a sum of constants, ramps and exponentials between breaks, so that each
engine can treat it exactly: see `segments.compile_drive`.
"""

import csv
from abc import abstractmethod
from pathlib import Path

import equinox as eqx
import jax
import numpy as np

from gabatone.kernels.errors import BadInput

_DECAY_BREAKS = (
    0.0,
    0.25,
    0.5,
    0.75,
    1.0,
    1.5,
    2.0,
    3.0,
    4.0,
    6.0,
    8.0,
    12.0,
    16.0,
    24.0,
    32.0,
    48.0,
)
_MOST_M = 1e3  # pure water is 55 M: what is above is a slip of the unit


class Drive(eqx.Module):
    """Concentration of one or more ligands over time (s, mol/L).

    A drive describes itself on windows that lie between its breaks: `level` gives value
    and slope at the start of each window, `decays` the exponentials that run in it.
    """

    @abstractmethod
    def breaks_s(self, t1_s: float) -> np.ndarray:
        """Times in (0, t1) where the drive jumps, bends or is worth a new bound."""

    @abstractmethod
    def level(self, start_s: np.ndarray, stop_s: np.ndarray):
        """``(value at start, slope)``, each [window], without the exponentials."""

    def decays(self, start_s: np.ndarray, stop_s: np.ndarray) -> list[tuple]:
        """List of ``(amplitude at start [window], tau_s)``."""
        return []

    def parts(self) -> tuple["Drive", ...]:
        """The single drives this one is the sum of."""
        return (self,)

    def value(self, time_s, ligand: str | None = None):
        """Concentration (mol/L) of `ligand` (default: the only one) at `time_s` [time]."""
        time_s = np.atleast_1d(np.asarray(time_s, float))
        ligand = self.parts()[0].ligand if ligand is None else ligand
        total = 0.0
        for part in self.parts():
            if part.ligand == ligand:
                total = (
                    total
                    + part.level(time_s, time_s)[0]
                    + sum(a for a, _ in part.decays(time_s, time_s))
                )
        return total + np.zeros(len(time_s))

    def __add__(self, other):
        if not isinstance(other, Drive):
            return NotImplemented
        return Together(self.parts() + other.parts())


class Together(Drive):
    """Sum of several drives."""

    drives: tuple[Drive, ...]

    def parts(self):
        """The single drives."""
        return self.drives

    def breaks_s(self, t1_s):
        """Union of the parts' breaks."""
        return np.unique(np.concatenate([d.breaks_s(t1_s) for d in self.drives]))

    def level(self, start_s, stop_s):
        """Not defined for a sum of different ligands; use `parts`."""
        raise NotImplementedError("ask the parts of a sum for their level")


class Tonic(Drive):
    """A constant concentration `conc_M`."""

    conc_M: float | jax.Array
    ligand: str = eqx.field(static=True, default="GABA")

    def __check_init__(self):
        _concentration(f"Tonic({self.ligand}).conc_M", self.conc_M)

    def breaks_s(self, t1_s):
        """No breaks."""
        return np.zeros(0)

    def level(self, start_s, stop_s):
        """The constant, with slope 0."""
        return _amount(self.conc_M) * np.ones(len(start_s)), np.zeros(len(start_s))


class Pulse(Drive):
    """A rectangle of `conc_M` from `start_s` to `stop_s`."""

    conc_M: float | jax.Array
    start_s: float = eqx.field(static=True)
    stop_s: float = eqx.field(static=True)
    ligand: str = eqx.field(static=True, default="GABA")

    def __check_init__(self):
        _concentration(f"Pulse({self.ligand}).conc_M", self.conc_M)
        _times(f"Pulse({self.ligand})", [self.start_s, self.stop_s])

    def breaks_s(self, t1_s):
        """Start and stop."""
        return _inside([self.start_s, self.stop_s], t1_s)

    def level(self, start_s, stop_s):
        """The height inside the rectangle (start included, stop excluded), else 0."""
        on = (start_s >= self.start_s) & (start_s < self.stop_s)
        return _amount(self.conc_M) * on, np.zeros(len(start_s))


class Decay(Drive):
    """A jump to `peak_M` at `start_s` that decays with time constant `tau_s`."""

    peak_M: float | jax.Array
    tau_s: float = eqx.field(static=True)
    start_s: float = eqx.field(static=True, default=0.0)
    ligand: str = eqx.field(static=True, default="GABA")

    def __check_init__(self):
        _concentration(f"Decay({self.ligand}).peak_M", self.peak_M)
        _times(f"Decay({self.ligand})", [0.0, self.tau_s])
        _times(f"Decay({self.ligand}).start_s", [self.start_s])

    def breaks_s(self, t1_s):
        """The start, and times at which a tighter bound pays."""
        return _inside(self.start_s + self.tau_s * np.array(_DECAY_BREAKS), t1_s)

    def level(self, start_s, stop_s):
        """No constant part."""
        return np.zeros(len(start_s)), np.zeros(len(start_s))

    def decays(self, start_s, stop_s):
        """The one exponential."""
        age = (start_s - self.start_s) / self.tau_s
        return [
            (
                _amount(self.peak_M) * np.where(age >= 0, np.exp(-np.maximum(age, 0)), 0.0),
                self.tau_s,
            )
        ]


class Train(Drive):
    """Rectangles of `conc_M` and length `width_s` at `times_s` [release]; overlaps add."""

    times_s: tuple[float, ...] = eqx.field(
        static=True, converter=lambda t: tuple(float(x) for x in np.ravel(t))
    )
    conc_M: float | jax.Array
    width_s: float = eqx.field(static=True)
    ligand: str = eqx.field(static=True, default="GABA")

    def __check_init__(self):
        _concentration(f"Train({self.ligand}).conc_M", self.conc_M)
        if self.times_s:
            _times(f"Train({self.ligand}).times_s", self.times_s, strict=False)
        _times(f"Train({self.ligand}).width_s", [0.0, self.width_s])

    def breaks_s(self, t1_s):
        """Every start and stop."""
        times = np.asarray(self.times_s)
        return _inside(np.concatenate([times, times + self.width_s]), t1_s)

    def level(self, start_s, stop_s):
        """Height times the number of rectangles that are on."""
        times = np.asarray(self.times_s)
        on = np.searchsorted(times, start_s, side="right") - np.searchsorted(
            times + self.width_s, start_s, "right"
        )
        return _amount(self.conc_M) * on, np.zeros(len(start_s))


class Waveform(Drive):
    """Linear interpolation of `conc_M` [sample] at `time_s` [sample]; the ends are held."""

    time_s: np.ndarray = eqx.field(converter=lambda x: np.asarray(x, float))
    conc_M: np.ndarray = eqx.field(converter=lambda x: np.asarray(x, float))
    ligand: str = eqx.field(static=True, default="GABA")

    def __check_init__(self):
        name = f"Waveform({self.ligand})"
        _times(f"{name}.time_s", self.time_s)
        _concentration(f"{name}.conc_M", self.conc_M)
        if self.time_s.shape != self.conc_M.shape or self.time_s.ndim != 1:
            raise BadInput(
                f"{name}.conc_M",
                self.conc_M.shape,
                f"time_s has shape {self.time_s.shape}",
                "give one concentration for each time",
            )

    @classmethod
    def from_csv(cls, path, ligand: str = "GABA") -> "Waveform":
        """Read columns ``time_s`` and ``conc_M`` of a CSV file; `BadInput` names file, row and column."""
        path, rows = Path(path), []
        try:
            with path.open(newline="", encoding="utf-8-sig") as handle:
                reader = csv.DictReader(handle)
                if reader.fieldnames is None or not {"time_s", "conc_M"} <= set(reader.fieldnames):
                    raise BadInput(
                        f"{path.name}: header",
                        reader.fieldnames,
                        "columns time_s and conc_M are needed",
                        "name the two columns in the first line",
                    )
                if len(set(reader.fieldnames)) < len(reader.fieldnames):
                    raise BadInput(
                        f"{path.name}: header",
                        reader.fieldnames,
                        "a column is named twice",
                        "give each column its own name",
                    )
                for row in reader:
                    line = f"{path.name}: line {reader.line_num}"
                    if None in row:
                        raise BadInput(
                            line,
                            row[None],
                            "more cells than columns; a decimal comma, perhaps",
                            "write decimal points, and one cell for each column",
                        )
                    rows.append([_cell(line, row, column) for column in ("time_s", "conc_M")])
        except OSError as error:
            raise BadInput(
                "waveform file", str(path), "the file cannot be read", "check the path"
            ) from error
        except (UnicodeDecodeError, csv.Error) as error:
            raise BadInput(
                path.name, str(error), "the file is not CSV text", "give comma-separated columns"
            ) from error
        if not rows:
            raise BadInput(
                path.name, "no rows", "the file holds no samples", "give at least one sample"
            )
        try:
            return cls(*np.array(rows).T, ligand=ligand)
        except BadInput as error:
            raise BadInput(
                f"{path.name}: {error.field}", error.value, error.cause, error.fix
            ) from error

    def breaks_s(self, t1_s):
        """Every sample time."""
        return _inside(self.time_s, t1_s)

    def level(self, start_s, stop_s):
        """Interpolated value, and the slope towards the window's end."""
        value = np.interp(start_s, self.time_s, self.conc_M)
        rise = np.interp(stop_s, self.time_s, self.conc_M) - value
        return value, rise / np.where(stop_s > start_s, stop_s - start_s, 1.0)


def _amount(conc_M):
    """Host float64, also where JAX computes in float32; a traced value passes as it is."""
    return conc_M if isinstance(conc_M, jax.core.Tracer) else np.asarray(conc_M, float)


def _cell(line: str, row: dict, column: str) -> float:
    try:
        value = float(row[column])
    except (TypeError, ValueError) as error:
        raise BadInput(
            f"{line}, {column}", row[column], "not a number", "mend that line"
        ) from error
    if not np.isfinite(value) or (column == "conc_M" and value < 0):
        raise BadInput(f"{line}, {column}", value, "negative, NaN or infinite", "mend that line")
    return value


def _inside(times, t1_s: float) -> np.ndarray:
    times = np.unique(np.asarray(times, float))
    return times[(times > 0) & (times < t1_s)]


def _concentration(field: str, value) -> None:
    if isinstance(value, jax.core.Tracer):
        return
    values = np.ravel(np.asarray(value, float))
    wrong = ~(np.isfinite(values) & (values >= 0) & (values <= _MOST_M))
    if values.size == 0 or wrong.any():
        raise BadInput(
            field,
            values[wrong][0] if values.size else value,
            f"a concentration is finite, not negative and at most {_MOST_M:g} M",
            "give mol/L (1e-3 for 1 mM)",
        )


def _times(field: str, values, strict: bool = True) -> None:
    values = np.asarray(values, float)
    gap = np.diff(values)
    if values.size == 0 or not np.isfinite(values).all() or (gap <= 0 if strict else gap < 0).any():
        raise BadInput(
            field,
            values.tolist()[:5],
            "times must be finite and increasing",
            "give times in seconds, in order",
        )
