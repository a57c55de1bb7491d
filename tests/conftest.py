"""Settings shared by every test: float64, two CPU devices, checked shapes, repeatable examples."""

import os

# chosen before anything imports matplotlib
os.environ.setdefault("MPLBACKEND", "Agg")

import jax  # noqa: E402
from hypothesis import settings  # noqa: E402
from jaxtyping import install_import_hook  # noqa: E402

import helpers.typecheck  # noqa: E402, F401  (the hook below looks it up by name)
from helpers.statistics import SUITE  # noqa: E402

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_num_cpu_devices", 2)

# annotations of the package are checked at each call, array shapes included
install_import_hook("gabatone", "helpers.typecheck.check")

settings.register_profile(
    "repeatable", derandomize=True, deadline=None, database=None, print_blob=True
)
settings.load_profile("repeatable")


def pytest_terminal_summary(terminalreporter):
    terminalreporter.write_line(
        f"statistical checks: {len(SUITE.spent)} of {SUITE.checks} declared, "
        f"false-alarm budget {SUITE.false_alarm:g}"
    )
