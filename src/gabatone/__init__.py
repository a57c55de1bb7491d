"""gabatone: from a neurosteroid dose through GABA-A channels and neurons to trial outcomes.

The names below are loaded on first use, so that importing the package costs nothing.
"""

from importlib import import_module, metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gabatone.inference.evidence.loader import load_trials
    from gabatone.inference.fit import fit
    from gabatone.kernels.body.dosing import load_schedule
    from gabatone.kernels.body.pharmacokinetics import load_brexanolone_population
    from gabatone.kernels.drive.exposure import expose
    from gabatone.kernels.drive.ligand import Decay, Pulse, Tonic, Train, Waveform
    from gabatone.kernels.engine.channels import Channels
    from gabatone.kernels.engine.counts import Counts
    from gabatone.kernels.engine.grid import Grid
    from gabatone.kernels.engine.langevin import Langevin
    from gabatone.kernels.engine.master import Master
    from gabatone.kernels.engine.populations import simulate_populations
    from gabatone.kernels.engine.records import Dwells, Events, Occupancy, Readout
    from gabatone.kernels.engine.simulate import simulate
    from gabatone.kernels.engine.trace import Trace
    from gabatone.kernels.engine.voltage import VoltageCourse, VoltageDependence
    from gabatone.kernels.errors import BadInput, Failure
    from gabatone.kernels.receptor.catalogue import load_scheme, load_steroid
    from gabatone.kernels.receptor.composition import load_composition
    from gabatone.kernels.receptor.scheme import KineticScheme
    from gabatone.kernels.receptor.steroid import Steroid
    from gabatone.kernels.recording.amplifier import Amplifier
    from gabatone.kernels.recording.patch import Patch

__version__ = metadata.version("gabatone")

# public name -> module that defines it
_HOME = {
    "Amplifier": "gabatone.kernels.recording.amplifier",
    "BadInput": "gabatone.kernels.errors",
    "Channels": "gabatone.kernels.engine.channels",
    "Counts": "gabatone.kernels.engine.counts",
    "Decay": "gabatone.kernels.drive.ligand",
    "Dwells": "gabatone.kernels.engine.records",
    "Events": "gabatone.kernels.engine.records",
    "Failure": "gabatone.kernels.errors",
    "Grid": "gabatone.kernels.engine.grid",
    "KineticScheme": "gabatone.kernels.receptor.scheme",
    "Langevin": "gabatone.kernels.engine.langevin",
    "Master": "gabatone.kernels.engine.master",
    "Occupancy": "gabatone.kernels.engine.records",
    "Patch": "gabatone.kernels.recording.patch",
    "Pulse": "gabatone.kernels.drive.ligand",
    "Readout": "gabatone.kernels.engine.records",
    "Steroid": "gabatone.kernels.receptor.steroid",
    "Tonic": "gabatone.kernels.drive.ligand",
    "Trace": "gabatone.kernels.engine.trace",
    "Train": "gabatone.kernels.drive.ligand",
    "VoltageCourse": "gabatone.kernels.engine.voltage",
    "VoltageDependence": "gabatone.kernels.engine.voltage",
    "Waveform": "gabatone.kernels.drive.ligand",
    "expose": "gabatone.kernels.drive.exposure",
    "fit": "gabatone.inference.fit",
    "load_brexanolone_population": "gabatone.kernels.body.pharmacokinetics",
    "load_composition": "gabatone.kernels.receptor.composition",
    "load_schedule": "gabatone.kernels.body.dosing",
    "load_scheme": "gabatone.kernels.receptor.catalogue",
    "load_steroid": "gabatone.kernels.receptor.catalogue",
    "load_trials": "gabatone.inference.evidence.loader",
    "simulate": "gabatone.kernels.engine.simulate",
    "simulate_populations": "gabatone.kernels.engine.populations",
}

__all__ = [
    "Amplifier",
    "BadInput",
    "Channels",
    "Counts",
    "Decay",
    "Dwells",
    "Events",
    "Failure",
    "Grid",
    "KineticScheme",
    "Langevin",
    "Master",
    "Occupancy",
    "Patch",
    "Pulse",
    "Readout",
    "Steroid",
    "Tonic",
    "Trace",
    "Train",
    "VoltageCourse",
    "VoltageDependence",
    "Waveform",
    "__version__",
    "expose",
    "fit",
    "load_brexanolone_population",
    "load_composition",
    "load_schedule",
    "load_scheme",
    "load_steroid",
    "load_trials",
    "simulate",
    "simulate_populations",
]


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'gabatone' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
