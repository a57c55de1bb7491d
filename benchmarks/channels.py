"""Job J1: a 1 ms pulse of GABA on many channels; exact engines against NumPy and numba.

Scheme jones_westbrook_1995 from C0, 1 mM GABA from 0 to 1 ms and none after, 200 ms, output the
summed open count at each 0.1 ms. A channel-step is one channel over 0.1 ms, whatever a method does
inside. All methods run on one pinned core, one after the other in every round; compilation is timed
apart. Rates and ratios use processor seconds of the process, which other users of the core do not
stretch; wall seconds stand beside them. Before any timing, and again over all timed runs, each
method must agree with `Master` within its statistical error.

    python benchmarks/channels.py --json FILE
"""

import argparse
import json
import math
import os
import sys
import time
from pathlib import Path

from machine import command, describe, pin

SCHEME, START = "jones_westbrook_1995", "C0"
PEAK_M, PULSE_S, STOP_S, STEP_S = 1e-3, 1e-3, 0.2, 1e-4
STEPS = round(STOP_S / STEP_S)
WANTED_ERROR = 1e-4  # standard error of the open probability where it is largest
FALSE_ALARM = 1e-6  # chance that the comparison with Master stops a correct run
COUNTS_CHANNELS = 25_000_000  # Counts deals any number in the same time: enough for that error
PLAIN, BEST = "numpy_every_channel", "numpy_movers_only"


def job_scheme():
    from gabatone import Pulse, load_scheme

    return load_scheme(SCHEME), Pulse(PEAK_M, 0.0, PULSE_S)


def generators(scheme) -> list:
    return [scheme.generator({"GABA": conc}) for conc in (PEAK_M, 0.0)]


def our_engine(engine, scheme, drive):
    """A function (seed, n) -> summed open count [time] through the public `simulate`."""
    import jax
    import numpy as np

    from gabatone import simulate

    def run(seed: int, n: int):
        key = jax.random.key(seed)
        trace = simulate(
            key, scheme, drive, engine=engine, n=n, t1_s=STOP_S, save_s=STEP_S, p0=START
        )
        return np.asarray(trace.open_count)

    return run


def methods(sizes: dict, scheme, drive) -> dict:
    """Name -> (run(seed, n), n); numba only where it is installed."""
    from grid_numpy import GridJob, every_channel, movers_only

    from gabatone import Channels, Counts

    start = scheme.states.index(START)
    pair = generators(scheme)
    grid = GridJob(pair, scheme.is_open, start, STEP_S, round(PULSE_S / STEP_S), STEPS)
    found = {
        "Channels": our_engine(Channels(), scheme, drive),
        "Counts": our_engine(Counts(), scheme, drive),
        PLAIN: lambda seed, n: every_channel(grid, seed, n),
        BEST: lambda seed, n: movers_only(grid, seed, n),
    }
    try:
        from events_numba import event_tables, open_counts
    except ModuleNotFoundError:
        print("numba is not installed: its peer is left out", file=sys.stderr)
    else:
        import numpy as np

        tables, stops = event_tables(pair), np.array([PULSE_S, STOP_S])
        found["numba_events"] = lambda seed, n: open_counts(
            seed, n, *tables, scheme.is_open, start, stops, STEP_S, STEPS
        )
    return {name: (run, sizes[name]) for name, run in found.items()}


def mean_open(scheme, drive):
    """Exact open probability [time] by `Master`."""
    import numpy as np

    from gabatone import Master

    return np.asarray(our_engine(Master(), scheme, drive)(0, 1), np.float64)


def events_per_channel(scheme) -> float:
    """Expected number of state changes of one channel: rates times the exact time in each state."""
    import numpy as np
    from scipy.linalg import expm

    n = scheme.n_states
    p = np.eye(n)[scheme.states.index(START)]
    events = 0.0
    for q, length in zip(generators(scheme), (PULSE_S, STOP_S - PULSE_S), strict=True):
        q = np.asarray(q, np.float64)
        block = np.zeros((2 * n, 2 * n))
        block[:n, :n], block[:n, n:] = q, np.eye(n)
        whole = expm(block * length)
        events -= p @ whole[:n, n:] @ np.diag(q)
        p = p @ whole[:n, :n]
    return float(events)


def require_agreement(name: str, opened, n: int, mean, checks: int) -> float:
    """Worst |z| of the open count against the mean over a few spread times; stops if it is too large."""
    import numpy as np
    from scipy.stats import norm

    at = np.unique(np.geomspace(2, STEPS, 12).astype(int))
    deviation = np.asarray(opened, np.float64)[at] / n - mean[at]
    worst = float(np.max(np.abs(deviation) / np.sqrt(mean[at] * (1 - mean[at]) / n)))
    bound = float(norm.isf(FALSE_ALARM / checks / len(at) / 2))
    if not worst <= bound:
        raise SystemExit(f"{name} disagrees with Master: |z| = {worst:.2f} > {bound:.2f}")
    return worst


def warm(found: dict, mean, runs: int = 3) -> dict:
    """Compile every method, then hold a few runs of it to `Master`; exit code 1 if one is off."""
    report = {}
    for name, (run, n) in found.items():
        begin = time.process_time()
        total = run(10_000, n)
        first_s = time.process_time() - begin
        total = total + sum(run(10_000 + k, n) for k in range(1, runs))
        worst = require_agreement(name, total, runs * n, mean, 2 * len(found))
        report[name] = {"first_call_cpu_s": first_s, "worst_z_before": worst}
    return report


def time_rounds(found: dict, rounds: int, mean) -> dict:
    """Wall and processor seconds of every method in every round, the order turning."""
    names = list(found)
    wall, cpu = {name: [] for name in names}, {name: [] for name in names}
    totals = dict.fromkeys(names, 0)
    for k in range(rounds):
        for name in names[k % len(names) :] + names[: k % len(names)]:
            run, n = found[name]
            begin, begin_cpu = time.perf_counter(), time.process_time()
            opened = run(k, n)
            cpu[name].append(time.process_time() - begin_cpu)
            wall[name].append(time.perf_counter() - begin)
            totals[name] = totals[name] + opened
    timed = {}
    for name, (_, n) in found.items():
        worst = require_agreement(name, totals[name], rounds * n, mean, 2 * len(names))
        timed[name] = {"wall_s": wall[name], "cpu_s": cpu[name], "worst_z": worst}
    return timed


def summarise(found: dict, timed: dict, warmed: dict, mean, events: float) -> dict:
    """One entry for each method, and ratios taken within rounds."""
    import numpy as np

    needed = math.ceil(float((mean * (1 - mean)).max()) / WANTED_ERROR**2)
    cpu = {name: np.array(times["cpu_s"]) for name, times in timed.items()}
    rate = {name: n * STEPS / cpu[name] for name, (_, n) in found.items()}
    rows = {}
    for name, (_, n) in found.items():
        median = float(np.median(cpu[name]))
        to_error = max(1.0, needed / n) if name == "Counts" else needed / n
        rows[name] = {
            "channels": n,
            "cpu_s": median,
            "cpu_s_quartiles": [float(q) for q in np.quantile(cpu[name], (0.25, 0.75))],
            "wall_s": float(np.median(timed[name]["wall_s"])),
            "channel_steps_per_s": float(np.median(rate[name])),
            "events_per_s": events * n / median,
            "time_to_standard_error_s": to_error * median,
            "worst_z": timed[name]["worst_z"],
            **warmed[name],
        }
    ratios = {
        f"{ours} / {name}": float(np.median(rate[ours] / rate[name]))
        for ours in ("Channels", "Counts")
        for name in found
        if name not in ("Channels", "Counts")
    }
    return {"methods": rows, "ratios": ratios, "channels_for_standard_error": needed}


def show(result: dict) -> None:
    job, rows = result["job"], result["methods"]
    print(
        f"{job['events_per_channel']:.2f} state changes in each channel; "
        f"{result['channels_for_standard_error']:,} channels for a standard error of "
        f"{WANTED_ERROR:g}; {job['rounds']} rounds, medians"
    )
    head = ("method", "channels", "channel-steps/s", "events/s", "s to SE 1e-4", "cpu s", "wall s")
    print(
        ("{:<20} {:>10} {:>16} {:>10} {:>13} {:>8} {:>8} {:>9} {:>6}").format(
            *head, "compile s", "|z|"
        )
    )
    for name, row in rows.items():
        extra = max(0.0, row["first_call_cpu_s"] - row["cpu_s"])
        print(
            f"{name:<20} {row['channels']:>10,} {row['channel_steps_per_s']:>16.3g} "
            f"{row['events_per_s']:>10.3g} {row['time_to_standard_error_s']:>13.3g} "
            f"{row['cpu_s']:>8.3f} {row['wall_s']:>8.3f} {extra:>9.2f} {row['worst_z']:>6.2f}"
        )
    for pair, ratio in result["ratios"].items():
        print(f"{pair}: {ratio:.3g}")


def read_arguments(arguments):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", metavar="FILE", help="write the result there")
    parser.add_argument("--rounds", type=int, default=15, help="rounds of the interleaved timing")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="factor on every number of channels"
    )
    parser.add_argument("--core", type=int, help="core to pin to (default: the last one allowed)")
    options = parser.parse_args(arguments)
    if options.rounds < 1 or not options.scale > 0:
        parser.error("--rounds and --scale must be above 0")
    return options


def main(arguments=None) -> int:
    options = read_arguments(arguments)
    cores = os.cpu_count()
    core = pin(options.core)
    import jax

    jax.config.update("jax_enable_x64", True)  # as the command line does
    scheme, drive = job_scheme()
    sizes = {"Channels": 1 << 20, PLAIN: 1 << 14, BEST: 1 << 17, "numba_events": 1 << 19}
    sizes = {name: max(64, int(n * options.scale)) for name, n in sizes.items()}
    sizes["Counts"] = COUNTS_CHANNELS
    found = methods(sizes, scheme, drive)
    about = describe(core, cores)
    mean, events = mean_open(scheme, drive), events_per_channel(scheme)
    warmed = warm(found, mean)
    timed = time_rounds(found, options.rounds, mean)
    job = {
        "name": "J1",
        "scheme": SCHEME,
        "start": START,
        "pulse_M": PEAK_M,
        "pulse_s": PULSE_S,
        "stop_s": STOP_S,
        "step_s": STEP_S,
        "steps": STEPS,
        "events_per_channel": events,
        "rounds": options.rounds,
    }
    typed = command(sys.argv[0], sys.argv[1:] if arguments is None else list(arguments))
    result = {
        "command": typed,
        **about,
        "job": job,
        **summarise(found, timed, warmed, mean, events),
        "seconds": timed,
    }
    show(result)
    if options.json:
        Path(options.json).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
