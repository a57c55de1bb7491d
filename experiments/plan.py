"""What a run is asked to do: defaults, overrides and the one validation of them."""

import json
import re
import tomllib
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gabatone.experiments.registry import find, nearest
from gabatone.kernels.errors import BadInput

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*")
_STRICT = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class SettingsTable(BaseModel):
    """Base of every settings model and of the tables inside: frozen, strict, no unknown key."""

    model_config = _STRICT


Settings = TypeVar("Settings", bound=SettingsTable)


class Plan(BaseModel, Generic[Settings]):
    """One run as asked for: which experiment, seed, quick or full, and its settings."""

    model_config = _STRICT

    experiment: str
    seed: int = Field(default=0, ge=0, lt=2**32)
    quick: bool = False
    settings: Settings

    def canonical(self) -> dict:
        """Return the plan as JSON-ready data; input files appear by name and content hash."""
        return self.model_dump(mode="json")


def read_plan(name: str, *, seed: int = 0, quick: bool = False, overrides=(), config=None) -> Plan:
    """Build the plan of experiment ``name``.

    Later entries win: the defaults of the catalogue, the experiment's ``QUICK`` (if ``quick``),
    the TOML file ``config``, then each ``"a.b=value"`` of ``overrides``. One validation follows.

    Raises
    ------
    BadInput
        Unknown experiment or key, unreadable file, wrong type, unit or range.
    """
    entry = find(name)
    assignments = [parse_override(text) for text in overrides]
    layers = [(entry.defaults.name, _read_toml(entry.defaults))] if entry.defaults.exists() else []
    given = [(Path(config).name, _read_toml(Path(config)))] if config is not None else []
    module = entry.load()
    if quick:
        layers.append(("quick", _nest(module.QUICK)))
    data, origins = {}, {}
    for origin, table in layers + given:
        _merge(data, table, origin, origins)
    for dotted, value in assignments:
        _assign(data, dotted, value, "--set", origins)
    whole = {"experiment": name, "seed": seed, "quick": quick, "settings": data}
    try:
        return Plan[module.Settings].model_validate_json(json.dumps(whole, default=str))
    except ValidationError as error:
        raise _bad_input(error, module.Settings, origins) from None


def parse_override(text: str) -> tuple[str, object]:
    """Split ``"a.b=value"`` into its dotted key and its value.

    The value is read as TOML (number, true, list, quoted text); what is no TOML value is text,
    so ``rate=60 ug/kg/h`` needs no inner quotes.
    """
    key, equals, value = text.partition("=")
    key, value = key.strip(), value.strip()
    if not equals or _KEY.fullmatch(key) is None:
        raise BadInput("--set", text, "not of the form key=value", "write --set table.key=value")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadInput(
            f"--set {key}", value, "the value is not valid text", "use plain UTF-8"
        ) from None
    try:
        parsed = tomllib.loads(f"value = {value}")
    except (ValueError, RecursionError):
        return key, value
    if set(parsed) != {"value"} or not isinstance(
        parsed["value"], bool | int | float | str | list | dict
    ):
        return key, value
    return key, parsed["value"]


def _read_toml(path: Path) -> dict:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(
            path.name, path.name, f"the file cannot be read ({error.strerror})", "check the path"
        ) from error
    except (ValueError, RecursionError) as error:
        raise BadInput(
            path.name, path.name, f"not valid TOML: {error}", "mend that place of the file"
        ) from error


def _nest(table: dict) -> dict:
    nested: dict = {}
    for key, value in table.items():
        value = _nest(value) if isinstance(value, dict) else value
        _merge(nested, _wrap(key.split("."), value), "quick", {})
    return nested


def _wrap(parts: list, value):
    for part in reversed(parts):
        value = {part: value}
    return value


def _merge(data: dict, table: dict, origin: str, origins: dict, above: str = "") -> None:
    for key, value in table.items():
        dotted = f"{above}{key}"
        if isinstance(value, dict) and isinstance(data.get(key), dict):
            _merge(data[key], value, origin, origins, dotted + ".")
        elif isinstance(value, dict):
            data[key] = {}
            origins[dotted] = origin
            _merge(data[key], value, origin, origins, dotted + ".")
        else:
            data[key] = value
            origins[dotted] = origin


def _assign(data: dict, dotted: str, value, origin: str, origins: dict) -> None:
    *tables, _ = parts = dotted.split(".")
    inner = data
    for depth, part in enumerate(tables):
        inner = inner.get(part, {})
        if not isinstance(inner, dict):
            here = ".".join(parts[: depth + 1])
            raise BadInput(
                f"{origin} {dotted}", value, f"{here} is a value, not a table", f"set {here} itself"
            )
    _merge(data, _wrap(parts, value), origin, origins)


def _bad_input(error: ValidationError, model: type[BaseModel], origins: dict) -> BadInput:
    problems = error.errors(include_url=False)
    first = min(
        problems, key=lambda problem: problem["type"] != "extra_forbidden"
    )  # a misspelt key explains the rest
    where = [str(part) for part in first["loc"]]
    if where[:1] == ["settings"]:
        where = where[1:]
        origin = _origin(where, origins)
        field = f"{origin}: {'.'.join(where)}" if origin else ".".join(where) or "settings"
    else:
        field = "--" + ".".join(where)
    cause, fix = _explain(first, where, model)
    others = len(problems) - 1
    if others:
        cause += f" (and {others} more problem{'s' if others > 1 else ''} in the settings)"
    value = first.get("input")
    if first["type"] == "missing":
        value = None
    return BadInput(field, value, cause, fix)


def _origin(where: list, origins: dict) -> str:
    for end in range(len(where), 0, -1):
        found = origins.get(".".join(where[:end]))
        if found:
            return found
    return ""


def _explain(problem: dict, where: list, model: type[BaseModel]) -> tuple[str, str]:
    kind, context = problem["type"], problem.get("ctx") or {}
    if kind == "extra_forbidden":
        return "no such key", nearest(where[-1], _known_keys(model, where[:-1]))
    if kind == "missing":
        return "the key is missing", f"give --set {'.'.join(where)}=value"
    if kind == "quantity":
        return context["cause"], context["fix"]
    if kind == "literal_error":
        return "not one of the choices", f"use {context['expected']}"
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    bound = kind.startswith(("greater_than", "less_than"))
    fix = "keep to that bound" if bound else "give a value of that kind"
    return message[:1].lower() + message[1:], fix


def _known_keys(model, where: list) -> list[str]:
    for part in where:
        field = getattr(model, "model_fields", {}).get(part)
        model = field.annotation if field else None
    return list(getattr(model, "model_fields", {}))
