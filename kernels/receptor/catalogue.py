"""Schemes and steroids by name, read from TOML with every check at load."""

import difflib
import math
import tomllib
from functools import cache
from pathlib import Path

import equinox as eqx
import numpy as np

from gabatone.kernels.errors import BadInput
from gabatone.kernels.receptor.names import known
from gabatone.kernels.receptor.reversibility import require_reversible
from gabatone.kernels.receptor.scheme import (
    EQUILIBRIUM,
    KINDS,
    KineticScheme,
    SchemeFacts,
    default_q10,
)
from gabatone.kernels.receptor.steroid_catalogue import load_steroid, site_names, steroid_names
from gabatone.kernels.receptor.temperature import read_enthalpies

__all__ = [
    "incomplete_names",
    "load_incomplete",
    "load_scheme",
    "load_steroid",
    "scheme_names",
    "site_names",
    "steroid_names",
]

_HERE = Path(__file__).parent
_LIST = "`gabatone scheme list`"
_TOP_KEYS = (
    *("key", "name", "citation", "doi", "receptor", "preparation", "temperature", "temperature_C"),
    *(
        "temperature_C_status",
        "species",
        "status",
        "where",
        "notes",
        "conductance_note",
        "n_states",
    ),
    *("initial_state", "states", "transitions", "known_misfits", "steroid_site"),
    *("enthalpy_source", "reversibility", "computed"),
)
_STATE_KEYS = (
    *("name", "kind", "conducting", "conductance_pS", "bound_agonists", "enthalpy_kJ_per_mol"),
)
_EDGE_KEYS = (
    *("from", "to", "value", "unit", "ligand", "factor", "symbol", "q10"),
    "barrier_enthalpy_kJ_per_mol",
)
_UNITS = {"s^-1": False, "M^-1 s^-1": True}


def scheme_names() -> list[str]:
    """Names of the complete schemes of the catalogue."""
    return sorted(p.stem for p in (_HERE / "schemes").glob("*.toml"))


def incomplete_names() -> list[str]:
    """Names of wanted schemes whose rates could not be read in any source."""
    return sorted(p.stem for p in (_HERE / "schemes" / "incomplete").glob("*.toml"))


def load_incomplete(name: str) -> dict:
    """What is known of an incomplete scheme: citation, topology, what was read."""
    known(name, incomplete_names(), "incomplete scheme", listed_by=_LIST)
    return _read_toml(_HERE / "schemes" / "incomplete" / f"{name}.toml")


def load_scheme(name_or_path) -> KineticScheme:
    """A scheme of the catalogue by name, or a user's own from a path that ends in ``.toml``.

    Raises `BadInput`, naming file, field, value and fix, for an unknown name, broken TOML,
    an unknown state, a negative, missing or non-finite rate, a state that nothing reaches,
    a cycle whose ratio is outside 0.95 to 1.05, or temperature keys that are wrong or
    would unbalance a cycle (`gabatone.kernels.receptor.temperature`). A rate of 0 is allowed and said in
    ``facts.warnings``.
    """
    text = str(name_or_path)
    if text.endswith(".toml"):
        return _build(Path(text))
    if text in incomplete_names():
        raise BadInput(
            "scheme",
            text,
            f"listed as incomplete: {load_incomplete(text)['what_is_known']}",
            "choose a complete scheme; no rate is invented here",
        )
    return _catalogued(known(text, scheme_names(), "scheme", listed_by=_LIST))


@cache
def _catalogued(name: str) -> KineticScheme:
    return _build(_HERE / "schemes" / f"{name}.toml")


def _read_toml(path: Path) -> dict:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(
            "scheme file", str(path), "the file cannot be read", "check the path"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(
            path.name, str(error), "the file is not valid TOML", "mend the line it names"
        ) from error


def _build(path: Path) -> KineticScheme:
    data, file = _read_toml(path), path.name
    _refuse_misspelt(file, data, _TOP_KEYS)
    states = _states(file, data.get("states"))
    names = [s["name"] for s in states]
    edges = [_edge(file, names, k, t) for k, t in enumerate(_tables(file, data, "transitions"))]
    seen = {}
    for k, edge in enumerate(edges):
        if edge[:2] in seen:
            raise BadInput(
                f"{file}: transitions[{k}]",
                f"{names[edge[0]]} -> {names[edge[1]]}",
                f"already given as transitions[{seen[edge[:2]]}]",
                "remove one of the two",
            )
        seen[edge[:2]] = k
    initial = data.get("initial_state", names[0])
    if initial != EQUILIBRIUM and initial not in names:
        raise BadInput(
            f"{file}: initial_state",
            initial,
            "not a state of the scheme",
            f"use one of {names} or {EQUILIBRIUM!r}",
        )
    source, target, ligands, value, factor, symbols = zip(*edges, strict=True)
    with np.errstate(divide="ignore"):
        log_rate = np.log(np.array(value)) + np.log(np.array(factor))
    warnings = _reach(file, names, source, target, value, initial)
    facts = _facts(file, data, states, symbols, factor, warnings)
    scheme = KineticScheme(
        log_rate=log_rate,
        conductance_pS=np.array([s["conductance_pS"] for s in states], float),
        name=str(data.get("key", path.stem)),
        states=tuple(names),
        kinds=tuple(s["kind"] for s in states),
        source=source,
        target=target,
        ligands=ligands,
        initial=initial,
        facts=facts,
    )
    if not scheme.open_states:
        raise BadInput(f"{file}: states", names, "no state is open", 'give one state kind = "open"')
    try:
        require_reversible(scheme)
    except BadInput as error:
        where = error.field.removeprefix(f"{scheme.name}: ")
        raise BadInput(f"{file}: {where}", error.value, error.cause, error.fix) from error
    own = read_enthalpies(file, data, names, source, target, facts.temperature_C, default_q10())
    return eqx.tree_at(lambda s: s.enthalpies, scheme, own, is_leaf=lambda x: x is None)


def _tables(file: str, data: dict, key: str) -> list[dict]:
    tables = data.get(key)
    if not isinstance(tables, list) or not tables or not all(isinstance(t, dict) for t in tables):
        raise BadInput(
            f"{file}: {key}",
            tables,
            "missing, empty or not a list of tables",
            f"write [[{key}]] blocks",
        )
    return tables


def _states(file: str, tables) -> list[dict]:
    tables = _tables(file, {"states": tables}, "states")
    out, names = [], set()
    for k, table in enumerate(tables):
        name, kind = table.get("name"), table.get("kind")
        _refuse_misspelt(f"{file}: states[{k}]", table, _STATE_KEYS)
        if not isinstance(name, str) or not name or name in names:
            raise BadInput(
                f"{file}: states[{k}].name",
                name,
                "missing or used twice",
                "give each state its own name",
            )
        if kind not in KINDS:
            raise BadInput(
                f"{file}: states[{k}].kind", kind, "unknown kind of state", f"use one of {KINDS}"
            )
        conductance = _number(
            f"{file}: states[{k}].conductance_pS", table.get("conductance_pS", 0.0)
        )
        if (kind == "open") != (conductance > 0):
            raise BadInput(
                f"{file}: states[{k}].conductance_pS",
                conductance,
                f"a state of kind {kind!r} cannot have this conductance",
                "give open states a positive conductance and the others 0",
            )
        names.add(name)
        out.append(
            {
                "name": name,
                "kind": kind,
                "conductance_pS": conductance,
                "bound_agonists": int(
                    _number(f"{file}: states[{k}].bound_agonists", table.get("bound_agonists", 0))
                ),
            }
        )
    return out


def _edge(file: str, names: list[str], k: int, table: dict) -> tuple:
    where = f"{file}: transitions[{k}]"
    ends = []
    for side in ("from", "to"):
        name = table.get(side)
        if name not in names:
            near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.0)
            raise BadInput(
                f"{where}.{side}",
                name,
                "not a state of the scheme",
                f"use one of {names}" + (f" (nearest: {near[0]})" if near else ""),
            )
        ends.append(names.index(name))
    if ends[0] == ends[1]:
        raise BadInput(where, names[ends[0]], "a transition from a state to itself", "remove it")
    if "value" not in table:
        raise BadInput(
            f"{where}.value", None, "the rate is missing", "give value in the stated unit"
        )
    value = _number(f"{where}.value", table["value"])
    factor = _number(f"{where}.factor", table.get("factor", 1))
    if factor == 0:
        raise BadInput(
            f"{where}.factor",
            factor,
            "a factor of 0 hides a rate",
            "set value = 0 if that is meant",
        )
    ligand, unit = table.get("ligand", ""), table.get("unit")
    for side, text in (("ligand", ligand), ("unit", unit)):
        if not isinstance(text, str):
            raise BadInput(f"{where}.{side}", text, "not a text", 'write it in quotes: "..."')
    _refuse_misspelt(where, table, _EDGE_KEYS)
    if unit not in _UNITS or _UNITS[unit] != bool(ligand):
        raise BadInput(
            f"{where}.unit",
            unit,
            f"does not fit ligand {ligand!r}",
            "use 'M^-1 s^-1' with a ligand and 's^-1' without",
        )
    return (*ends, ligand, value, factor, str(table.get("symbol", "")))


def _number(field: str, value) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadInput(field, value, "not a number", "give a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or number < 0:
        raise BadInput(
            field, number, "negative, NaN or infinite", "give a finite number of 0 or more"
        )
    return number


def _refuse_misspelt(where: str, table: dict, keys: tuple[str, ...]) -> None:
    """`BadInput` for a key that is nearly one of `keys`: it would be passed over in silence."""
    for key in table:
        near = difflib.get_close_matches(key, keys, n=1, cutoff=0.8)
        if key not in keys and near:
            raise BadInput(f"{where}.{key}", table[key], "no such key", f"write {near[0]}")


def _reach(file, names, source, target, value, initial) -> tuple[str, ...]:
    """Warnings for rates of 0; refuses states that no transition at all leads to or away from."""
    zero = [k for k, v in enumerate(value) if v == 0]
    notes = [f"rate {names[source[k]]} -> {names[target[k]]} is 0" for k in zero]
    start = 0 if initial == EQUILIBRIUM else names.index(initial)
    drawn = _reached(start, list(zip(source, target, strict=True)))
    lost = [names[i] for i in range(len(names)) if i not in drawn]
    if lost:
        raise BadInput(
            f"{file}: states",
            lost,
            f"no path of transitions leads there from {names[start]}",
            "add the missing transition or remove the state",
        )
    live = [(i, j) for i, j, v in zip(source, target, value, strict=True) if v > 0]
    notes += [
        f"state {names[i]} is never entered because a rate is 0"
        for i in sorted(drawn - _reached(start, live))
    ]
    home = _reached(0, [(j, i) for i, j in live])
    stuck = [names[i] for i in range(len(names)) if i not in home]
    if stuck:
        notes.append(
            f"no way back to {names[0]} from {', '.join(stuck)}: no steady state is defined"
        )
    return tuple(notes)


def _reached(start: int, edges: list) -> set[int]:
    seen, front = {start}, [start]
    while front:
        i = front.pop()
        for a, b in edges:
            if a == i and b not in seen:
                seen.add(b)
                front.append(b)
    return seen


def _facts(file, data, states, symbols, factors, warnings) -> SchemeFacts:
    text = {
        k: str(data.get(k, ""))
        for k in (
            "citation",
            "doi",
            "receptor",
            "preparation",
            "temperature",
            "species",
            "where",
            "notes",
            "conductance_note",
            "enthalpy_source",
        )
    }
    return SchemeFacts(
        **text,
        status=str(data.get("status", "assumed")),
        steroid_site=known(
            str(data.get("steroid_site", "common")), site_names(), f"{file}: steroid_site"
        ),
        temperature_C=_number(f"{file}: temperature_C", data.get("temperature_C", 23.0)),
        temperature_C_status=str(data.get("temperature_C_status", "assumed")),
        known_misfits=_texts(f"{file}: known_misfits", data.get("known_misfits", [])),
        bound_agonists=tuple(s["bound_agonists"] for s in states),
        symbols=symbols,
        factors=factors,
        warnings=warnings,
    )


def _texts(field: str, value) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise BadInput(field, value, "not a list of texts", 'write ["...", "..."]')
    return tuple(value)
