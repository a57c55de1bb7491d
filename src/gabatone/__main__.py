"""``python -m gabatone`` is the ``gabatone`` command."""

from gabatone.experiments.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
