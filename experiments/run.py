"""The verb: carry out a plan in a run directory, with a bench that takes the results."""

import contextlib
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

from gabatone.experiments.checks import Check, checks_text
from gabatone.experiments.plan import Plan
from gabatone.experiments.progress import Guarded, NoProgress
from gabatone.experiments.registry import find
from gabatone.experiments.store import RunDirectory, open_run
from gabatone.kernels.card import Card
from gabatone.kernels.errors import BadInput

_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)?")


@dataclass(frozen=True)
class Section:
    """A part of the report: title, text (blank lines part paragraphs), figures and tables."""

    title: str
    text: str
    figures: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()


class Bench:
    """What an experiment works at: it takes tables, figures, traces, checks and keeps stages.

    ``chain`` names the stages in order; ``"posterior.block3"`` is a kept part of ``"posterior"``.
    """

    def __init__(self, plan: Plan, directory: RunDirectory, chain=(), progress=None):
        self.plan, self.directory, self.chain = plan, directory, tuple(chain)
        self.bar = Guarded(progress or NoProgress())
        self.checks: list[Check] = []
        self.sections: list[Section] = []
        self.cards: dict[str, Card] = {}
        self.captions: dict[str, str] = {}
        self.title, self.lead = plan.experiment, find(plan.experiment).line
        self._traces: dict = {}
        self._seen: set[str] = set()

    def stage(self, name: str, compute):
        """Return ``compute()``, kept under ``name`` so that a killed run does not repeat it."""
        part_of = _named(name).partition(".")[0]
        if part_of not in self.chain:
            raise ValueError(f"stage {name!r} is not in CHAIN {self.chain}")
        value = self.directory.stage(name, compute)
        if name == part_of and name not in self._seen:
            self._seen.add(name)
            self.bar.step(1, f"{name} done")
        return value

    def progress(self, title: str, total: int) -> Guarded:
        """Begin a bar of ``total`` steps: ``.step()`` between blocks, ``.close()`` at the end."""
        self.bar.init(title, total)
        return self.bar

    def table(self, name: str, frame, caption: str = "") -> None:
        """Write a pandas frame as ``tables/name.parquet`` and ``.csv``."""
        frame = frame.reset_index(drop=True)
        parquet = f"tables/{_named(name)}.parquet"
        self.directory.write(parquet, lambda path: frame.to_parquet(path, index=False))
        self.directory.write(f"tables/{name}.csv", lambda path: frame.to_csv(path, index=False))
        self.captions[f"table {name}"] = caption

    def figure(self, name: str, figure, caption: str = "") -> None:
        """Write a matplotlib figure as ``figures/name.png`` and close it."""
        from matplotlib import pyplot

        relative = f"figures/{_named(name)}.png"
        self.directory.write(
            relative, lambda path: figure.savefig(path, dpi=144, bbox_inches="tight", format="png")
        )
        pyplot.close(figure)
        self.captions[f"figure {name}"] = caption

    def trace(self, name: str, dataset) -> None:
        """Take an xarray dataset as group ``name`` of ``traces.zarr``, written at the end."""
        self._traces[_named(name)] = dataset

    def posterior(self, posterior) -> None:
        """Write groups of draws as ``posterior.nc``: InferenceData, DataTree or a dict of datasets."""
        from xarray import DataTree

        tree = DataTree.from_dict(
            {f"/{name}": data for name, data in posterior_groups(posterior).items()}
        )
        self.directory.write("posterior.nc", lambda path: tree.to_netcdf(path, engine="h5netcdf"))

    def check(self, check: Check) -> None:
        """Take the comparison with one published number."""
        if any(check.id == other.id for other in self.checks):
            raise ValueError(f"check id {check.id!r} is used twice")
        self.checks.append(check)

    def section(self, title: str, text: str, figures=(), tables=()) -> None:
        """Add a part to the report; figures and tables are those written under the names given."""
        for kind, names in (("figure", figures), ("table", tables)):
            for name in names:
                if f"{kind} {name}" not in self.captions:
                    raise ValueError(
                        f"section {title!r} shows {kind} {name!r}, which was not written"
                    )
        self.sections.append(Section(title, text, tuple(figures), tuple(tables)))

    def card(self, card: Card, name: str | None = None) -> None:
        """Add a number to the table of defaults, under ``name`` if two cards share theirs."""
        self.cards[name or card.name] = card

    def headline(self, title: str, lead: str) -> None:
        """Set the title of the report and the sentences below it."""
        self.title, self.lead = title, lead

    def log(self, text: str) -> None:
        """Add a line to ``log.txt``."""
        self.directory.log(text)

    def finish(self) -> None:
        """Write traces, checks, report and, last of all, the manifest."""
        from gabatone.experiments.report.write import write_report

        if self._traces:
            self.directory.write_folder("traces.zarr", self._write_traces)
        self.directory.write_text("checks.json", checks_text(self.checks))
        write_report(
            self.directory,
            title=self.title,
            lead=self.lead,
            sections=self.sections,
            checks=self.checks,
            cards=self.cards,
            captions=self.captions,
        )
        self.directory.finish()

    def _write_traces(self, path) -> None:
        for name, dataset in self._traces.items():
            dataset.to_zarr(path, group=name, mode="a", zarr_format=3, consolidated=False)


def run(plan: Plan, out, *, progress=None) -> RunDirectory:
    """Carry out ``plan`` in directory ``out`` and return it; finished work is not done again.

    Raises
    ------
    BadInput
        ``out`` cannot be used (see `open_run`), or an input file read on the way is wrong; a
        directory that was new is taken back then.
    Failure
        A computation gave no trustworthy result. The stages finished before are kept.
    """
    with open_run(out, plan) as directory:
        if directory.state == "done":
            return directory
        module = find(plan.experiment).load()
        bench = Bench(plan, directory, module.CHAIN, progress)
        bench.bar.init(plan.experiment, len(module.CHAIN))
        try:
            with _warnings_to(directory):
                module.run(plan, bench)
                bench.finish()
        except BadInput:
            directory.discard()
            raise
        except BaseException as error:
            directory.log(f"run: stopped by {type(error).__name__}: {error}")
            raise
        finally:
            bench.bar.close_all()
    return directory


@contextlib.contextmanager
def _warnings_to(directory: RunDirectory):
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, category, file, line, *_: directory.log(
            f"warning: {category.__name__}: {message} ({Path(file).name}:{line})"
        )
        yield


def posterior_groups(posterior) -> dict:
    """Return the datasets of ArviZ's InferenceData (before 1.0), of a DataTree or of a dict.

    The time of creation is left out: the same draws make the same file.
    """
    from xarray import DataTree

    if isinstance(posterior, dict):
        groups = dict(posterior)
    elif isinstance(posterior, DataTree):
        groups = {name: child.to_dataset() for name, child in posterior.children.items()}
    else:
        groups = {name: posterior[name] for name in posterior.groups()}
    clean = {}
    for name, dataset in groups.items():
        clean[name] = dataset.copy()
        clean[name].attrs = {
            key: text for key, text in dataset.attrs.items() if key != "created_at"
        }
    return clean


def _named(name: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r} is no name: use lower-case letters, digits and _")
    return name
