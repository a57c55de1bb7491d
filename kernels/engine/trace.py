"""What a simulation gives back, whatever the engine."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gabatone.kernels.errors import BadInput
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
    certificate : Certificate or None
        Evidence that the simulation follows its rates, where the engine gathers it.
    recorded : object or None
        What the record asked for beside the occupancy: `Paths`, a `DwellTable`, or the
        numbers [time] of a `Readout`, which keeps no occupancy with `Channels`.
    """

    time_s: np.ndarray
    occupancy: np.ndarray | Array | None
    scheme: KineticScheme
    n: int = eqx.field(static=True)
    engine: str = eqx.field(static=True)
    counts: bool = eqx.field(static=True)
    covariance: Array | None = None
    certificate: object = None
    recorded: object = None

    @property
    def open_probability(self) -> Float[Array, " time"]:
        """Share of the channels that are open."""
        share = self.scheme.open_probability(self._all_states())
        return share / float(self.n) if self.counts else share

    @property
    def open_count(self) -> Float[Array, " time"]:
        """Number of open channels (expected number for probabilities) [time]."""
        share = self.scheme.open_probability(self._all_states())
        return share if self.counts else share * float(self.n)

    @property
    def conductance_S(self) -> Float[Array, " time"]:
        """Summed conductance of the population, S."""
        number = jnp.asarray(self._all_states(), float) * (1.0 if self.counts else float(self.n))
        return number @ jnp.asarray(self.scheme.conductance_pS, float) * 1e-12

    def current_pA(self, holding_mV: float, reversal_mV: float) -> Float[Array, " time"]:
        """Ohmic current of the population at a holding potential, outward positive."""
        return self.conductance_S * 1e12 * (holding_mV - reversal_mV) * 1e-3

    def _all_states(self):
        if self.occupancy is None:
            raise BadInput(
                "trace.occupancy",
                None,
                "the run kept only its Readout, which is in trace.recorded",
                "leave record=Readout(...) out to keep every state",
            )
        return self.occupancy

    def to_xarray(self):
        """The trace as an `xarray.Dataset` with named dimensions and units."""
        import xarray as xr

        data = xr.Dataset(
            {
                "occupancy": (("time", "state"), np.asarray(self._all_states())),
                "open_probability": (("time",), np.asarray(self.open_probability), {"units": "1"}),
                "conductance": (("time",), np.asarray(self.conductance_S), {"units": "S"}),
            },
            coords={
                "time": ("time", np.asarray(self.time_s), {"units": "s"}),
                "state": list(self.scheme.states),
            },
            attrs={"scheme": self.scheme.name, "engine": self.engine, "n_channels": self.n},
        )
        if self.certificate is not None:
            data.attrs["certificate"] = self.certificate.summary()
        if self.covariance is not None:
            data["covariance"] = (("time", "state", "state_2"), np.asarray(self.covariance))
        return data
