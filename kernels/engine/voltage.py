"""Rates that depend on the membrane voltage, beside a scheme that does not know it."""

from collections.abc import Callable

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from gabatone.kernels.bounds import require
from gabatone.kernels.errors import BadInput
from gabatone.kernels.receptor.reversibility import cycle_ratios
from gabatone.kernels.receptor.scheme import KineticScheme

_PROBE_V = 0.1  # where cycles are looked at
_CLOSED = 1e-6  # how far the log ratio of a cycle may move between 0 and the probe


class VoltageDependence(eqx.Module):
    """Slope of each log rate with voltage: ``rate(V) = rate exp(per_volt (V - reference_V))``.

    The exponential form is that of a barrier in a constant field (Stevens 1978, Biophys J
    22:295).

    Parameters
    ----------
    per_volt : float [edge]
        1/V, in the order of the scheme's edges; 0 for a rate that ignores voltage.
    reference_V : float
        Voltage at which the scheme's own rates hold, V.
    """

    per_volt: np.ndarray | Float[Array, " edge"]
    reference_V: float = 0.0

    def __check_init__(self):
        require("VoltageDependence.per_volt", self.per_volt)
        require("VoltageDependence.reference_V", self.reference_V)

    def at(self, scheme: KineticScheme, voltage_V) -> KineticScheme:
        """The scheme with the rates it has at one voltage (V, may be traced)."""
        shift = self.per_volt * (voltage_V - self.reference_V)
        return eqx.tree_at(lambda s: s.log_rate, scheme, scheme.log_rate + shift)

    def check(self, scheme: KineticScheme) -> None:
        """Raise `BadInput` where the slopes do not fit the scheme or a cycle does not close.

        Around a cycle the slopes forward and back must sum to the same, else the channel
        would draw work from a constant voltage.
        """
        if np.shape(self.per_volt) != (len(scheme.source),):
            raise BadInput(
                "VoltageDependence.per_volt",
                np.shape(self.per_volt),
                f"{scheme.name} has {len(scheme.source)} transitions",
                "give one slope for each, 0 where voltage has no effect",
            )
        still = cycle_ratios(scheme)
        moved = cycle_ratios(self.at(scheme, self.reference_V + _PROBE_V))
        for before, after in zip(still, moved, strict=True):
            if not (0 < before.ratio < np.inf):
                continue
            slope = np.log(after.ratio / before.ratio) / _PROBE_V
            if abs(slope) * _PROBE_V > _CLOSED:
                raise BadInput(
                    f"VoltageDependence: cycle {'-'.join(before.states)}",
                    float(slope),
                    "the slopes around the cycle do not sum to 0 (1/V)",
                    "mend a slope of the cycle",
                )


class VoltageCourse(eqx.Module):
    """A voltage over time and the rates that follow it.

    Parameters
    ----------
    dependence : VoltageDependence
    voltage_V : callable or float
        Times [step] in s to volts [step], or a constant.
    """

    dependence: VoltageDependence
    voltage_V: Callable | float = eqx.field(static=True)

    def values_V(self, time_s: np.ndarray) -> np.ndarray:
        """Voltage at each of `time_s` [step]; raises `BadInput` for a course that is not finite."""
        given = self.voltage_V(time_s) if callable(self.voltage_V) else self.voltage_V
        try:
            volts = np.broadcast_to(np.asarray(given, float), time_s.shape)
        except (TypeError, ValueError) as error:
            raise BadInput(
                "VoltageCourse.voltage_V",
                type(given).__name__,
                f"not one voltage for each of {len(time_s)} times",
                "return an array of volts of the same length",
            ) from error
        require("VoltageCourse.voltage_V", volts)
        return volts
