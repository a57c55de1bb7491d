"""The command ``gabatone``. Exit codes: 0 done, 1 a run failed, 2 bad input, 130 interrupted."""

import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from gabatone.experiments import scheme_commands
from gabatone.experiments.terminal import columns, complain, say, say_json, settle
from gabatone.kernels.errors import BadInput, Failure

_INTERRUPTED_AND_SAID = 131  # 130 to the caller, without a second message

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

app = typer.Typer(
    name="gabatone",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="From a neurosteroid dose through GABA-A channels and neurons to trial outcomes. "
    "Research software; gives no medical advice.",
)
app.add_typer(scheme_commands.app, name="scheme")


def main(arguments=None) -> int:
    """Run the command line and return its exit code; without arguments it owns the process."""
    if arguments is None:
        settle()
        signal.signal(
            signal.SIGTERM, signal.default_int_handler
        )  # a scheduler's stop is an interrupt too
    usage = typer.BadParameter.__mro__[2]  # the base of everything the parser refuses
    try:
        code = app(arguments, prog_name="gabatone", standalone_mode=False)
        if code == 130:
            complain("interrupted")
        return min(code, 130) if isinstance(code, int) else 0
    except BadInput as error:
        complain(str(error))
        return 2
    except usage as error:
        _complain_usage(error)
        return 2
    except Failure as error:
        complain(str(error))
        return 1
    except (KeyboardInterrupt, typer.Abort):
        complain("interrupted")
        return 130
    except Exception as error:
        if os.environ.get("GABATONE_TRACEBACK"):
            raise
        complain(
            f"internal_error: {type(error).__name__}: {' '.join(str(error).split())[:300]}. "
            "This is a defect of gabatone; set GABATONE_TRACEBACK=1 for the trace to report."
        )
        return 1


def _complain_usage(error) -> None:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "gabatone"
    message = error.format_message().strip()
    if type(error).__name__ == "NoArgsIsHelpError":
        message = "no command given."
    complain(f"{message} Fix: {command} --help shows what it takes.")


def _show_version(wanted: bool) -> bool:
    if wanted:
        from gabatone.experiments.manifest import version

        say(f"gabatone {version()}")
        raise typer.Exit
    return wanted


@app.callback()
def _top(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
):
    del version


@app.command("list")
def list_experiments(json: AsJson = False):
    """List the experiments that ``gabatone run`` knows."""
    from gabatone.experiments.registry import EXPERIMENTS

    if json:
        say_json([{"name": entry.name, "line": entry.line} for entry in EXPERIMENTS.values()])
    else:
        say(columns([[entry.name, entry.line] for entry in EXPERIMENTS.values()]))


@app.command("run")
def run_experiment(
    name: Annotated[str, typer.Argument(help="Name of the experiment; see gabatone list.")],
    out: Annotated[
        str, typer.Option("--out", help="Directory of the run: new, empty, or of the same inputs.")
    ],
    seed: Annotated[
        str, typer.Option("--seed", metavar="INTEGER", help="Seed of every random number.")
    ] = "0",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting as table.key=value; may be repeated."),
    ] = None,
    config: Annotated[str | None, typer.Option("--config", help="A TOML file of settings.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes, rough numbers.")] = False,
    json: AsJson = False,
):
    """Run an experiment into a directory; the same command again resumes it or says it is done."""
    from gabatone.experiments.plan import read_plan

    _start_jax(name)
    plan = read_plan(
        name, seed=_read_seed(seed), quick=quick, overrides=settings or (), config=config
    )
    done_before = _carry_out(plan, out, json)
    _tell(Path(out), done_before, json)


def _read_seed(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        fix = "give a whole number from 0 to 4294967295"
        raise BadInput("--seed", text, "not a whole number", fix) from None


def _start_jax(name: str) -> None:
    from gabatone.experiments.registry import find

    find(name)  # a misspelt name is said at once, before anything heavy is loaded
    import jax
    import matplotlib

    jax.config.update("jax_enable_x64", True)
    matplotlib.use("Agg")


def _carry_out(plan, out: str, quiet: bool) -> bool:
    from gabatone.experiments import progress
    from gabatone.experiments.run import run

    try:
        return run(plan, out, progress=progress.choose(quiet)).found_done
    except KeyboardInterrupt:
        kept = "the stages finished so far are kept; the same command goes on from there"
        complain(f"interrupted: {out}: {kept}")
        raise typer.Exit(_INTERRUPTED_AND_SAID) from None
    except MemoryError as error:
        raise Failure(
            "out_of_memory", "the machine has too little memory for these sizes; use smaller ones"
        ) from error
    except OSError as error:
        raise Failure(
            "write_failed", f"{error.strerror or error} while writing to {out}"
        ) from error


def _tell(out: Path, done_before: bool, json: bool) -> None:
    from gabatone.experiments.checks import read_checks

    checks = read_checks(out / "checks.json")
    counts = {
        verdict: sum(check.verdict == verdict for check in checks)
        for verdict in ("met", "missed", "shown")
    }
    if json:
        say_json(
            {
                "out": str(out),
                "already_done": done_before,
                "report": str(out / "report.html"),
                "checks": counts,
                "missed": [check.row() for check in checks if check.verdict == "missed"],
            }
        )
        return
    say(f"{out}: {'was done already; nothing to do' if done_before else 'done'}")
    say(
        ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
        + " of the published numbers"
    )
    for check in checks:
        if check.verdict == "missed":
            ours, lo, hi = (
                "none" if part is None else f"{part:.4g}"
                for part in (check.ours, check.lo, check.hi)
            )
            say(f"missed: {check.quantity}: ours {ours} {check.unit}, expected {lo} to {hi}")
    say(f"report: {out / 'report.html'}")


@app.command("check")
def check_all(
    folders: Annotated[
        list[str] | None,
        typer.Argument(metavar="[DIR]...", help="Run directories, or folders of them."),
    ] = None,
    suites: Annotated[
        list[str] | None,
        typer.Option("--suite", metavar="NAME", help="Only this suite, or none; may be repeated."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer runs, fewer doses.")] = False,
    every: Annotated[
        bool, typer.Option("--all", help="Print every check, not misses only.")
    ] = False,
    json: AsJson = False,
):
    """Verify every scheme, run the outside suites, and gather the verdicts of run directories."""
    from gabatone.experiments import verdicts

    found = verdicts.check(folders or (), suites, quick=quick, quiet=json)
    if json:
        say_json(found)
    else:
        verdicts.tell(found, every=every)
    if not verdicts.sound(found):
        raise typer.Exit(1)


if __name__ == "__main__":
    sys.exit(main())
