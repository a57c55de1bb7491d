"""An estimate of memory before a launch, and a refusal that says what would fit."""

import os

from gabatone.kernels.errors import BadInput

_SHARE = 0.8  # of the free memory that one call may ask for


def free_bytes() -> float:
    """Memory that this machine can still give, in bytes."""
    return float(os.sysconf("SC_AVPHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE")


def require_memory(field: str, number: int, bytes_each: float) -> None:
    """Raise `BadInput` if `number` entries of `bytes_each` exceed what is free."""
    allowed = _SHARE * free_bytes()
    if number * bytes_each > allowed:
        raise BadInput(
            field,
            number,
            f"the result needs about {number * bytes_each / 1e9:.3g} GB and "
            f"{allowed / 1e9:.3g} GB may be used",
            f"ask for at most {int(allowed / bytes_each)}",
        )
