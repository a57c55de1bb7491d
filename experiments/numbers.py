"""Every number a run rests on, as cards: for the table of defaults in the report."""

from gabatone.experiments.chain import Settings, exposure_numbers
from gabatone.inference.priors import FILE as PRIORS
from gabatone.kernels.body.pharmacokinetics import BREXANOLONE
from gabatone.kernels.card import Card, read_cards
from gabatone.kernels.drive.exposure import EXPOSURE_CARDS
from gabatone.kernels.neuron.cells import cell_cards
from gabatone.kernels.neuron.release import inhibition_cards
from gabatone.kernels.receptor.catalogue import load_scheme
from gabatone.kernels.receptor.scheme import TEMPERATURE_CARDS
from gabatone.kernels.receptor.steroid_catalogue import steroid_cards
from gabatone.kernels.receptor.summary import summarise

_EXPOSURE_UNITS = {
    "weight_kg": "kg",
    "kp_eff": "ratio",
    "local_pool_nM": "nM",
    "unbound_fraction": "fraction",
}
_RECEPTOR_UNITS = {
    "ambient_gaba": "M",
    "cleft_peak": "M",
    "cleft_decay": "s",
    "release_rate": "Hz",
    "temperature": "degC",
}


def cards_of(settings: Settings) -> dict[str, Card]:
    """Name -> card of every number in the chain: body, receptors, neurons, priors, and the user's own."""
    files = {
        "brexanolone": BREXANOLONE,
        "exposure": EXPOSURE_CARDS,
        "temperature": TEMPERATURE_CARDS,
        "prior": PRIORS,
    }
    cards = {
        f"{name}.{key}": card
        for name, path in files.items()
        for key, card in read_cards(path).items()
    }
    cards |= {f"inhibition.{key}": card for key, card in inhibition_cards().items()}
    cards |= {f"cell.{key}": card for key, card in cell_cards(settings.neurons.cell).items()}
    for name in (settings.receptor.synaptic, settings.receptor.extrasynaptic):
        cards |= _scheme_cards(name)
    cards |= _steroid_cards(settings.receptor.steroid)
    cards |= _own(settings)
    return cards


def _scheme_cards(name: str) -> dict[str, Card]:
    facts = summarise(load_scheme(name))
    source = facts["citation"] or facts["where"]
    return {
        f"{facts['key']}.{t['symbol'] or t['from'] + '-' + t['to']}": Card(
            t["symbol"], t["value"], t["unit"], facts["status"], source, facts["species"]
        )
        for t in facts["transitions"]
    }


def _steroid_cards(name: str) -> dict[str, Card]:
    return {f"steroid.{field}": card for field, card in steroid_cards(name).items()}


def _own(settings: Settings) -> dict[str, Card]:
    """Numbers the user set instead of a card."""
    chosen = settings.exposure.model_dump()
    numbers = exposure_numbers(settings.exposure)
    own = {
        f"set.exposure.{name}": (numbers[name], unit)
        for name, unit in _EXPOSURE_UNITS.items()
        if chosen.get(name.removesuffix("_kg").removesuffix("_nM")) is not None
    }
    for name, unit in _RECEPTOR_UNITS.items():
        value = getattr(settings.receptor, name)
        if value is not None:
            own[f"set.receptor.{name}"] = (value, unit)
    for name in ("number", "duration", "discard", "step"):
        own[f"set.neurons.{name}"] = (
            getattr(settings.neurons, name),
            "count" if name == "number" else "s",
        )
    return {
        name: Card(name, float(value), unit, "assumed", "settings of this run", "-")
        for name, (value, unit) in own.items()
    }
