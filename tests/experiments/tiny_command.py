"""The command line with the small experiment of the tests in its list, as a process of its own.

The state of the source code is held fixed: an edit while the tests run is no other input then.
"""

import sys
from pathlib import Path

from gabatone.experiments import cli, manifest, registry

HERE = Path(__file__).parent
ENTRY = registry.Entry("tiny", "tiny_experiment", "samples of a decay", HERE / "tiny.toml")

real_git_state, real_source_hash = manifest.git_state, manifest.source_hash


def prepare(set_item, set_attribute):
    set_item(registry.EXPERIMENTS, "tiny", ENTRY)
    set_attribute(manifest, "git_state", lambda: None)
    set_attribute(manifest, "source_hash", lambda: "0" * 64)


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    prepare(dict.__setitem__, setattr)
    sys.exit(cli.main())
