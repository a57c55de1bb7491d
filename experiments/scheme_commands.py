"""``gabatone scheme simulate | dose-response | check | plot``; loading this adds them to the group."""

from typing import Annotated

import typer

from gabatone.experiments.scheme_cli import app
from gabatone.experiments.terminal import columns, say, say_json

Name = Annotated[str, typer.Argument(help="Name of a scheme, or path of a TOML file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")]
Steroid = Annotated[
    str | None,
    typer.Option("--steroid", metavar="NAME=LEVEL", help='Such as allopregnanolone="100 nM".'),
]
Temperature = Annotated[
    str | None, typer.Option("--temperature", metavar="TEXT", help="Degrees Celsius.")
]
Engine = Annotated[
    str, typer.Option("--engine", help="auto, channels, counts, grid, master or langevin.")
]
Seed = Annotated[str, typer.Option("--seed", metavar="INTEGER", help="Seed of the random numbers.")]


@app.command("simulate")
def simulate_scheme(
    name: Name,
    gaba: Annotated[
        str | None, typer.Option("--gaba", help='Concentration, such as "1 mM".')
    ] = None,
    pulse: Annotated[
        str | None,
        typer.Option("--pulse", help="How long GABA is applied; all the time if not given."),
    ] = None,
    start: Annotated[str | None, typer.Option("--start", help="When the pulse starts.")] = None,
    waveform: Annotated[
        str | None, typer.Option("--waveform", help="CSV with columns time_s and conc_M.")
    ] = None,
    steroid: Steroid = None,
    temperature: Temperature = None,
    t1: Annotated[str, typer.Option("--t1", help="End of the simulation.")] = "200 ms",
    save: Annotated[str, typer.Option("--save", help="Interval of the samples.")] = "0.1 ms",
    n: Annotated[str, typer.Option("--n", metavar="INTEGER", help="Channels.")] = "10000",
    engine: Engine = "auto",
    dt: Annotated[
        str | None, typer.Option("--dt", help="Step of the engines grid and langevin.")
    ] = None,
    holding: Annotated[
        str | None, typer.Option("--holding", help="Holding potential; adds the current in pA.")
    ] = None,
    reversal: Annotated[str, typer.Option("--reversal", help="Reversal potential.")] = "0 mV",
    seed: Seed = "0",
    out: Annotated[
        str | None, typer.Option("--out", help="File to write: .csv, .nc, .zarr or .png.")
    ] = None,
    overwrite: Overwrite = False,
    json: AsJson = False,
):
    """Simulate channels of a scheme; 1 mM GABA for 1 ms where nothing else is asked for."""
    from gabatone.experiments import scheme_inputs, scheme_simulate

    target = scheme_inputs.target(out, scheme_simulate.KINDS, overwrite)
    found = scheme_simulate.simulated(
        name,
        gaba=gaba,
        pulse=pulse,
        start=start,
        waveform=waveform,
        steroid=steroid,
        temperature=temperature,
        t1=t1,
        save=save,
        n=n,
        engine=engine,
        dt=dt,
        seed=seed,
        holding=holding,
        reversal=reversal,
        quiet=json,
    )
    if target is not None:
        scheme_simulate.save(found, target)
    _tell(found.summary(), target, json)


@app.command("dose-response")
def dose_response_of_scheme(
    name: Name,
    gaba: Annotated[
        list[str] | None, typer.Option("--gaba", help="A concentration; may be repeated, rising.")
    ] = None,
    steroid: Steroid = None,
    temperature: Temperature = None,
    out: Annotated[str | None, typer.Option("--out", help="File to write: .csv or .png.")] = None,
    overwrite: Overwrite = False,
    json: AsJson = False,
):
    """Open probability against GABA: peak of a step, of a brief pulse, equilibrium; EC50 and Hill."""
    from gabatone.experiments import scheme_inputs, scheme_simulate

    target = scheme_inputs.target(out, ("csv", "png"), overwrite)
    doses = scheme_simulate.doses_of(
        name, gaba=gaba or (), steroid=steroid, temperature=temperature
    )
    if target is not None and target.kind == "csv":
        target.write(lambda path: scheme_inputs.write_table(path, doses.columns(), doses.notes))
    elif target is not None:
        target.write(lambda path: scheme_simulate.draw_doses(path, doses))
    table = {key: [float(value) for value in column] for key, column in doses.columns().items()}
    if json:
        say_json({**doses.notes, "summary": doses.summary(), "doses": table, "out": out})
        return
    say(columns(zip(*table.values(), strict=True), list(table)))
    keys = ("response", "least", "most", "ec50_uM", "hill")
    say("\n" + columns([[entry[key] for key in keys] for entry in doses.summary()], keys))
    if out:
        say(f"\nwritten: {out}")


@app.command("check")
def check_scheme(
    name: Name,
    gaba: Annotated[
        str | None,
        typer.Option("--gaba", help="Constant level for dwell times and noise; EC50 if not given."),
    ] = None,
    steroid: Steroid = None,
    temperature: Temperature = None,
    n: Annotated[str, typer.Option("--n", metavar="INTEGER", help="Channels.")] = "20000",
    seed: Seed = "0",
    out: Annotated[str | None, typer.Option("--out", help="Figure to write: .png.")] = None,
    overwrite: Overwrite = False,
    json: AsJson = False,
):
    """Hold simulated channels to the theory of their scheme: response, variance, dwell times, noise."""
    from gabatone.experiments import scheme_check, scheme_inputs

    target = scheme_inputs.target(out, ("png",), overwrite)
    found = scheme_check.checked(
        name, gaba=gaba, steroid=steroid, temperature=temperature, n=n, seed=seed, quiet=json
    )
    if target is not None:
        target.write(lambda path: scheme_check.draw(path, found))
    if json:
        say_json({**found.notes, "verdicts": found.verdicts(), "out": out})
    else:
        say("\n".join(f"{key}: {value}" for key, value in found.notes.items()))
        rows = [list(verdict.values()) for verdict in found.verdicts()]
        say("\n" + columns(rows, list(found.verdicts()[0])))
        say(
            "\na correct simulation fails by chance with probability at most "
            f"{scheme_check.FALSE_ALARM:g}"
        )
        if out:
            say(f"written: {out}")
    if not found.passed:
        raise typer.Exit(1)


@app.command("plot")
def plot_scheme(
    name: Name,
    out: Annotated[str, typer.Option("--out", help="Figure to write: .png.")],
    steroid: Steroid = "allopregnanolone=100 nM",
    temperature: Temperature = None,
    overwrite: Overwrite = False,
    json: AsJson = False,
):
    """Draw the response to 1 mM for 1 ms, desensitization and doses, without and with a steroid."""
    from gabatone.experiments import scheme_inputs, scheme_plot

    target = scheme_inputs.target(out, ("png",), overwrite)
    found = scheme_plot.both(name, steroid=steroid, temperature=temperature)
    target.write(lambda path: scheme_plot.draw(path, found))
    rows = scheme_plot.numbers(found)
    if json:
        say_json({"scheme": name, "out": out, "numbers": rows})
        return
    say(columns([list(row.values()) for row in rows], list(rows[0])))
    say(f"\nwritten: {out}")


def _tell(summary: dict, target, json: bool) -> None:
    out = None if target is None else str(target.path)
    if json:
        say_json({**summary, "out": out})
        return
    say("\n".join(f"{key}: {_cell(value)}" for key, value in summary.items()))
    if out:
        say(f"written: {out}")


def _cell(value) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
