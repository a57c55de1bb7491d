"""What a simulation gives back, whatever the engine."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gabatone.kernels.receptor.scheme import KineticScheme


class Trace(eqx.Module):
    """Occupancy of a population of channels over time.

    Parameters
    ----------
    time_s : float [time]
    occupancy : [time, state]
        Integer counts of channels, or probabilities where ``counts`` is False.
    covariance : float [time, state, state] or None
        Covariance of the counts at each time, where the engine gives it exactly.
    certificate : object or None
        Evidence that the simulation follows its rates, where the engine gathers it.
    """

    time_s: np.ndarray
    occupancy: np.ndarray | Array
    scheme: KineticScheme
    n: int = eqx.field(static=True)
    engine: str = eqx.field(static=True)
    counts: bool = eqx.field(static=True)
    covariance: Array | None = None
    certificate: object = None

    @property
    def open_probability(self) -> Float[Array, " time"]:
        """Share of the channels that are open."""
        share = self.scheme.open_probability(self.occupancy)
        return share / float(self.n) if self.counts else share

    @property
    def open_count(self) -> Float[Array, " time"]:
        """Number of open channels (expected number for probabilities) [time]."""
        share = self.scheme.open_probability(self.occupancy)
        return share if self.counts else share * float(self.n)

    @property
    def conductance_S(self) -> Float[Array, " time"]:
        """Summed conductance of the population, S."""
        number = jnp.asarray(self.occupancy, float) * (1.0 if self.counts else float(self.n))
        return number @ jnp.asarray(self.scheme.conductance_pS, float) * 1e-12

    def current_pA(self, holding_mV: float, reversal_mV: float) -> Float[Array, " time"]:
        """Ohmic current of the population at a holding potential, outward positive."""
        return self.conductance_S * 1e12 * (holding_mV - reversal_mV) * 1e-3

    def to_xarray(self):
        """The trace as an `xarray.Dataset` with named dimensions and units."""
        import xarray as xr

        data = xr.Dataset(
            {
                "occupancy": (("time", "state"), np.asarray(self.occupancy)),
                "open_probability": (("time",), np.asarray(self.open_probability), {"units": "1"}),
                "conductance": (("time",), np.asarray(self.conductance_S), {"units": "S"}),
            },
            coords={
                "time": ("time", np.asarray(self.time_s), {"units": "s"}),
                "state": list(self.scheme.states),
            },
            attrs={"scheme": self.scheme.name, "engine": self.engine, "n_channels": self.n},
        )
        if self.covariance is not None:
            data["covariance"] = (("time", "state", "state_2"), np.asarray(self.covariance))
        return data
