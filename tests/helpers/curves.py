"""The recorded reference curves of the receptor schemes."""

from gabatone.experiments.outside.curves import (
    CURVES,
    DOSES_M,
    PULSE_TIME_S,
    STEP_TIME_S,
    columns,
    rows_of,
)

__all__ = ["CURVES", "DOSES_M", "PULSE_TIME_S", "STEP_TIME_S", "columns", "rows_of"]
