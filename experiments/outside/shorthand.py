"""Reads the one-line model notation of the stochastic test suite into a `ReactionNetwork`."""

import re
from dataclasses import dataclass

from gabatone.kernels.engine.network import Reaction, ReactionNetwork
from gabatone.kernels.errors import BadInput

_TERM = re.compile(r"(\d*)\s*([A-Za-z_]\w*)")
_NAME = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True)
class Model:
    """A network and the outputs that are arithmetic of its counts (``{name: expression}``)."""

    network: ReactionNetwork
    rules: dict[str, str]


def read_shorthand(name: str, text: str) -> Model:
    """Read ``@compartments ; Cell ; @species ; Cell:X=100 s ; @parameters ; ...``.

    A species marked ``s`` stands in rates for its count; one without the mark for its count over
    its compartment's size; one marked ``b`` is changed by no reaction. A rate's own parameters
    (``k*X : k=0.1``) hide those of the model. Raises `BadInput` for anything else, such as
    events.
    """
    sections = _sections(name, text)
    sizes = {k: float(v or 1) for k, _, v in (p.partition("=") for p in sections["compartments"])}
    parameters = {k.strip(): float(v) for k, v in (p.split("=") for p in sections["parameters"])}
    rules = {k.strip(): v.strip() for k, v in (p.split("=") for p in sections["rules"])}
    species, amount, boundary, concentration = [], [], [], {}
    for entry in sections["species"]:
        place, rest = entry.split(":")
        label, rest = rest.split("=")
        value, _, marks = rest.strip().partition(" ")
        if label in rules:
            continue
        species.append(label)
        amount.append(int(value))
        if "s" not in marks:
            concentration[label] = f"({label} / {place})"
        if "b" in marks:
            boundary.append(label)
    reactions, own = _reactions(name, sections["reactions"], concentration)
    network = ReactionNetwork(
        tuple(species), tuple(amount), reactions, {**sizes, **parameters, **own}, tuple(boundary)
    )
    return Model(network, rules)


def _sections(name: str, text: str) -> dict[str, list[str]]:
    known = ("compartments", "species", "parameters", "rules", "reactions")
    sections, current = {key: [] for key in known}, None
    for part in (part.strip() for part in text.split(";")):
        if part.startswith("@") and not part.startswith("@r="):
            current = part[1:].strip()
            if current not in known:
                raise BadInput(
                    f"model {name}",
                    part,
                    "this part of the notation is not read",
                    f"use only {', '.join(known)}",
                )
        elif current is None:
            raise BadInput(f"model {name}", part, "stands before any @ part", "begin with @species")
        elif part:
            sections[current].append(part)
    return sections


def _reactions(name: str, entries: list[str], concentration: dict) -> tuple[tuple, dict]:
    reactions, own = [], {}
    if len(entries) % 3:
        raise BadInput(
            f"model {name}", entries, "a reaction has three parts", "give @r=name ; a -> b ; rate"
        )
    for head, change, rate in zip(entries[::3], entries[1::3], entries[2::3], strict=True):
        label = head.removeprefix("@r=")
        rate, *settings = (part.strip() for part in rate.split(":"))
        replaced = dict(concentration)
        for setting in settings:
            key, value = (part.strip() for part in setting.split("="))
            replaced[key] = f"{label}_{key}"
            own[f"{label}_{key}"] = float(value)
        rate = _NAME.sub(lambda match, r=replaced: r.get(match[0], match[0]), rate)
        before, after = change.split("->")
        reactions.append(Reaction(label, _terms(before), _terms(after), rate))
    return tuple(reactions), own


def _terms(side: str) -> tuple[tuple[str, int], ...]:
    found = [_TERM.fullmatch(term.strip()) for term in side.split("+") if term.strip()]
    return tuple((match[2], int(match[1] or 1)) for match in found)
