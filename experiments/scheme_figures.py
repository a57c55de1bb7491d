"""One small figure for each scheme: pulse, step and doses, with and without steroid."""

from pathlib import Path

from matplotlib.figure import Figure

from gabatone.experiments.scheme_numbers import DOSES_M, Responses

_LINES = (("#5b6770", "GABA alone"), ("#c8442f", "+ 100 nM allopregnanolone"))


def draw(path: Path, alone: Responses, steroid: Responses) -> None:
    """Write the figure of one scheme as a PNG without date or version in it."""
    figure = Figure(figsize=(9.0, 2.7), layout="constrained")
    pulse, step, doses = figure.subplots(1, 3)
    for (colour, label), r in zip(_LINES, (alone, steroid), strict=True):
        pulse.plot(r.pulse.time_s * 1e3, r.pulse.p_open, color=colour, label=label)
        step.plot(r.step.time_s[1:], r.step.p_open[1:], color=colour)
        doses.plot(DOSES_M * 1e6, r.doses, color=colour)
    pulse.set(xlim=(0, 100), xlabel="ms", ylabel="open probability", title="1 mM for 1 ms")
    step.set(xscale="log", xlim=(1e-4, 4), xlabel="s", title="1 mM held")
    doses.set(xscale="log", xlim=(1e-2, 1e5), xlabel="GABA, uM", title="peak within 500 ms")
    for axis in (pulse, step, doses):
        axis.set_ylim(bottom=0)
    pulse.legend(frameon=False, fontsize="small")
    figure.savefig(path, dpi=80, metadata={"Software": None})
