"""An estimate of memory before a launch, and a refusal that says what would fit."""

from pathlib import Path

from gabatone.kernels.errors import BadInput

_MEMINFO = Path("/proc/meminfo")
_SHARE = 0.8  # of the free memory that one call may ask for


def free_bytes() -> float:
    """Memory that this machine can still give, in bytes; infinite where it does not tell."""
    try:
        lines = _MEMINFO.read_text().splitlines()
    except OSError:
        return float("inf")
    # free memory alone would leave out what the file cache gives back
    sizes = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return float(sizes[0]) * 1024 if sizes else float("inf")


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
