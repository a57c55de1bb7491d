"""What ``gabatone check`` does: schemes verified, outside suites run, verdicts of runs gathered."""

from pathlib import Path

from gabatone.experiments import progress as bars
from gabatone.experiments.terminal import columns, say
from gabatone.kernels.errors import BadInput

KEYS = ("verdict", "id", "ours", "lo", "hi", "unit", "status")


def check(folders, suites, *, quick: bool, quiet: bool) -> dict:
    """Return JSON-ready verdicts: ``schemes``, ``suites``, ``runs`` and ``false_alarm``.

    Folders and suite names are looked at before anything is run.
    """
    from gabatone.experiments.outside.suites import chosen
    from gabatone.experiments.scheme_cli import verify_schemes

    names = chosen(suites)
    runs = [run for folder in folders for run in runs_in(Path(folder))]
    gathered = [gather(run) for run in runs]
    schemes = verify_schemes()
    verdicts = run_suites(names, quick=quick, quiet=quiet)
    return {
        "schemes": schemes,
        "suites": [verdict.summary() for verdict in verdicts],
        "false_alarm": sum(verdict.false_alarm for verdict in verdicts),
        "runs": gathered,
    }


def sound(found: dict) -> bool:
    """Whether no scheme has problems, no suite failed and no run is damaged."""
    return not (
        any(row["problems"] for row in found["schemes"])
        or any(row["verdict"] == "failed" for row in found["suites"])
        or any(row["damage"] for row in found["runs"])
    )


def run_suites(names: list[str], *, quick: bool, quiet: bool) -> list:
    """Run the suites one after the other, with a bar where a person watches."""
    from gabatone.experiments.outside.suites import run_suite

    bar, found = bars.Guarded(bars.choose(quiet)), []
    bar.init("outside suites", len(names))
    try:
        for name in names:
            bar.step(0, name)
            found.append(
                run_suite(
                    name, quick=quick, progress=lambda note, at=name: bar.step(0, f"{at}: {note}")
                )
            )
            bar.step(1)
    finally:
        bar.close_all()
    return found


def runs_in(folder: Path) -> list[Path]:
    """Run directories at or directly below ``folder``; `BadInput` where there is none."""
    name = "checks.json"
    found = (
        [folder]
        if (folder / name).is_file()
        else sorted(path.parent for path in folder.glob(f"*/{name}"))
    )
    if not found:
        raise BadInput(
            "DIR",
            str(folder),
            f"no run with a {name} is there",
            "give the directory of a run",
        )
    return found


def gather(run: Path) -> dict:
    """Return damage and checks of one run directory."""
    from gabatone.experiments import manifest
    from gabatone.experiments.checks import read_checks

    written = manifest.read_manifest(run)
    damage = (
        manifest.damage(run, written)
        if written
        else [(manifest.NAME, "missing: the run is not finished")]
    )
    return {
        "run": str(run),
        "damage": [f"{path}: {problem}" for path, problem in damage],
        "checks": [check.row() for check in read_checks(run / "checks.json")],
    }


def tell(found: dict, *, every: bool) -> None:
    """Print the tables: schemes, suites with what they missed, runs."""
    rows = [[row["scheme"], row["verdict"], "; ".join(row["problems"])] for row in found["schemes"]]
    say(columns(rows, ("scheme", "verdict", "problems")))
    if found["suites"]:
        _tell_suites(found, every)
    for run in found["runs"]:
        say(f"\n{run['run']}")
        for problem in run["damage"]:
            say(f"damaged: {problem}")
        if run["checks"]:
            say(_table(run["checks"]))


def _tell_suites(found: dict, every: bool) -> None:
    header = ("suite", "verdict", "met", "missed", "shown", "false alarm", "what")
    rows = [
        [
            suite["suite"],
            suite["verdict"],
            *(suite[key] for key in ("met", "missed", "shown")),
            f"{suite['false_alarm']:.2g}" if suite["false_alarm"] else "none",
            suite["title"],
        ]
        for suite in found["suites"]
    ]
    say("\n" + columns(rows, header))
    for suite in found["suites"]:
        if suite["failure"]:
            say(f"\n{suite['suite']}: {suite['failure']}")
        shown = [row for row in suite["checks"] if every or row["verdict"] == "missed"]
        if shown:
            say(f"\n{suite['suite']}")
            say(_table(shown))
    chance = found["false_alarm"]
    say(
        f"\na correct program fails one of these suites by chance with probability at most {chance:.2g}"
        if chance
        else "\nnone of these suites depends on chance"
    )


def _table(checks: list[dict]) -> str:
    return columns([[check[key] for key in KEYS] for check in checks], KEYS)
