"""What a fit needs besides the trial table: exposure, the neurons' answer to it, and priors."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gabatone.inference.evidence.loader import REGIMENS
from gabatone.inference.priors import Prior, load_priors
from gabatone.kernels.errors import BadInput

Host = jax.Array | np.ndarray


class Study(eqx.Module):
    """Exposure of every regimen on one time grid, and the chain from steroid to firing.

    ``time_h`` [grid] starts at 0; ``plasma_nM`` maps each of ``REGIMENS`` to [grid];
    ``transfer`` maps effect-site steroid in nM to firing relative to any fixed reference;
    ``local_pool_nM`` is the untreated steroid at the receptor; ``priors`` are static.
    """

    time_h: Float[Host, " grid"]
    plasma_nM: dict[str, Host]
    transfer: Callable
    local_pool_nM: Float[Host, ""]
    priors: tuple[tuple[str, Prior], ...] = eqx.field(static=True)

    @property
    def prior(self) -> dict[str, Prior]:
        """Priors by name."""
        return dict(self.priors)

    @property
    def plasma(self) -> jax.Array:
        """[regimen, grid] total plasma steroid in nM, in the order of ``REGIMENS``."""
        return jnp.stack([self.plasma_nM[name] for name in REGIMENS])


def build_study(time_h, plasma_nM, transfer, local_pool_nM, priors=None) -> Study:
    """Check and freeze a `Study`.

    Raises `BadInput` for a grid that does not rise from 0, a missing regimen, exposure of another
    length, or a negative or non-finite concentration.
    """
    time_h = np.asarray(time_h, dtype=np.float64)
    if time_h.ndim != 1 or time_h.size < 2 or time_h[0] != 0 or not np.all(np.diff(time_h) > 0):
        raise BadInput(
            "study.time_h",
            f"{time_h.size} times",
            "the grid must rise from 0",
            "give increasing hours that start at 0",
        )
    plasma = {}
    for name in REGIMENS:
        if name not in plasma_nM:
            raise BadInput(
                "study.plasma_nM", sorted(plasma_nM), f"regimen {name} is missing", f"add {name}"
            )
        plasma[name] = np.asarray(plasma_nM[name], dtype=np.float64)
        if plasma[name].shape != time_h.shape or not np.all(
            np.isfinite(plasma[name]) & (plasma[name] >= 0)
        ):
            raise BadInput(
                f"study.plasma_nM.{name}",
                plasma[name].shape,
                "not one finite concentration of at least 0 for each time",
                "check the exposure",
            )
    if not (np.isfinite(local_pool_nM) and local_pool_nM >= 0):
        raise BadInput(
            "study.local_pool_nM", local_pool_nM, "not a concentration", "give nM, at least 0"
        )
    priors = load_priors() if priors is None else priors
    return Study(
        time_h, plasma, transfer, np.asarray(local_pool_nM, dtype=np.float64), tuple(priors.items())
    )


def time_grid(breaks_h=(), visits_h=(), last_h=None) -> np.ndarray:
    """[grid] hours: fine while drug acts, coarse afterwards, with every break and visit on it.

    A step is an eighth of the time since the last break, between 0.5 and 24 h; the tests refine it.
    """
    marks = np.unique(
        np.concatenate(
            [[0.0], np.ravel(breaks_h), np.ravel(visits_h), [] if last_h is None else [last_h]]
        ).astype(np.float64)
    )
    starts = np.unique(np.concatenate([[0.0], np.ravel(breaks_h)]))
    times = [0.0]
    while times[-1] < marks[-1]:
        now = times[-1]
        since = now - starts[starts <= now][-1]
        step = now + min(24.0, max(0.5, since / 8))
        times.append(min(step, marks[marks > now][0]))
    return np.array(times)
