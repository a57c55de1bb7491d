"""Exact counts of job J1 against NumPy's multinomial, at one and at many populations.

Scheme jones_westbrook_1995 from C0, 1 mM GABA from 0 to 1 ms and none after, 2000 steps of 0.1 ms, a
million channels. Both sides get the same transition matrices, made before the clock starts, and give
the counts of all states after each step: NumPy by `Generator.multinomial(counts, P)`, whose seven rows
are drawn in one call of a step; ours by the kernel of `Counts`. The whole call of `simulate`, drive and
matrices included, stands beside them. One pinned core, all in turn in every round, processor seconds;
compilation is timed apart. Before the timing, and again over all timed runs, each must agree with
`Master`, or the program stops with exit code 1.

    python benchmarks/counts.py --json FILE
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

from machine import command, describe, pin

SCHEME, START = "jones_westbrook_1995", "C0"
PEAK_M, PULSE_S, STOP_S, STEP_S = 1e-3, 1e-3, 0.2, 1e-4
STEPS = round(STOP_S / STEP_S)
FALSE_ALARM = 1e-6  # chance that the comparison with Master stops a correct run
NUMPY, KERNEL, WHOLE = "numpy_multinomial", "Counts_kernel", "Counts_simulate"
POPULATIONS = (1, 16, 256)


def matrices(scheme):
    """Transition matrix of each step [step, state, state], rows of NumPy's own exact sum 1."""
    import numpy as np
    from scipy.linalg import expm

    pair = [np.asarray(scheme.generator({"GABA": c}), np.float64) for c in (PEAK_M, 0.0)]
    first, after = (np.maximum(expm(q * STEP_S), 0.0) for q in pair)
    laws = np.array([first / first.sum(1, keepdims=True), after / after.sum(1, keepdims=True)])
    return laws, (np.arange(STEPS) >= round(PULSE_S / STEP_S)).astype(np.int32)


def numpy_run(laws, which, start: int):
    """A function (seed, n) -> counts [step, state]."""
    import numpy as np

    def run(seed: int, n: int):
        rng = np.random.default_rng(seed)
        now = np.zeros(laws.shape[1], np.int64)
        now[start] = n
        path = np.empty((STEPS, len(now)), np.int64)
        for k in range(STEPS):
            now = rng.multinomial(now, laws[which[k]]).sum(axis=0)
            path[k] = now
        return path

    return run


def kernel_run(laws, which, start: int):
    """The same from the same matrices by the compiled kernel of `Counts`."""
    import jax
    import numpy as np

    from gabatone.kernels.engine.counts import law_deals, walk_lane_by_lane
    from gabatone.kernels.engine.streams import key_words

    deals, count = law_deals(laws), np.array([STEPS], np.int32)

    def run(seed: int, n: int):
        words = np.asarray(key_words(jax.random.key(seed)))[None]
        begin = np.zeros((1, laws.shape[1]), np.int64)
        begin[0, start] = n
        _, path, decided = walk_lane_by_lane(words, np.uint32(1), count, begin, which[None], deals)
        assert bool(decided)
        return np.asarray(path)[0]

    return run


def whole_run(scheme, drive):
    """The public call, from a drive to a `Trace`."""
    import jax
    import numpy as np

    from gabatone import Counts, simulate

    def run(seed: int, n: int):
        key = jax.random.key(seed)
        trace = simulate(
            key, scheme, drive, engine=Counts(), n=n, t1_s=STOP_S, save_s=STEP_S, p0=START
        )
        return np.asarray(trace.occupancy)[1:]

    return run


def worst_z(name: str, total, n: int, mean, checks: int) -> float:
    """Worst |z| of summed counts against the mean at a few spread times; stops if it is too large."""
    import numpy as np
    from scipy.stats import norm

    at = np.unique(np.geomspace(1, STEPS - 1, 12).astype(int))
    p = mean[at]
    z = np.abs(total[at] / n - p) / np.sqrt(p * (1 - p) / n)
    bound = float(norm.isf(FALSE_ALARM / checks / z.size / 2))
    if not z.max() <= bound:
        raise SystemExit(f"{name} disagrees with Master: |z| = {z.max():.2f} > {bound:.2f}")
    return float(z.max())


def timed(found: dict, n: int, rounds: int, mean) -> dict:
    """First call, then `rounds` rounds in turn: seconds of each method."""
    rows = {}
    for name, run in found.items():
        begin = time.process_time()
        total = run(10_000, n)
        rows[name] = {"first_call_cpu_s": time.process_time() - begin, "cpu_s": [], "wall_s": []}
        total = total + run(10_001, n)
        rows[name]["worst_z_before"] = worst_z(name, total, 2 * n, mean, 2 * len(found))
    totals, names = dict.fromkeys(found, 0), list(found)
    for k in range(rounds):
        for name in names[k % len(names) :] + names[: k % len(names)]:
            wall, cpu = time.perf_counter(), time.process_time()
            path = found[name](k, n)
            rows[name]["cpu_s"].append(time.process_time() - cpu)
            rows[name]["wall_s"].append(time.perf_counter() - wall)
            totals[name] = totals[name] + path
    for name in found:
        checks = 2 * len(found)
        rows[name]["worst_z"] = worst_z(name, totals[name], rounds * n, mean, checks)
    return rows


def time_populations(scheme, n: int, rounds: int) -> list[dict]:
    """Microseconds of one step of one population, under one drive for all and under drives of their own."""
    import jax
    import numpy as np

    from gabatone import Pulse
    from gabatone.kernels.engine.populations import simulate_populations

    rows = []
    for many in POPULATIONS:
        one = [Pulse(PEAK_M, 0.0, PULSE_S)] * many
        own = [Pulse(PEAK_M * (1 + k / many), 0.0, PULSE_S) for k in range(many)]
        for kind, drives in (("one drive", one), ("drives of their own", own)):
            spent = []
            for k in range(rounds + 1):
                begin = time.process_time()
                simulate_populations(
                    jax.random.key(k), scheme, drives, n=n, t1_s=STOP_S, save_s=STEP_S, p0=START
                )
                spent.append((time.process_time() - begin) / (many * STEPS) * 1e6)
            row = {"populations": many, "drives": kind, "us_per_step": float(np.median(spent[1:]))}
            rows.append(row)
    return rows


def summarise(rows: dict) -> dict:
    import numpy as np

    for row in rows.values():
        row["us_per_step"] = float(np.median(row["cpu_s"])) / STEPS * 1e6
        row["compile_cpu_s"] = max(0.0, row["first_call_cpu_s"] - float(np.median(row["cpu_s"])))
    ratios = {}
    for name in (KERNEL, WHOLE):
        each = np.array(rows[NUMPY]["cpu_s"]) / np.array(rows[name]["cpu_s"])
        ratios[f"{name} over {NUMPY}"] = {
            "median": float(np.median(each)),
            "min": float(each.min()),
            "max": float(each.max()),
        }
    return ratios


def show(result: dict) -> None:
    print(f"{result['job']['channels']:,} channels, {result['job']['rounds']} rounds, medians")
    print(f"{'method':<20} {'us/step':>8} {'compile s':>10} {'|z|':>6}")
    for name, row in result["methods"].items():
        print(
            f"{name:<20} {row['us_per_step']:>8.2f} {row['compile_cpu_s']:>10.2f} "
            f"{row['worst_z']:>6.2f}"
        )
    for pair, each in result["ratios"].items():
        print(f"{pair}: {each['median']:.2f} ({each['min']:.2f} to {each['max']:.2f})")
    for row in result["populations"]:
        print(
            f"{row['populations']:>4} populations, {row['drives']}: "
            f"{row['us_per_step']:.2f} us per population and step"
        )


def read_arguments(arguments):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", metavar="FILE", help="write the result there")
    parser.add_argument("--rounds", type=int, default=21, help="rounds of the interleaved timing")
    parser.add_argument("--channels", type=int, default=10**6, help="channels of a population")
    parser.add_argument("--core", type=int, help="core to pin to (default: the last one allowed)")
    options = parser.parse_args(arguments)
    if options.rounds < 1 or options.channels < 1:
        parser.error("--rounds and --channels must be above 0")
    return options


def main(arguments=None) -> int:
    options = read_arguments(arguments)
    cores = os.cpu_count()
    core = pin(options.core)
    import jax

    jax.config.update("jax_enable_x64", True)  # as the command line does
    import numpy as np

    from gabatone import Master, Pulse, load_scheme, simulate

    scheme, drive = load_scheme(SCHEME), Pulse(PEAK_M, 0.0, PULSE_S)
    grid = dict(t1_s=STOP_S, save_s=STEP_S, p0=START)
    key = jax.random.key(0)
    mean = np.asarray(simulate(key, scheme, drive, engine=Master(), **grid).occupancy)[1:]
    laws, which = matrices(scheme)
    start = scheme.states.index(START)
    found = {
        NUMPY: numpy_run(laws, which, start),
        KERNEL: kernel_run(laws, which, start),
        WHOLE: whole_run(scheme, drive),
    }
    about = describe(core, cores)
    rows = timed(found, options.channels, options.rounds, mean)
    typed = command(sys.argv[0], sys.argv[1:] if arguments is None else list(arguments))
    job = {"name": "J1", "scheme": SCHEME, "steps": STEPS, "step_s": STEP_S}
    result = {
        "command": typed,
        **about,
        "job": job | {"channels": options.channels, "rounds": options.rounds},
        "ratios": summarise(rows),
        "methods": rows,
        "populations": time_populations(scheme, options.channels, min(options.rounds, 3)),
    }
    show(result)
    if options.json:
        Path(options.json).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
