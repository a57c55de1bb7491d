"""Checks of plain numbers at the doors of the package."""

import jax
import numpy as np

from gabatone.kernels.errors import BadInput


def require(
    field: str,
    value,
    *,
    above: float | None = None,
    least: float | None = None,
    most: float | None = None,
    whole: bool = False,
) -> None:
    """Raise `BadInput`, naming the first entry of ``value`` that is not finite or out of bounds.

    `whole` asks for whole numbers.

    Traced values pass unseen: they have no numbers yet.
    """
    if isinstance(value, jax.core.Tracer):
        return
    try:
        entries = np.atleast_1d(np.asarray(value, np.float64)).ravel()
    except (TypeError, ValueError) as error:
        raise BadInput(field, value, "not a number", "give a number") from error
    limits = (
        (~np.isfinite(entries), "not a finite number", "give a finite number"),
        (whole and entries % 1 != 0, "not a whole number", "give a whole number"),
        (False if above is None else entries <= above, f"must be above {above}", "raise it"),
        (False if least is None else entries < least, f"must be {least} or more", "raise it"),
        (False if most is None else entries > most, f"must be {most} or less", "lower it"),
    )
    for wrong, cause, fix in limits:
        if np.any(wrong):
            first = int(np.argmax(wrong))
            name = field if entries.size == 1 else f"{field}[{first}]"
            raise BadInput(name, float(entries[first]), cause, fix)
