"""The arrows from dose to symptom, each one plain function of the one before.

dose -> plasma -> effect site -> receptor kinetics -> conductance -> firing -> HAM-D. Nothing
here decides a number: settings and cards do.
"""

from typing import Annotated, Literal

import equinox as eqx
import jax
import numpy as np
from pydantic import Field

from gabatone.experiments.plan import SettingsTable
from gabatone.experiments.units import (
    ConcentrationM,
    ConcentrationNM,
    FrequencyHz,
    InputFile,
    RateUgPerKgPerH,
    TemperatureC,
    TimeH,
    TimeS,
    WeightKg,
)
from gabatone.inference.evidence.loader import REGIMENS, Trials, load_trials
from gabatone.inference.study import Study, build_study, time_grid
from gabatone.kernels.body.dosing import Schedule, load_schedule
from gabatone.kernels.body.pharmacokinetics import load_brexanolone_population
from gabatone.kernels.card import read_cards
from gabatone.kernels.drive.exposure import EXPOSURE_CARDS, Exposure, expose
from gabatone.kernels.engine.channels import Channels
from gabatone.kernels.engine.master import Master
from gabatone.kernels.errors import BadInput
from gabatone.kernels.neuron.population import Population, load_population
from gabatone.kernels.neuron.release import Inhibition, load_inhibition
from gabatone.kernels.neuron.transfer import FiringTable, build_transfer, tabulate_firing
from gabatone.kernels.receptor.catalogue import load_scheme, load_steroid


class DoseSettings(SettingsTable):
    """Which infusion to show in detail: a regimen of the trials, or a constant rate of your own."""

    regimen: str
    rate: RateUgPerKgPerH | None = None
    duration: TimeH = 60.0


class ExposureSettings(SettingsTable):
    """Overrides of the exposure cards; None takes the card."""

    weight: WeightKg | None = None
    kp_eff: Annotated[float, Field(ge=0)] | None = None
    local_pool: ConcentrationNM | None = None
    unbound_fraction: Annotated[float, Field(ge=0, le=1)] | None = None


class ReceptorSettings(SettingsTable):
    """Schemes, steroid and surroundings of the receptors."""

    synaptic: str
    extrasynaptic: str
    steroid: str
    temperature: TemperatureC
    engine: Literal["channels", "master"]
    shown: Annotated[int, Field(ge=1)]
    ambient_gaba: ConcentrationM | None = None
    cleft_peak: ConcentrationM | None = None
    cleft_decay: TimeS | None = None
    release_rate: FrequencyHz | None = None


class NeuronSettings(SettingsTable):
    """The simulated neurons and the steroid levels at which their firing is tabulated."""

    cell: str
    number: Annotated[int, Field(ge=1)]
    duration: TimeS
    discard: TimeS
    step: TimeS
    # the smooth table has six coefficients
    levels: Annotated[tuple[ConcentrationNM, ...], Field(min_length=6)]


class FitSettings(SettingsTable):
    """Sampler effort and, if wanted, a trial table of your own."""

    warmup: Annotated[int, Field(ge=1)]
    samples: Annotated[int, Field(ge=8)]
    chains: Annotated[int, Field(ge=1)]
    inferred_times: bool
    trials: InputFile | None = None


class Settings(SettingsTable):
    """Everything a user may set of the brexanolone experiment."""

    dose: DoseSettings
    exposure: ExposureSettings = ExposureSettings()
    receptor: ReceptorSettings
    neurons: NeuronSettings
    fit: FitSettings


class Tissue(eqx.Module):
    """Receptors and neurons that the steroid meets, and what it is called there."""

    inhibition: Inhibition
    population: Population
    ligand: str = eqx.field(static=True)


def exposure_numbers(settings: ExposureSettings) -> dict:
    """Weight, Kp_eff, local pool and unbound fraction: the settings', else the cards'."""
    cards, women = read_cards(EXPOSURE_CARDS), load_brexanolone_population()
    chosen = {
        "weight_kg": settings.weight,
        "kp_eff": settings.kp_eff,
        "local_pool_nM": settings.local_pool,
        "unbound_fraction": settings.unbound_fraction,
    }
    defaults = {
        "weight_kg": float(women.reference_weight_kg),
        "kp_eff": cards["kp_eff"].value,
        "local_pool_nM": cards["local_pool"].value,
        "unbound_fraction": cards["unbound_fraction"].value,
    }
    return {name: defaults[name] if value is None else value for name, value in chosen.items()}


def shown_schedule(settings: DoseSettings) -> Schedule:
    """The infusion shown in detail."""
    if settings.rate is None:
        return load_schedule(settings.regimen)
    return Schedule("own", [0.0], [settings.duration], [settings.rate])


def exposure_of(schedule: Schedule, settings: ExposureSettings, time_h) -> Exposure:
    """Plasma, effect-site and free concentration of a typical woman over `time_h`."""
    women, numbers = load_brexanolone_population(), exposure_numbers(settings)
    return expose(
        women.typical(numbers["weight_kg"]),
        schedule,
        time_h=time_h,
        molar_mass_g_per_mol=women.molar_mass_g_per_mol,
        **numbers,
    )


def build_tissue(settings: Settings) -> Tissue:
    """Product schemes at temperature, receptors of a neuron, and the neurons."""
    receptor, neurons = settings.receptor, settings.neurons
    if neurons.duration <= neurons.discard:
        raise BadInput(
            "neurons.duration",
            neurons.duration,
            f"not longer than neurons.discard = {neurons.discard:g} s, so no spike would be counted",
            "simulate for longer or discard less",
        )
    if np.any(np.diff(neurons.levels) <= 0):
        raise BadInput(
            "neurons.levels",
            list(neurons.levels),
            "not increasing",
            "give at least six different levels (nM) in order, from 0 to above the plateau",
        )
    steroid = load_steroid(receptor.steroid)
    synaptic, extrasynaptic = (
        _with_steroid(load_scheme(name).at_temperature(receptor.temperature), receptor.steroid)
        for name in (receptor.synaptic, receptor.extrasynaptic)
    )
    changes = {
        "ambient_M": receptor.ambient_gaba,
        "cleft_peak_M": receptor.cleft_peak,
        "cleft_decay_s": receptor.cleft_decay,
        "release_rate_Hz": receptor.release_rate,
    }
    inhibition = load_inhibition(
        synaptic, extrasynaptic, **{k: v for k, v in changes.items() if v is not None}
    )
    return Tissue(
        inhibition, load_population(settings.neurons.cell, settings.neurons.number), steroid.ligand
    )


def engine_of(settings: Settings):
    """The engine that the settings name."""
    return {"channels": Channels(), "master": Master()}[settings.receptor.engine]


def tabulate(key, tissue: Tissue, settings: Settings, progress=None) -> FiringTable:
    """Firing of the neurons at the settings' steroid levels, from individual channels."""
    neurons = settings.neurons
    return tabulate_firing(
        key,
        tissue.inhibition,
        tissue.population,
        tissue.ligand,
        1e-9 * np.asarray(neurons.levels),
        duration_s=neurons.duration,
        step_s=neurons.step,
        discard_s=neurons.discard,
        engine=engine_of(settings),
        progress=progress,
    )


def build_chain_study(
    tissue: Tissue, table: FiringTable, trials: Trials, settings: Settings, **regimens
) -> Study:
    """Join exposure of every regimen with the neurons' answer to it; `regimens` replaces schedules."""
    numbers = exposure_numbers(settings.exposure)
    schedules = {name: regimens.get(name) or load_schedule(name) for name in REGIMENS}
    visits = [row.time_h for row in trials.rows]
    grid = time_grid(
        np.unique(np.concatenate([s.breaks_h for s in schedules.values()])), visits, max(visits)
    )
    plasma = {
        name: np.asarray(exposure_of(schedule, settings.exposure, grid).plasma_nM)
        for name, schedule in schedules.items()
    }
    transfer = build_transfer(
        tissue.inhibition, tissue.ligand, numbers["local_pool_nM"] * 1e-9, table
    )
    return build_study(grid, plasma, transfer, numbers["local_pool_nM"])


def read_trials(settings: FitSettings) -> Trials:
    """The shipped trial table, or the user's."""
    return load_trials(settings.trials, inferred_times=settings.inferred_times)


def stage_key(seed: int, name: str):
    """Key of a named stage: the same whatever other stages exist."""
    return jax.random.fold_in(
        jax.random.key(seed), int.from_bytes(name.encode()[:4].ljust(4, b"_"))
    )


def _with_steroid(scheme, name: str):
    """The scheme with the steroid at the site that its file names."""
    return scheme.with_steroid(load_steroid(name, site=scheme.facts.steroid_site))
