"""The pages of steroids and of subunit compositions as Markdown."""

from gabatone.experiments.scheme_numbers import Responses
from gabatone.kernels.receptor.catalogue import load_scheme, load_steroid, steroid_names
from gabatone.kernels.receptor.composition import composition_names, load_composition
from gabatone.kernels.receptor.steroid_catalogue import steroid_cards, steroid_facts

SYNAPTIC, EXTRASYNAPTIC = "default_synaptic_abg_mwc", "default_extrasynaptic_abd_mwc"


def three(value: float) -> str:
    """A number to three digits; below 1e-9 it is 0."""
    value = float(value)
    return "0" if abs(value) < 1e-9 else f"{value:.3g}"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; bars inside a cell are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(str(c).replace("|", "\\|") for c in line) + " |" for line in lines
    )


def _with(scheme, steroid, conc_M: float) -> Responses:
    return Responses(scheme.with_steroid(steroid), ((steroid.ligand, conc_M),))


def compositions_page() -> str:
    """Receptors by subunit: place, scheme, and sensitivity to GABA and steroid."""
    rows, notes = [], []
    for key in composition_names():
        kind = load_composition(key)
        alone, drugged = Responses(kind.scheme), _with(kind.scheme, kind.steroid, 1e-7)
        measured = kind.cards.get("measured_EC50")
        rows.append(
            [
                f"`{key}`",
                kind.title,
                f"{kind.place}: {kind.region}",
                kind.status,
                three(alone.ec50_M() * 1e6),
                f"{measured.value:g} ({measured.status})" if measured else "none",
                three(alone.doses.max()),
                three(alone.pulse.decay_s() * 1e3),
                f"{float(kind.steroid.dissociation_closed_M) * 1e6:.3g}",
                f"{drugged.tonic(2e-7) / alone.tonic(2e-7):.2f}",
                f"{drugged.doses.max() / alone.doses.max():.2f}",
            ]
        )
        why = kind.why[0].upper() + kind.why[1:]
        notes.append(f"## {key}\n\nBase: [{kind.base}]({kind.base}.md). {why}.")
        notes.append(_cards(kind.cards))
    head = [
        "key", "composition", "place", "scheme", "EC50, uM", "measured", "largest peak",
        "decay, ms", "steroid K, uM", "fold at 0.2 uM", "fold at saturation",
    ]  # fmt: skip
    return (
        "\n\n".join(
            [
                "# Compositions",
                "`load_composition(key)` gives `.scheme`, `.steroid`, `.place` and `.cards`; full names and "
                'Greek letters do as well: `load_composition("alpha4-beta-delta")`. EC50 and largest peak: '
                "500 ms step. Decay to 1/e after 1 mM for 1 ms. Folds: 100 nM allopregnanolone, at "
                "equilibrium with 0.2 uM GABA and on the largest peak. A scheme marked `assumed` is the "
                "nearest default with a few rates scaled; no rates of that receptor were read.",
                table(head, rows),
                "Two things to know. At 0.1 to 1 uM GABA the two defaults gain alike from a steroid: the "
                "selectivity for delta receptors shows at saturating GABA, through their low efficacy. And "
                "the affinities of alpha4 and alpha5 for steroid are recalled, not read.",
                *notes,
            ]
        )
        + "\n"
    )


def _cards(cards) -> str:
    rows = [
        [f"`{name}`", f"{card.value:g}", card.unit, card.status, card.source, card.species]
        for name, card in cards.items()
    ]
    return table(["number", "value", "unit", "status", "source", "species"], rows)


def steroids_page() -> str:
    """The steroids, what they do to the defaults, and the three readings of their binding."""
    head = [
        "steroid", "action", "own numbers", "K closed, uM", "c open / desensitized", "level, uM",
        "0.2 uM, synaptic", "0.2 uM, extrasynaptic", "pulse peak", "pulse decay", "1 mM held",
    ]  # fmt: skip
    site = {
        k: v for k, v in steroid_cards("allopregnanolone").items() if v.name.startswith("site.")
    }
    notes = []
    for name in steroid_names():
        facts = steroid_facts(name)
        own = {k: v for k, v in steroid_cards(name).items() if v.name.startswith(f"{name}.")}
        note = facts["note"][0].upper() + facts["note"][1:]
        notes += [f"## {name}\n\n{facts['title']}. {note}.", _cards(own)]
    return (
        "\n\n".join(
            [
                "# Steroids",
                "Ratios to the response without steroid, at the level named: open probability at equilibrium "
                "with 0.2 uM GABA for both default schemes; then for the synaptic one peak and decay to 1/e "
                "of 1 mM for 1 ms, and the steady response to 1 mM.",
                table(head, _effects()),
                "The antagonists stabilise desensitized states, so that they act the more the more receptors "
                "are active. They have a site of their own: `scheme.with_steroid(a).with_steroid(b)` "
                "holds both.",
                "## Three readings of binding",
                _READINGS,
                _compare(),
                "## The site",
                "A state with m steroids has its weight multiplied by binom(N, m) (S/K)^m c^-m, where c is that "
                "of its kind (1 for closed states). A step between kinds is multiplied by (c_from/c_to)^m, "
                "of which the share phi speeds entry into the open or desensitized state and the rest "
                "slows the way back. Every mixed cycle stays balanced.",
                _cards(site),
                *notes,
            ]
        )
        + "\n"
    )


def _effects() -> list[list[str]]:
    """One row for each steroid: its numbers, and what it does to the default schemes."""
    rows = []
    schemes = [load_scheme(SYNAPTIC), load_scheme(EXTRASYNAPTIC)]
    plain = [Responses(scheme) for scheme in schemes]
    for name in steroid_names():
        steroid = load_steroid(name)
        level = 1e-7 if steroid.action == "potentiator" else 5e-6
        drugged = [_with(scheme, steroid, level) for scheme in schemes]
        rows.append(
            [
                f"`{name}`",
                steroid.action,
                steroid.status,
                f"{steroid.dissociation_closed_M * 1e6:.3g}",
                f"{steroid.c_open:g} / {steroid.c_desensitized:g}",
                f"{level * 1e6:g}",
                *(
                    f"{d.tonic(2e-7) / p.tonic(2e-7):.2f}"
                    for d, p in zip(drugged, plain, strict=True)
                ),
                f"{drugged[0].pulse.peak / plain[0].pulse.peak:.2f}",
                f"{drugged[0].pulse.decay_s() / plain[0].pulse.decay_s():.2f}",
                f"{drugged[0].tonic(1e-3) / plain[0].tonic(1e-3):.2f}",
            ]
        )
    return rows


_READINGS = """\
- explicit: `scheme.with_steroid(steroid)`; binding and unbinding are steps of the product scheme
- quasi-static: `steroid.quasi_static(scheme, conc_M)`; each channel keeps its number of bound steroids,
  drawn once. Right for runs much shorter than 1 / unbinding rate, at a constant level
- fast: `steroid.fast(scheme, conc_M)`; binding is at equilibrium in every state, and each rate is the
  mean over the bound numbers that the state of departure has. Right when unbinding is faster than
  gating, which no steroid is known to be

The mean number bound never enters a rate: rates are not linear in it. At 100 nM allopregnanolone:"""


def _compare() -> str:
    rows = []
    steroid = load_steroid()
    for name in (SYNAPTIC, EXTRASYNAPTIC):
        scheme = load_scheme(name)
        explicit = _with(scheme, steroid, 1e-7).pulse
        mixture = steroid.quasi_static(scheme, 1e-7)
        each = [Responses(s).pulse for s in mixture.schemes]
        weights = [float(w) for w in mixture.weights]
        frozen = type(explicit)(
            explicit.time_s, sum(w * c.p_open for w, c in zip(weights, each, strict=True))
        )
        fast = Responses(steroid.fast(scheme, 1e-7)).pulse
        for how, curve in (("explicit", explicit), ("quasi-static", frozen), ("fast", fast)):
            rows.append(
                [
                    name,
                    how,
                    three(curve.peak),
                    three(curve.decay_s() * 1e3),
                    three(curve.weighted_decay_s() * 1e3),
                ]
            )
    return table(
        ["scheme", "reading", "pulse peak", "decay to 1/e, ms", "weighted decay, ms"], rows
    )
