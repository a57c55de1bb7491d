"""What the scheme commands are given, read once: quantities with units, ligands, output files."""

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from gabatone.experiments import atomic
from gabatone.kernels.errors import BadInput

PULSE_M, PULSE_S = 1e-3, 1e-3  # applied where neither --gaba nor --waveform is given


@cache
def _measures() -> dict:
    from gabatone.experiments.units import Measure

    return {
        "concentration": Measure("concentration", "M", "100 nM", lo=0),
        "time": Measure("time", "s", "1 ms", lo=0),
        "length": Measure("time", "s", "1 ms", lo=0, positive=True),
        "temperature": Measure("temperature", "degC", "34 degC", lo=-273.15),
        "voltage": Measure("voltage", "mV", "-60 mV"),
    }


def quantity(field: str, text: str, kind: str) -> float:
    """Read one quantity in its unit (M, s, degC, mV); `BadInput` names `field`."""
    from pydantic_core import PydanticCustomError

    measure = _measures()[kind]
    bare = kind == "temperature" and _number(text) is not None
    try:
        return measure.read(_number(text) if bare else text)
    except PydanticCustomError as error:
        context = error.context or {}
        fix = f'write a number and a unit, such as "{measure.example}"'
        raise BadInput(field, text, context.get("cause", str(error)), fix) from None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def whole(field: str, text: str) -> int:
    """Read a whole number, also as ``1e6``."""
    number = _number(text)
    if number is None or number != number // 1:
        raise BadInput(field, text, "not a whole number", "write digits, such as 10000 or 1e6")
    return int(text) if text.strip().isdigit() else int(number)


@dataclass(frozen=True)
class Ligand:
    """A steroid by name, and its level in mol/L."""

    name: str
    conc_M: float


def read_steroid(text: str | None) -> Ligand | None:
    """Read ``allopregnanolone=100 nM``."""
    if text is None:
        return None
    name, equals, level = (part.strip() for part in text.partition("="))
    if not equals or not name:
        fix = 'write NAME=LEVEL, such as allopregnanolone="100 nM"'
        raise BadInput("--steroid", text, "not of the form NAME=LEVEL", fix)
    return Ligand(name, quantity("--steroid", level, "concentration"))


def load(name: str, steroid: Ligand | None = None, temperature: str | None = None):
    """Return ``(scheme, background)``: at a temperature, with a steroid whose level is in ``background``."""
    import jax

    jax.config.update("jax_enable_x64", True)
    from gabatone.kernels.receptor.catalogue import load_scheme, load_steroid

    scheme, background = load_scheme(name), {}
    if temperature is not None:
        scheme = scheme.at_temperature(quantity("--temperature", temperature, "temperature"))
    if steroid is not None:
        site = load_steroid(steroid.name, site=scheme.facts.steroid_site)
        scheme, background = scheme.with_steroid(site), {site.ligand: steroid.conc_M}
    return scheme, background


def drive_of(gaba, pulse, start, waveform, background: dict):
    """Return ``(drive, text)`` of the GABA asked for and the constant levels of ``background``."""
    from gabatone.kernels.drive.ligand import Pulse, Tonic, Waveform

    if waveform is not None:
        if gaba is not None or pulse is not None or start is not None:
            raise BadInput(
                "--waveform",
                waveform,
                "GABA is given a second time by --gaba, --pulse or --start",
                "give one of the two",
            )
        drive, text = Waveform.from_csv(waveform), f"GABA from {Path(waveform).name}"
    else:
        conc = PULSE_M if gaba is None else quantity("--gaba", gaba, "concentration")
        begin = 0.0 if start is None else quantity("--start", start, "time")
        if pulse is None and gaba is not None and start is None:
            drive, text = Tonic(conc), f"{conc:g} M GABA throughout"
        else:
            width = PULSE_S if pulse is None else quantity("--pulse", pulse, "length")
            drive = Pulse(conc, begin, begin + width)
            text = f"{conc:g} M GABA from {begin:g} to {begin + width:g} s"
    for ligand, level in background.items():
        drive, text = drive + Tonic(level, ligand), f"{text}; {level:g} M {ligand}"
    return drive, text


@dataclass(frozen=True)
class Target:
    """A file to be written, with its kind by suffix."""

    path: Path
    kind: str

    def write(self, write) -> None:
        """Let ``write(path)`` fill the file or folder; it appears whole or not at all."""
        put = atomic.replace_folder if self.kind == "zarr" else atomic.replace_file
        try:
            put(self.path, write)
        except OSError as error:
            cause = f"cannot be written ({error.strerror or error})"
            raise BadInput("--out", str(self.path), cause, "choose another place") from error


def target(out: str | None, kinds: tuple[str, ...], overwrite: bool) -> Target | None:
    """Look at ``--out`` before anything is computed: its suffix, and that nothing is there."""
    if out is None:
        return None
    path, kind = Path(out), Path(out).suffix.lstrip(".").lower()
    names = ", ".join(f".{kind}" for kind in kinds)
    if kind not in kinds:
        raise BadInput("--out", out, "the kind of file is not known", f"end its name in {names}")
    try:
        there, folder = path.exists() or path.is_symlink(), path.is_dir()
        foreign = folder and any(path.iterdir()) and not (path / "zarr.json").is_file()
        path.parent.mkdir(parents=True, exist_ok=True)
        writable = os.access(path.parent, os.W_OK)
    except (OSError, ValueError) as error:
        cause = f"cannot be written ({getattr(error, 'strerror', None) or error})"
        raise BadInput("--out", out[:200], cause, "choose another place") from None
    if not writable:
        raise BadInput("--out", out, "the folder cannot be written to", "choose another place")
    if there and not overwrite:
        fix = "choose another name, or add --overwrite"
        raise BadInput("--out", out, "exists already", fix)
    if there and folder != (kind == "zarr"):
        raise BadInput("--out", out, "is a folder" if folder else "is a file", "rename it")
    if foreign:
        raise BadInput("--out", out, "a folder with other things in it", "choose another name")
    return Target(path, kind)


def write_table(path: Path, columns: dict, notes: dict) -> None:
    """Write ``{name: values}`` as CSV below comment lines of ``notes``."""
    import csv

    with path.open("w", newline="", encoding="utf-8") as handle:
        for key, value in notes.items():
            handle.write(f"# {key}: {' '.join(str(value).split())}\n")
        writer = csv.writer(handle)
        writer.writerow(columns)
        for row in zip(*columns.values(), strict=True):
            writer.writerow([f"{float(cell):.9g}" for cell in row])


def save_figure(path: Path, figure) -> None:
    """Write a figure as PNG without a date in it."""
    figure.savefig(path, format="png", dpi=110, metadata={"Software": None})
