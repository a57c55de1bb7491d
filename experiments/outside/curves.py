"""Every scheme of the catalogue against its recorded reference curves (README of `reference_curves`).

The recorded curves were computed apart from this package; the comparison is deterministic, so
it has no false-alarm rate.
"""

import csv
from functools import cache
from pathlib import Path

import numpy as np

CURVES = Path(__file__).parent / "reference_curves"
TOLERANCE = 1e-6  # of a probability, in float64
FALSE_ALARM = 0.0
SOURCE = "reference curves computed with numpy and scipy from the scheme files"

# how the recorded curves were sampled: doses before rounding, and where a peak was looked for
DOSES_M = np.logspace(-2, 4, 37) * 1e-6
STEP_TIME_S = np.geomspace(2e-6, 0.5, 500)
PULSE_TIME_S = np.concatenate([np.linspace(0, 1e-3, 201)[1:], 1e-3 + np.linspace(0, 0.05, 500)[1:]])


def columns(name: str) -> dict[str, np.ndarray]:
    """Columns of one recorded curve."""
    rows = rows_of(name)
    return {key: np.array([float(row[key]) for row in rows]) for key in rows[0]}


def rows_of(name: str) -> list[dict[str, str]]:
    """Rows of one recorded table, as text."""
    with (CURVES / f"{name}.csv").open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


@cache
def recorded() -> dict[str, list[str]]:
    """Scheme -> what was recorded of it."""
    found: dict[str, list[str]] = {}
    for path in sorted(CURVES.glob("*__*.csv")):
        scheme, _, curve = path.stem.partition("__")
        found.setdefault(scheme, []).append(curve)
    return found


def rows(*, quick: bool = False, progress=None) -> list[dict]:
    """The worst difference of each recorded curve, as rows with the keys of ``checks.json``.

    ``quick`` takes every sixth dose of the dose-response curves. `progress(note)` is called
    before each scheme.
    """
    import jax

    with jax.enable_x64(True):
        found = []
        for scheme, curves in recorded().items():
            if progress is not None:
                progress(scheme)
            for curve in curves:
                for what, difference in _differences(scheme, curve, quick).items():
                    found.append(_row(scheme, curve, what, difference))
        return found


def _differences(name: str, curve: str, quick: bool) -> dict[str, float]:
    from gabatone.kernels.receptor.catalogue import load_scheme
    from gabatone.kernels.receptor.spectral import dose_response

    scheme, table = load_scheme(name), columns(f"{name}__{curve}")
    if curve == "dose_response":
        doses = slice(0, None, 6) if quick else slice(None)
        ours = dose_response(
            scheme, DOSES_M[doses], step_time_s=STEP_TIME_S, pulse_time_s=PULSE_TIME_S
        )
        pairs = (
            ("step_peak", "peak_po_500ms_step"),
            ("pulse_peak", "peak_po_1ms_pulse"),
            ("steady", "steady_state_po"),
        )
        return {mine: _worst(ours[mine], table[theirs][doses]) for mine, theirs in pairs}
    opened, shut = _shares(scheme, curve, table["time_ms"] * 1e-3)
    return {
        "open": _worst(opened, table["p_open"]),
        "desensitized": _worst(shut, table["p_desensitized"]),
    }


def _shares(scheme, curve: str, time_s):
    import jax

    from gabatone.kernels.drive.ligand import Pulse, Tonic
    from gabatone.kernels.engine.master import Master
    from gabatone.kernels.engine.simulate import simulate
    from gabatone.kernels.receptor.catalogue import load_steroid

    drive = Tonic(1e-3) if curve.startswith("step") else Pulse(1e-3, 0.0, 1e-3)
    if curve.startswith("steroid_"):
        level = float(curve.split("_")[1].removesuffix("nM")) * 1e-9
        scheme = scheme.with_steroid(load_steroid("allopregnanolone"))
        drive = drive + Tonic(level, "allopregnanolone")
    key = jax.random.key(0)
    trace = simulate(
        key, scheme, drive, engine=Master(), t1_s=float(time_s[-1]), save_s=np.asarray(time_s)
    )
    shut = np.array([kind == "desensitized" for kind in scheme.kinds])
    return trace.open_probability, np.asarray(trace.occupancy)[:, shut].sum(axis=1)


def _worst(ours, theirs) -> float:
    return float(np.abs(np.asarray(ours, float) - theirs).max())


def _row(scheme: str, curve: str, what: str, difference: float) -> dict:
    from gabatone.experiments.checks import Check

    return Check(
        f"curves.{scheme}.{curve}.{what}",
        f"{scheme}, {curve}: worst difference of {what}",
        "probability",
        0.0,
        0.0,
        TOLERANCE,
        difference,
        SOURCE,
        "derived",
    ).row()
