"""``gabatone scheme plot``: one figure of a scheme, without and with a steroid."""

from dataclasses import dataclass

import numpy as np

from gabatone.experiments import scheme_inputs as read
from gabatone.experiments.scheme_numbers import DOSES_M, Responses

COLOURS = ("#5b6770", "#c8442f")
TONIC_M = np.geomspace(1e-8, 1e-1, 57)


@dataclass(frozen=True)
class Both:
    """A scheme in the standard protocols, once or twice, with a name for each."""

    title: str
    labels: tuple[str, ...]
    responses: tuple[Responses, ...]


def both(name: str, *, steroid: str | None, temperature: str | None = None) -> Both:
    """Responses of a scheme alone and, where a steroid is given, with it; `BadInput` as read."""
    ligand = read.read_steroid(steroid)
    alone, _ = read.load(name, None, temperature)
    title = f"{alone.name}, {alone.facts.temperature_C:g} C"
    if ligand is None:
        return Both(title, ("GABA alone",), (Responses(alone),))
    product, background = read.load(name, ligand, temperature)
    return Both(
        title,
        ("GABA alone", f"+ {ligand.conc_M * 1e9:.4g} nM {ligand.name}"),
        (Responses(alone), Responses(product, tuple(background.items()))),
    )


def numbers(found: Both) -> list[dict]:
    """One row for each line of the figure."""
    return [
        {
            "with": label,
            "peak": r.pulse.peak,
            "rise_ms": r.pulse.rise_s() * 1e3,
            "decay_ms": r.pulse.decay_s() * 1e3,
            "weighted_decay_ms": r.pulse.weighted_decay_s() * 1e3,
            "desensitized_500ms": r.desensitization(0.5),
            "ec50_uM": r.ec50_M() * 1e6,
            "most": float(r.doses.max()),
        }
        for label, r in zip(found.labels, found.responses, strict=True)
    ]


def draw(path, found: Both) -> None:
    """Write the figure as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6.4), layout="constrained")
    (pulse, step), (doses, tonic) = figure.subplots(2, 2)
    for colour, label, r in zip(COLOURS, found.labels, found.responses, strict=False):
        pulse.plot(r.pulse.time_s * 1e3, r.pulse.p_open, color=colour, label=label)
        step.plot(r.step.time_s[1:], r.step.p_open[1:], color=colour)
        doses.plot(DOSES_M * 1e6, r.doses, color=colour)
        tonic.plot(TONIC_M * 1e6, [r.tonic(c) for c in TONIC_M], color=colour)
    pulse.set(xlim=(0, 200), xlabel="ms", title="1 mM for 1 ms", ylabel="open probability")
    step.set(xscale="log", xlim=(1e-4, 4), xlabel="s", title="1 mM held")
    doses.set(xscale="log", xlabel="GABA, uM", title="peak within 500 ms")
    doses.set_ylabel("open probability")
    tonic.set(xscale="log", xlabel="GABA, uM", title="equilibrium")
    for axis in (pulse, step, doses, tonic):
        axis.set_ylim(bottom=0)
    pulse.legend(frameon=False, fontsize="small")
    figure.suptitle(found.title, fontsize="medium")
    read.save_figure(path, figure)
