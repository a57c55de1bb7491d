"""The pages of docs/schemes: one for each scheme, and those of steroids, compositions and gaps.

Made by ``python -m gabatone.experiments.scheme_pages docs/schemes``.
"""

import sys
from pathlib import Path

from gabatone.experiments.scheme_figures import draw
from gabatone.experiments.scheme_numbers import Responses
from gabatone.experiments.scheme_tables import compositions_page, steroids_page, table, three
from gabatone.kernels.receptor.catalogue import (
    incomplete_names,
    load_incomplete,
    load_scheme,
    load_steroid,
    scheme_names,
)
from gabatone.kernels.receptor.summary import summarise

STEROID, LEVEL_M = "allopregnanolone", 1e-7
WARM_C = 34.0
_NEWLINE = "\n"


def responses(name: str) -> tuple[Responses, Responses, Responses]:
    """Responses of a scheme alone, with 100 nM allopregnanolone, and alone at 34 C."""
    scheme = load_scheme(name)
    product = scheme.with_steroid(load_steroid(STEROID, site=scheme.facts.steroid_site))
    return (
        Responses(scheme),
        Responses(product, ((STEROID, LEVEL_M),)),
        Responses(scheme.at_temperature(WARM_C)),
    )


def page_text(name: str, found: tuple[Responses, Responses, Responses] | None = None) -> str:
    """The page of one scheme as Markdown; `found` saves computing its responses again."""
    alone, steroid, warm = responses(name) if found is None else found
    facts = summarise(load_scheme(name))
    about = {
        "receptor": facts["receptor"],
        "preparation": facts["preparation"],
        "species": facts["species"],
        "temperature": f"{facts['temperature']}; {facts['temperature_C']:g} C used "
        f"({facts['temperature_C_status']})",
        "status of the rates": facts["status"],
        "starts in": facts["initial"],
        "source": facts["citation"] + (f", doi {facts['doi']}" if facts["doi"] else ""),
        "where the rates were seen": facts["where"],
        "conductance": facts["conductance_note"],
        "steroid site": facts["steroid_site"],
    }
    parts = [
        f"# {name}",
        _NEWLINE.join(f"- {key}: {value or 'not stated'}" for key, value in about.items()),
        f"![Pulse, step and doses](figures/{name}.png)",
        "## What it does",
        "Square application of GABA. Peak, rise and decay: 1 mM for 1 ms, decay after the peak, "
        "weighted decay and charge up to 2 s. Desensitization: share of the peak lost under 1 mM. "
        "Half-maximal GABA: peak within 500 ms. Equilibrium: GABA held for good. The last column "
        "is at 34 C, with one Q10 for all steps.",
        _numbers(alone, steroid, warm),
        "## Known misfits",
        _NEWLINE.join(f"- {text}" for text in facts["known_misfits"] or ["none recorded"]),
        "## Rates",
        f"The rate of a step is value x factor x [ligand]. {_cycles(facts['cycles'])}",
        _rates(facts),
    ]
    if facts["notes"]:
        parts += ["## Notes", facts["notes"]]
    return "\n\n".join(parts) + "\n"


def _numbers(alone: Responses, steroid: Responses, warm: Responses) -> str:
    rows = [
        ("peak open probability", lambda r: r.pulse.peak),
        ("rise, 10 to 90 %, ms", lambda r: r.pulse.rise_s() * 1e3),
        ("decay to 1/e, ms", lambda r: r.pulse.decay_s() * 1e3),
        ("weighted decay, ms", lambda r: r.pulse.weighted_decay_s() * 1e3),
        (
            "charge: peak x weighted decay, ms",
            lambda r: r.pulse.peak * r.pulse.weighted_decay_s() * 1e3,
        ),
        ("desensitization, 0.5 s", lambda r: r.desensitization(0.5)),
        ("desensitization, 4 s", lambda r: r.desensitization(4.0)),
        ("largest peak at any dose", lambda r: r.doses.max()),
        ("half-maximal GABA, uM", lambda r: r.ec50_M() * 1e6),
        ("open at equilibrium, 0.2 uM", lambda r: r.tonic(2e-7)),
        ("open at equilibrium, 1 uM", lambda r: r.tonic(1e-6)),
    ]
    body = []
    for label, quantity in rows:
        a, s, w = (quantity(r) for r in (alone, steroid, warm))
        body.append([label, three(a), three(s), f"{s / a:.2f}" if abs(a) > 1e-9 else "-", three(w)])
    return table(["quantity", "alone", "+ 100 nM allopregnanolone", "ratio", "alone, 34 C"], body)


def _cycles(cycles: list[dict]) -> str:
    if not cycles:
        return "No closed cycle, so every rate may be changed without breaking detailed balance."
    named = (f"{' - '.join(c['states'])}: {c['ratio']:.4f}" for c in cycles)
    return "Ratio of the rate products around each cycle: " + "; ".join(named) + "."


def _rates(facts: dict) -> str:
    kind = {s["name"]: s["kind"] for s in facts["states"]}
    rows = [
        [
            t["symbol"],
            f"{t['from']} -> {t['to']}",
            f"{kind[t['from']]} -> {kind[t['to']]}",
            f"{t['value']:.6g}",
            t["unit"],
            f"{t['factor']:g}",
            t["ligand"] or "-",
        ]
        for t in facts["transitions"]
    ]
    return table(["symbol", "step", "kinds", "value", "unit", "factor", "ligand"], rows)


def incomplete_page() -> str:
    """The schemes that are wanted and lack rates, as Markdown."""
    rows = []
    for name in incomplete_names():
        data = load_incomplete(name)
        rows.append(
            [name, data["citation"], data["topology"], data["what_is_known"], data["missing"]]
        )
    return (
        "\n\n".join(
            [
                "# Incomplete schemes",
                "Known by name and partly by topology, with rates that could not be read in any source. "
                "They cannot be loaded: no rate is invented. To complete one, move its file from "
                "`kernels/receptor/schemes/incomplete` up one folder with states, transitions and the "
                "place where each number was seen.",
                table(["name", "source", "topology", "what is known", "what is missing"], rows),
            ]
        )
        + "\n"
    )


def index_page(found: dict[str, tuple]) -> str:
    """The index of docs/schemes as Markdown."""
    rows = []
    for name, (alone, steroid, _) in found.items():
        facts = alone.scheme.facts
        rows.append(
            [
                f"[{name}]({name}.md)",
                facts.receptor,
                facts.status,
                f"{facts.temperature_C:g}",
                three(alone.pulse.peak),
                three(alone.pulse.decay_s() * 1e3),
                three(alone.ec50_M() * 1e6),
                f"{steroid.tonic(2e-7) / alone.tonic(2e-7):.2f}",
            ]
        )
    head = ["scheme", "receptor", "rates", "C", "peak", "decay, ms", "EC50, uM", "steroid fold"]
    return (
        "\n\n".join(
            [
                "# Receptor schemes",
                "Peak and decay to 1/e after 1 mM for 1 ms; EC50 of the peak within 500 ms; fold gain at "
                "equilibrium with 0.2 uM GABA by 100 nM allopregnanolone. Status words: `read` in the "
                "source named, `derived` from read numbers, `recalled`, `assumed`.",
                table(head, rows),
                "- [Compositions](compositions.md): receptors by subunit, with place and sensitivity",
                "- [Steroids](steroids.md): their numbers, and three readings of their binding",
                "- [Incomplete schemes](incomplete.md): wanted, but without rates",
                "## Temperature",
                _TEMPERATURE,
                "These pages are made by `python -m gabatone.experiments.scheme_pages docs/schemes`.",
            ]
        )
        + "\n"
    )


_TEMPERATURE = """\
`scheme.at_temperature(34)` speeds up every step by one Q10 of 2.4, exactly `2.4 ** ((34 - T) / 10)`:
no scheme here has measured numbers of its own for any step. A scheme file may give them, in
one of two ways; a step without a number has the default.

- `q10 = 3.0` on a transition: its speed over 10 C from the temperature of the scheme. A step whose two
  directions differ shifts the equilibrium. Q10s that would unbalance a cycle are refused, and the
  message names the cycle.
- `enthalpy_kJ_per_mol` on states and `barrier_enthalpy_kJ_per_mol` on transitions (one for both
  directions). Any such numbers keep every cycle balanced.

Such a scheme follows transition-state theory: `k(T) / k(T0) = (T / T0) exp(-(H_barrier - H_state) / R
(1/T - 1/T0))`. The default Q10 read this way is 63.5 kJ/mol from 23 to 33 C, 0.3 % below the
power law at 34 C and 1.5 % at 37 C."""


def write_pages(folder) -> list[Path]:
    """Write all pages and figures into `folder`; returns the files written."""
    folder = Path(folder)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    found, pages = {}, {}
    for name in scheme_names():
        found[name] = responses(name)
        pages[name] = page_text(name, found[name])
        draw(folder / "figures" / f"{name}.png", *found[name][:2])
    pages |= {
        "README": index_page(found),
        "incomplete": incomplete_page(),
        "compositions": compositions_page(),
        "steroids": steroids_page(),
    }
    for name, text in pages.items():
        (folder / f"{name}.md").write_text(text, encoding="utf-8")
    return sorted(folder.glob("*.md")) + sorted((folder / "figures").glob("*.png"))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m gabatone.experiments.scheme_pages FOLDER")
    for written in write_pages(sys.argv[1]):
        print(written.name)
