"""``gabatone scheme``: the receptor schemes of the catalogue, or a scheme file of one's own."""

from typing import Annotated

import typer

from gabatone.experiments.terminal import columns, say, say_json

CYCLE_LO, CYCLE_HI = 0.95, 1.05
ROW_TOLERANCE = 1e-9

app = typer.Typer(
    help="Receptor schemes: list, show, simulate, dose-response, check and plot.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_schemes(json: AsJson = False):
    """List the schemes by name: complete ones can be simulated, incomplete ones only shown."""
    rows = scheme_rows()
    if json:
        say_json(rows)
        return
    header = ("name", "states", "cycles", "complete", "status", "receptor")
    say(
        columns(
            [
                [
                    row["name"],
                    row["states"],
                    row["cycles"],
                    "yes" if row["complete"] else "no",
                    row["status"],
                    row["receptor"],
                ]
                for row in rows
            ],
            header,
        )
    )


@app.command("show")
def show_scheme(
    name: str = typer.Argument(help="Name of a scheme, or path of a TOML file."),
    json: AsJson = False,
):
    """Show states, transitions with values and units, cycles with their ratio, and the sources."""
    catalogue = _catalogue()
    if name in catalogue.incomplete_names():
        known = catalogue.load_incomplete(name)
        if json:
            say_json({"complete": False, **known})
        else:
            lines = [f"{name}: incomplete, cannot be simulated"]
            say(
                "\n".join(
                    lines + [f"{key}: {value}" for key, value in known.items() if key != "key"]
                )
            )
        return
    summary = _summary(catalogue.load_scheme(name))
    if json:
        say_json({"complete": True, **summary})
    else:
        say(scheme_page(summary))


def scheme_rows() -> list[dict]:
    """Return one JSON-ready row per scheme of the catalogue, complete ones first."""
    catalogue = _catalogue()
    rows = []
    for name in catalogue.scheme_names():
        summary = _summary(catalogue.load_scheme(name))
        rows.append(
            {
                "name": name,
                "complete": True,
                "states": len(summary["states"]),
                "cycles": len(summary["cycles"]),
                "status": summary["status"],
                "receptor": summary["receptor"],
                "citation": summary["citation"],
            }
        )
    for name in catalogue.incomplete_names():
        known = catalogue.load_incomplete(name)
        rows.append(
            {
                "name": name,
                "complete": False,
                "states": None,
                "cycles": None,
                "status": str(known.get("status", "incomplete")),
                "receptor": str(known.get("receptor", "")),
                "citation": str(known.get("citation", "")),
            }
        )
    return rows


def scheme_page(summary: dict) -> str:
    """Return the text of ``scheme show`` for a scheme's summary."""
    parts = [summary["key"]]
    about = [
        (key, summary.get(key))
        for key in (
            "receptor",
            "species",
            "temperature",
            "status",
            "citation",
            "doi",
            "where",
            "notes",
        )
    ]
    parts.append("\n".join(f"{key}: {value}" for key, value in about if value))
    states = [
        [state["name"], state["kind"], float(state["conductance_pS"]), state["bound_agonists"]]
        for state in summary["states"]
    ]
    parts.append(columns(states, ("state", "kind", "pS", "bound agonists")))
    edges = [
        [
            edge["from"],
            edge["to"],
            float(edge["value"]),
            edge["unit"],
            edge["ligand"],
            float(edge["factor"]),
            edge["symbol"],
        ]
        for edge in summary["transitions"]
    ]
    parts.append(columns(edges, ("from", "to", "value", "unit", "ligand", "factor", "symbol")))
    if summary["cycles"]:
        rows = [[" ".join(cycle["states"]), float(cycle["ratio"])] for cycle in summary["cycles"]]
        parts.append(columns(rows, ("cycle", "forward/backward")))
    else:
        parts.append("no cycle: detailed balance holds by itself")
    parts += [f"note: {warning}" for warning in summary.get("warnings", [])]
    return "\n\n".join(parts)


def verify_schemes() -> list[dict]:
    """Return one JSON-ready verdict per scheme of the catalogue (see `verify_scheme`)."""
    catalogue = _catalogue()
    rows = []
    for name in catalogue.scheme_names():
        try:
            problems = verify_scheme(catalogue.load_scheme(name))
        except ValueError as error:  # BadInput is one: a catalogue file that does not even load
            problems = [str(error)]
        rows.append(
            {"scheme": name, "verdict": "failed" if problems else "sound", "problems": problems}
        )
    return rows


def verify_scheme(scheme) -> list[str]:
    """Return what is wrong with a loaded scheme: generator rows, cycle ratios, reachability."""
    import numpy as np

    summary = _summary(scheme)
    problems = []
    for concentration in (0.0, 1e-6, 1e-3):
        rates = np.asarray(scheme.generator({"GABA": concentration}), dtype=float)
        off = rates - np.diag(np.diag(rates))
        worst = np.abs(rates.sum(axis=1)).max() / max(1.0, np.abs(rates).max())
        if not worst <= ROW_TOLERANCE:
            problems.append(
                f"a generator row sums to {worst:g} of the largest rate at {concentration:g} M GABA"
            )
        if not (off >= 0).all():
            problems.append(
                f"the generator has a negative or undefined rate at {concentration:g} M GABA"
            )
    for cycle in summary["cycles"]:
        if not CYCLE_LO <= cycle["ratio"] <= CYCLE_HI:
            problems.append(f"cycle {' '.join(cycle['states'])} has ratio {cycle['ratio']:g}")
    for state in sorted(_unreached(summary)):
        problems.append(f"state {state} cannot be reached from every state")
    return problems


def _unreached(summary: dict) -> set:
    onward, back = {}, {}
    for edge in summary["transitions"]:
        if edge["value"] > 0:
            onward.setdefault(edge["from"], set()).add(edge["to"])
            back.setdefault(edge["to"], set()).add(edge["from"])
    names = [state["name"] for state in summary["states"]]
    return set(names) - (_closure(names[0], onward) & _closure(names[0], back))


def _closure(start: str, neighbours: dict) -> set:
    seen, ahead = {start}, [start]
    while ahead:
        new = neighbours.get(ahead.pop(), set()) - seen
        seen |= new
        ahead += new
    return seen


def _summary(scheme) -> dict:
    from gabatone.kernels.receptor.summary import summarise

    return summarise(scheme)


def _catalogue():
    import jax

    jax.config.update("jax_enable_x64", True)
    from gabatone.kernels.receptor import catalogue

    return catalogue
