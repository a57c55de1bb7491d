"""One self-contained HTML page per run: figures inside, nothing fetched, good on paper too."""

import base64
import math
import numbers
from pathlib import Path

from gabatone.experiments import manifest

_ROWS = 60


def write_report(run, *, title: str, lead: str, sections, checks, cards, captions=None) -> None:
    """Write ``report.html`` of the run directory ``run``.

    Parameters
    ----------
    run : RunDirectory
        Where the figures and tables named by ``sections`` were written.
    title, lead : str
        Heading and the sentences below it.
    sections : sequence of Section
        The parts, in order.
    checks : sequence of Check
        Comparisons with published numbers; those missed are named at the top.
    cards : dict of Card or sequence of Card
        Every default number of the run.
    captions : dict, optional
        Texts under ``"figure NAME"`` and ``"table NAME"``.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    captions = captions or {}
    named = cards.items() if isinstance(cards, dict) else [(card.name, card) for card in cards]
    stack = manifest.stack()
    page = environment.get_template("report.html.j2").render(
        title=title,
        lead=lead,
        sections=[_section(run.path, section, captions) for section in sections],
        checks=checks,
        missed=[check for check in checks if check.verdict == "missed"],
        counts={
            verdict: sum(check.verdict == verdict for check in checks)
            for verdict in ("met", "missed", "shown")
        },
        cards=sorted(
            named,
            key=lambda item: (
                ("assumed", "recalled", "derived", "read").index(item[1].status),
                item[0],
            ),
        ),
        plan=run.inputs["plan"],
        settings=_flat(run.inputs["plan"]["settings"]),
        git=run.inputs["git"],
        stack=stack,
    )
    run.write_text("report.html", page.rstrip() + "\n")


def number(value) -> str:
    """Return ``value`` as a reader likes it: four significant digits, a dash for nothing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return str(value)
    if float(value).is_integer() and abs(value) < 1e6:
        return f"{int(value)}"
    return f"{float(value):.4g}".replace("e-0", "e-").replace("e+0", "e").replace("-", "−")


def _section(folder: Path, section, captions: dict) -> dict:
    return {
        "title": section.title,
        "paragraphs": [part.strip() for part in section.text.split("\n\n") if part.strip()],
        "figures": [
            {
                "data": base64.b64encode((folder / f"figures/{name}.png").read_bytes()).decode(),
                "caption": captions.get(f"figure {name}", ""),
                "name": name,
            }
            for name in section.figures
        ],
        "tables": [
            _table(folder, name, captions.get(f"table {name}", "")) for name in section.tables
        ],
    }


def _table(folder: Path, name: str, caption: str) -> dict:
    import pandas as pd

    frame = pd.read_parquet(folder / f"tables/{name}.parquet")
    cells = [
        [None if pd.isna(cell) else cell for cell in row]
        for row in frame.head(_ROWS).itertuples(index=False)
    ]
    numeric = [
        pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind)
        for kind in frame.dtypes
    ]
    return {
        "name": name,
        "caption": caption,
        "columns": list(zip(frame.columns, numeric, strict=True)),
        "rows": [list(zip(row, numeric, strict=True)) for row in cells],
        "left_out": max(0, len(frame) - _ROWS),
        "length": len(frame),
    }


def _flat(table: dict, above: str = "") -> list:
    rows = []
    for key, value in table.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{above}{key}.")
        else:
            rows.append((above + key, value))
    return rows
