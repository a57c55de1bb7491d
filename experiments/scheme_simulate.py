"""``gabatone scheme simulate`` and ``dose-response``: one scheme under one protocol."""

from dataclasses import dataclass

import numpy as np

from gabatone.experiments import progress as bars
from gabatone.experiments import scheme_inputs as read
from gabatone.kernels.errors import BadInput

ENGINES = ("auto", "channels", "counts", "grid", "master", "langevin")
KINDS = ("csv", "nc", "zarr", "png")
DOSES_M = np.geomspace(1e-8, 1e-1, 57)


@dataclass(frozen=True)
class Simulated:
    """A trace, what was asked for, and its current where a holding potential was given."""

    trace: object
    notes: dict
    current_pA: np.ndarray | None

    def summary(self) -> dict:
        """Peak, its time and the last value of the open probability, beside the notes."""
        time, opened = np.asarray(self.trace.time_s), np.asarray(self.trace.open_probability)
        top = int(opened.argmax())
        found = {
            **self.notes,
            "peak_open_probability": float(opened[top]),
            "peak_time_s": float(time[top]),
            "last_open_probability": float(opened[-1]),
            "samples": len(time),
        }
        if self.trace.certificate is not None:
            found["certificate"] = self.trace.certificate.summary()
        if self.current_pA is not None:
            found["extreme_current_pA"] = float(self.current_pA[np.argmax(np.abs(self.current_pA))])
        return found


def simulated(
    name: str,
    *,
    gaba=None,
    pulse=None,
    start=None,
    waveform=None,
    steroid=None,
    temperature=None,
    t1="200 ms",
    save="0.1 ms",
    n="10000",
    engine="auto",
    dt=None,
    seed="0",
    holding=None,
    reversal="0 mV",
    quiet=False,
) -> Simulated:
    """Simulate as the command line asks, every argument in its text form."""
    scheme, background = read.load(name, read.read_steroid(steroid), temperature)
    drive, text = read.drive_of(gaba, pulse, start, waveform, background)
    t1_s, save_s = (
        read.quantity("--t1", t1, "length"),
        read.quantity("--save", save, "length"),
    )
    if save_s > t1_s:
        fix = f"give at most {t1_s:g} s, or a longer --t1"
        raise BadInput("--save", save, f"longer than the simulation of {t1_s:g} s", fix)
    number, chosen_seed = read.whole("--n", n), read.whole("--seed", seed)
    if not 0 <= chosen_seed < 2**32:
        raise BadInput("--seed", seed, "out of range", "give a whole number from 0 to 4294967295")
    volts, reversal_mV = None, read.quantity("--reversal", reversal, "voltage")
    if holding is not None:
        volts = [read.quantity("--holding", holding, "voltage"), reversal_mV]
    elif reversal_mV != 0:
        fix = "add --holding, or leave --reversal out"
        raise BadInput("--reversal", reversal, "no current is asked for", fix)
    trace = _run(scheme, drive, engine, dt, number, t1_s, save_s, chosen_seed, quiet)
    notes = {
        "scheme": scheme.name,
        "protocol": text,
        "temperature_C": scheme.facts.temperature_C,
        "engine": trace.engine,
        "channels": number,
        "t1_s": t1_s,
        "save_s": save_s,
        "seed": chosen_seed,
    }
    if volts is None:
        return Simulated(trace, notes, None)
    notes |= {"holding_mV": volts[0], "reversal_mV": volts[1]}
    return Simulated(trace, notes, np.asarray(trace.current_pA(*volts)))


def _run(scheme, drive, engine, dt, n, t1_s, save_s, seed, quiet):
    import jax

    from gabatone.kernels.engine.simulate import simulate

    bar = bars.Guarded(bars.choose(quiet))
    bar.init(f"{scheme.name}, {n} channels", max(n, 1))
    seen = [0]

    def told(done, _):
        bar.step(done - seen[0])
        seen[0] = done

    try:
        chosen = engine_of(engine, dt, n, told)
        key = jax.random.key(seed)
        return simulate(key, scheme, drive, engine=chosen, n=n, t1_s=t1_s, save_s=save_s)
    finally:
        bar.close_all()


def engine_of(name: str, dt: str | None, n: int, progress=None):
    """Return the engine by name; ``--dt`` is needed by, and only allowed for, those that step."""
    if name not in ENGINES:
        raise BadInput(
            "--engine", name, "no engine of that name", f"use one of {', '.join(ENGINES)}"
        )
    if (dt is not None) != (name in ("grid", "langevin")):
        if dt is None:
            fix = 'add --dt, such as --dt "10 us"'
            raise BadInput("--engine", name, "it moves in steps whose length is not given", fix)
        raise BadInput("--dt", dt, f"engine {name} has no steps", "leave --dt out")
    if name in ("auto", "channels"):
        from gabatone.kernels.engine.channels import Channels
        from gabatone.kernels.engine.simulate import COUNTS_PAY_ABOVE

        if name == "auto" and n > COUNTS_PAY_ABOVE:
            return "auto"
        return Channels(progress=progress)
    if name == "counts":
        from gabatone.kernels.engine.counts import Counts

        return Counts()
    if name == "master":
        from gabatone.kernels.engine.master import Master

        return Master()
    step = read.quantity("--dt", dt, "length")
    if name == "grid":
        from gabatone.kernels.engine.grid import Grid

        return Grid(step, progress=progress)
    from gabatone.kernels.engine.langevin import Langevin

    return Langevin(step)


def save(found: Simulated, target) -> None:
    """Write a simulation as the target's kind."""
    writers = {"csv": _write_csv, "nc": _write_netcdf, "zarr": _write_zarr, "png": _write_png}
    target.write(lambda path: writers[target.kind](path, found))


def _write_csv(path, found: Simulated) -> None:
    trace = found.trace
    columns = {
        "time_s": trace.time_s,
        "open_probability": np.asarray(trace.open_probability),
        "conductance_pS": np.asarray(trace.conductance_S) * 1e12,
    }
    if found.current_pA is not None:
        columns["current_pA"] = found.current_pA
    occupancy = np.asarray(trace.occupancy)
    columns |= {state: occupancy[:, k] for k, state in enumerate(trace.scheme.states)}
    read.write_table(path, columns, found.notes)


def _dataset(found: Simulated):
    data = found.trace.to_xarray()
    if found.current_pA is not None:
        data["current"] = (("time",), found.current_pA, {"units": "pA"})
    # text of fixed width has no place in the Zarr standard
    names = np.array(found.trace.scheme.states, dtype=object)
    return data.assign_coords(state=("state", names)).assign_attrs(found.notes)


def _write_netcdf(path, found: Simulated) -> None:
    _dataset(found).to_netcdf(path, engine="h5netcdf")


def _write_zarr(path, found: Simulated) -> None:
    _dataset(found).to_zarr(path, mode="w", zarr_format=3, consolidated=False)


def _write_png(path, found: Simulated) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    trace, current = found.trace, found.current_pA
    opened, time = np.asarray(trace.open_probability), np.asarray(trace.time_s) * 1e3
    axis = figure.subplots()
    axis.plot(time, opened if current is None else current, color="#c8442f", lw=0.9)
    axis.set(
        title=f"{found.notes['scheme']}: {found.notes['protocol']}",
        xlabel="ms",
        ylabel="open probability" if current is None else "current, pA",
    )
    axis.title.set_fontsize("small")
    read.save_figure(path, figure)


@dataclass(frozen=True)
class Doses:
    """Open probability against GABA [dose], and what summarises it."""

    notes: dict
    conc_M: np.ndarray
    step_peak: np.ndarray
    pulse_peak: np.ndarray
    steady: np.ndarray

    def columns(self) -> dict:
        """The table by column."""
        return {
            "gaba_uM": self.conc_M * 1e6,
            "step_peak": self.step_peak,
            "pulse_peak": self.pulse_peak,
            "steady": self.steady,
        }

    def summary(self) -> list[dict]:
        """Largest response, EC50 and Hill slope of each column."""
        what = {
            "step_peak": "peak of a 500 ms step",
            "pulse_peak": "peak of a 1 ms pulse",
            "steady": "equilibrium",
        }
        return [
            {"response": text, **midpoint(self.conc_M, getattr(self, name))}
            for name, text in what.items()
        ]


def midpoint(conc_M, response) -> dict:
    """``most``, ``ec50_uM`` and ``hill`` of a rising curve; None where the doses do not reach it.

    EC50 is where the response has gone half the way from the lowest dose to its largest value, by
    interpolation in log concentration; the slope is ``log 16 / log(EC80 / EC20)``.
    """
    conc, response = np.asarray(conc_M, float), np.asarray(response, float)
    top, least = int(response.argmax()), float(response[0])
    rise = (response[: top + 1] - least) / max(response[top] - least, 1e-300)
    found = {"least": least, "most": float(response[top]), "ec50_uM": None, "hill": None}
    if top == 0 or np.any(np.diff(rise) < -1e-9):
        return found
    # a curve that is flat at its ends has its values there once
    once = np.concatenate([[True], np.diff(np.maximum.accumulate(rise)) > 0])
    log_c = np.log(conc[: top + 1])
    low, half, high = np.exp(np.interp([0.2, 0.5, 0.8], rise[once], log_c[once]))
    return found | {
        "ec50_uM": float(half * 1e6),
        "hill": float(np.log(16.0) / np.log(high / low)),
    }


def doses_of(name: str, *, gaba=(), steroid=None, temperature=None) -> Doses:
    """Dose-response of a scheme at given concentrations, or at the standard ones."""
    from gabatone.experiments.outside.curves import PULSE_TIME_S, STEP_TIME_S
    from gabatone.kernels.receptor.spectral import dose_response

    conc = np.array([read.quantity("--gaba", text, "concentration") for text in gaba])
    if len(conc) and (np.any(conc <= 0) or np.any(np.diff(conc) <= 0)):
        raise BadInput("--gaba", list(gaba), "not rising from above 0", "give rising doses")
    conc = conc if len(conc) else DOSES_M
    ligand = read.read_steroid(steroid)
    scheme, background = read.load(name, ligand, temperature)
    found = dose_response(
        scheme, conc, background_M=background, step_time_s=STEP_TIME_S, pulse_time_s=PULSE_TIME_S
    )
    notes = {"scheme": scheme.name, "temperature_C": scheme.facts.temperature_C}
    notes |= {f"{key}_M": level for key, level in background.items()}
    return Doses(
        notes, conc, *(np.asarray(found[k]) for k in ("step_peak", "pulse_peak", "steady"))
    )


def draw_doses(path, doses: Doses) -> None:
    """Draw the three curves over log concentration."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axis = figure.subplots()
    for (name, colour), entry in zip(
        (("step_peak", "#c8442f"), ("pulse_peak", "#e59a2f"), ("steady", "#5b6770")),
        doses.summary(),
        strict=True,
    ):
        label = entry["response"]
        if entry["ec50_uM"] is not None:
            label += f": EC50 {entry['ec50_uM']:.3g} uM"
        axis.plot(doses.conc_M * 1e6, getattr(doses, name), color=colour, label=label)
    axis.set(
        xscale="log", xlabel="GABA, uM", ylabel="open probability", title=doses.notes["scheme"]
    )
    axis.legend(frameon=False, fontsize="small")
    read.save_figure(path, figure)
