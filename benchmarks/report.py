"""From seconds to rates and ratios, and to Markdown."""

import numpy as np
from benchmarks import job as j1

OURS = ("Channels", "Counts")
# ratios worth a line of their own: (label, numerator, denominator, by what)
PAIRS = (
    ("smooth drive over constant, channel-steps/s", "Channels, smooth drive", "Channels", "steps"),
    ("smooth drive over constant, true events/s", "Channels, smooth drive", "Channels", "events"),
    ("two cores over one, wall clock", "Channels, two cores", "Channels", "wall"),
    ("without certificate over with", "Channels, no certificate", "Channels", "steps"),
)


def summary(methods, left_out: dict, means: dict, events: dict, rounds: int) -> dict:
    """One entry for each method, and the ratios taken within rounds."""
    needed = {name: j1.channels_for_error(mean) for name, mean in means.items()}
    timed = [method for method in methods if method.name not in left_out]
    rows, references, rates = {}, {}, {}
    for method in timed:
        row = _row(method)
        if method.peer.law == "deterministic":
            references[method.name] = row | {"largest_error": method.worst_z}
            continue
        per_run, seconds = _rates(method)
        rates[method.name] = per_run
        median = float(np.median(seconds))
        runs = needed[method.peer.drive] / method.n
        rows[method.name] = {
            **row,
            "channel_steps_per_s": float(np.median(per_run["main"])),
            "events_per_s": events[method.peer.drive] * method.n / median,
            "time_to_standard_error_s": (max(1.0, runs) if method.name == "Counts" else runs)
            * median,
            "worst_z": method.worst_z,
        }
    gain = events["decay"] / events["pulse"]
    return {
        "job": _job(events, rounds),
        "methods": rows,
        "references": references,
        "left_out": left_out,
        "ratios": _ratios(rates),
        "pairs": _pairs(rates, gain),
        "channels_for_standard_error": needed["pulse"],
        "seconds": {m.name: {"cpu_s": m.cpu_s, "wall_s": m.wall_s} for m in timed},
    }


def _job(events: dict, rounds: int) -> dict:
    return {
        "name": "J1",
        "scheme": j1.SCHEME,
        "start": j1.START,
        "pulse_M": j1.PEAK_M,
        "pulse_s": j1.PULSE_S,
        "decay_s": j1.DECAY_S,
        "stop_s": j1.STOP_S,
        "step_s": j1.STEP_S,
        "steps": j1.STEPS,
        "events_per_channel": events["pulse"],
        "events_per_channel_decay": events["decay"],
        "rounds": rounds,
    }


def _row(method) -> dict:
    cpu = np.array(method.cpu_s)
    built = method.prepare_cpu_s + max(0.0, method.first_cpu_s - float(np.median(cpu)))
    return {
        "what": method.peer.what,
        "law": method.peer.law,
        "channels": method.n,
        "cores": method.cores,
        "cpu_s": float(np.median(cpu)),
        "cpu_s_quartiles": [float(q) for q in np.quantile(cpu, (0.25, 0.75))],
        "wall_s": float(np.median(method.wall_s)),
        "build_and_compile_cpu_s": built,
        "peak_MiB": method.peak_MiB,
    }


def _rates(method) -> tuple[dict, np.ndarray]:
    """Channel-steps per second of every round: by processor, by wall, and the one that is shown."""
    cpu, wall = np.array(method.cpu_s), np.array(method.wall_s)
    steps = method.n * j1.STEPS
    main = wall if method.cores > 1 else cpu
    return {"main": steps / main, "wall": steps / wall}, main


def _spread(ratio: np.ndarray) -> list[float]:
    return [float(value) for value in (ratio.min(), np.median(ratio), ratio.max())]


def _ratios(rates: dict) -> dict:
    return {
        f"{ours} / {name}": _spread(rates[ours]["main"] / rate["main"])
        for ours in OURS
        if ours in rates
        for name, rate in rates.items()
        if not name.startswith(OURS)
    }


def _pairs(rates: dict, gain: float) -> dict:
    found = {}
    for label, above, below, by in PAIRS:
        if above in rates and below in rates:
            kind = "wall" if by == "wall" else "main"
            ratio = rates[above][kind] / rates[below][kind]
            found[label] = _spread(ratio * (gain if by == "events" else 1.0))
    return found


def markdown(result: dict) -> str:
    """The tables, ready for a page."""
    job = result["job"]
    lines = [
        f"{job['events_per_channel']:.2f} state changes in each channel; "
        f"{result['channels_for_standard_error']:,} channels for a standard error of "
        f"{j1.WANTED_ERROR:g}; {job['rounds']} rounds.",
        "",
        "| method | channel-steps/s | events/s | s to SE 1e-4 | `Channels` is faster by: median "
        "(min to max) | build, s | channels in a run | cpu s | wall s | what it is |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in result["methods"].items():
        cells = (
            f"`{name}`",
            f"{row['channel_steps_per_s']:.3g}",
            f"{row['events_per_s']:.3g}",
            f"{row['time_to_standard_error_s']:.3g}",
            _shown(result["ratios"].get(f"Channels / {name}"), " x"),
            f"{row['build_and_compile_cpu_s']:.1f}",
            f"{row['channels']:,}",
            f"{row['cpu_s']:.3f}",
            f"{row['wall_s']:.3f}",
            row["what"] + ("" if row["law"] == "exact" else f" ({row['law']})"),
        )
        lines.append("| " + " | ".join(cells) + " |")
    for name, row in result["references"].items():
        lines.append(
            f"\n`{name}` ({row['what']}; deterministic, so no channels) takes {row['cpu_s']:.4f} s and "
            f"is off by {row['largest_error']:.1e} in open probability at most."
        )
    lines += ["", "| ratio | median (min to max) |", "|---|---|"]
    lines += [f"| {label} | {_shown(ratio)} |" for label, ratio in result["pairs"].items()]
    if result["sizes"]:
        lines += [
            "",
            "| `Channels` at | ns per channel | peak of the process, MiB |",
            "|---|---|---|",
        ]
        lines += [
            f"| {row['channels']:,} | {row['ns_per_channel']:.1f} | {row['peak_MiB']:.0f} |"
            for row in result["sizes"]
        ]
    lines += [f"\nLeft out: `{name}`: {why}." for name, why in result["left_out"].items()]
    return "\n".join(lines)


def _shown(ratio, unit: str = "") -> str:
    return f"{ratio[1]:.3g}{unit} ({ratio[0]:.3g} to {ratio[2]:.3g})" if ratio else ""
