"""Job J1: a 1 ms pulse of GABA on many channels; our exact engines against other tools.

Scheme jones_westbrook_1995 from C0, 1 mM GABA from 0 to 1 ms and none after, 200 ms, output the
summed open count at each 0.1 ms. A channel-step is one channel over 0.1 ms, whatever a method does
inside. Every method runs in a process of its own, bound to the same core, one after the other in
every round, the order turning. Rates and ratios use processor seconds (of the process and of the
programs it starts), which other users of the core do not stretch; wall seconds stand beside them.
What is compiled or built is timed apart. Before any timing, and again over all timed runs, each
method must agree with `Master` within its statistical error.

    python -m benchmarks.channels --rounds 7 --json FILE
"""

import argparse
import json
import os
import sys
from pathlib import Path

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import SINGLE_THREAD, describe, pin
from benchmarks.peers import PLACES

OURS = "ours:"
SIZES = (100_000, 1_000_000, 10_000_000, 100_000_000)


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def assemble(places, job, means: dict, cores: list[int], scale: float):
    """Start and check every method; returns those that work, and why others do not."""
    from benchmarks.crew import LeftOut, load, start, warm
    from benchmarks.job import Disagreement

    environment = {**SINGLE_THREAD, "JAX_ENABLE_X64": "1"}  # as the command line does
    methods, left_out, method = [], {}, None
    for place in places:
        name = load(place).name
        try:
            method = start(place, job, environment, cores, scale)
            warm(method, means[method.peer.drive], 2 * len(places))
            methods.append(method)
            tell(f"{name}: ready")
        except (LeftOut, Disagreement) as error:
            left_out[name] = str(error)
            tell(f"{name}: left out, {error}")
    return methods, left_out


def by_size(job, cores: list[int], sizes) -> list[dict]:
    """Cost per channel and peak memory of `Channels` at several sizes, a fresh process for each."""
    from benchmarks.crew import start

    rows = []
    for n in sizes:
        method = start(OURS + "Ours", job, {**SINGLE_THREAD, "JAX_ENABLE_X64": "1"}, cores)
        method.run(1, n=1000)
        before = method.peak_MiB
        method.run(2, n=min(n, method.n))
        runs = [method.run(3 + k, n)[1] for k in range(max(1, min(5, int(2e6 // n))))]
        seconds = sorted(runs)[len(runs) // 2]
        rows.append(
            {
                "channels": n,
                "cpu_s": seconds,
                "ns_per_channel": seconds / n * 1e9,
                "peak_MiB": method.peak_MiB,
                "peak_MiB_at_1000_channels": before,
            }
        )
        tell(f"{n:,} channels: {seconds / n * 1e9:.1f} ns each, {method.peak_MiB:.0f} MiB at most")
        method.close()
    return rows


def read_arguments(arguments):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", metavar="FILE", help="write the result there")
    parser.add_argument("--rounds", type=int, default=15, help="rounds of the interleaved timing")
    parser.add_argument("--only", help="methods to run, with commas: " + ", ".join(PLACES))
    parser.add_argument(
        "--scale", type=float, default=1.0, help="factor on all numbers of channels"
    )
    parser.add_argument(
        "--no-sizes", action="store_true", help="leave out the run up to 1e8 channels"
    )
    parser.add_argument("--core", type=int, help="core to pin to (default: the last one allowed)")
    options = parser.parse_args(arguments)
    if options.rounds < 1 or not options.scale > 0:
        parser.error("--rounds and --scale must be above 0")
    options.places = options.only.split(",") if options.only else list(PLACES)
    if unknown := [place for place in options.places if place not in PLACES]:
        parser.error(f"no method {', '.join(unknown)}")
    return options


def measure(options, cores: list[int]) -> dict:
    """Everything that is timed, as one dictionary."""
    from benchmarks.crew import time_rounds
    from benchmarks.job import drives, events_of_decay, mean_open, pulse_job
    from benchmarks.report import summary

    from gabatone import load_scheme

    scheme = load_scheme("jones_westbrook_1995")
    job = pulse_job(scheme)
    means = {name: mean_open(scheme, drive) for name, drive in drives().items()}
    events = {"pulse": sum(job.events_per_window()), "decay": events_of_decay(scheme)}
    methods, left_out = assemble(options.places, job, means, cores, options.scale)
    left_out |= time_rounds(methods, options.rounds, means, 2 * len(options.places), tell)
    for method in methods:
        method.close()
    result = summary(methods, left_out, means, events, options.rounds)
    sized = [] if options.no_sizes else by_size(job, cores, SIZES)
    return {**result, "sizes": sized}


def main(arguments=None) -> int:
    typed = sys.argv[1:] if arguments is None else list(arguments)
    options = read_arguments(typed)
    seen, usable = os.cpu_count(), sorted(os.sched_getaffinity(0))
    core = pin(options.core)
    cores = [core, *(other for other in reversed(usable) if other != core)]
    os.environ["JAX_ENABLE_X64"] = "1"
    about = describe(core, seen)
    result = {
        "command": " ".join(["python -m benchmarks.channels", *typed]),
        **about,
        **measure(options, cores),
    }
    from benchmarks.report import markdown

    print(markdown(result))
    if options.json:
        Path(options.json).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    ours = [name for name in result["left_out"] if name.startswith(("Channels", "Counts"))]
    return 1 if ours or not result["methods"] else 0


if __name__ == "__main__":
    sys.exit(main())
