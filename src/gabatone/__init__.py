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
    from gabatone.kernels.engine.master import Master
    from gabatone.kernels.engine.simulate import simulate
    from gabatone.kernels.engine.trace import Trace
    from gabatone.kernels.errors import BadInput, Failure
    from gabatone.kernels.receptor.catalogue import load_scheme, load_steroid
    from gabatone.kernels.receptor.scheme import KineticScheme
    from gabatone.kernels.receptor.steroid import Steroid

__version__ = metadata.version("gabatone")

# public name -> module that defines it
_HOME = {
    "BadInput": "gabatone.kernels.errors",
    "Channels": "gabatone.kernels.engine.channels",
    "Counts": "gabatone.kernels.engine.counts",
    "Decay": "gabatone.kernels.drive.ligand",
    "Failure": "gabatone.kernels.errors",
    "KineticScheme": "gabatone.kernels.receptor.scheme",
    "Master": "gabatone.kernels.engine.master",
    "Pulse": "gabatone.kernels.drive.ligand",
    "Steroid": "gabatone.kernels.receptor.steroid",
    "Tonic": "gabatone.kernels.drive.ligand",
    "Trace": "gabatone.kernels.engine.trace",
    "Train": "gabatone.kernels.drive.ligand",
    "Waveform": "gabatone.kernels.drive.ligand",
    "expose": "gabatone.kernels.drive.exposure",
    "fit": "gabatone.inference.fit",
    "load_brexanolone_population": "gabatone.kernels.body.pharmacokinetics",
    "load_schedule": "gabatone.kernels.body.dosing",
    "load_scheme": "gabatone.kernels.receptor.catalogue",
    "load_steroid": "gabatone.kernels.receptor.catalogue",
    "load_trials": "gabatone.inference.evidence.loader",
    "simulate": "gabatone.kernels.engine.simulate",
}

__all__ = [
    "BadInput",
    "Channels",
    "Counts",
    "Decay",
    "Failure",
    "KineticScheme",
    "Master",
    "Pulse",
    "Steroid",
    "Tonic",
    "Trace",
    "Train",
    "Waveform",
    "__version__",
    "expose",
    "fit",
    "load_brexanolone_population",
    "load_schedule",
    "load_scheme",
    "load_steroid",
    "load_trials",
    "simulate",
]


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'gabatone' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
