"""What the user's terminal shows: plain columns, JSON, one message for an error, no stray noise."""

import json
import logging
import os
import sys
import warnings


def settle() -> None:
    """Keep warnings and log lines of libraries off the terminal, unless ``-W`` asks for them."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.getLogger().addHandler(logging.NullHandler())
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


def say(text: str) -> None:
    """Print ``text``; a reader that has gone away (a closed pipe) is no error."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # what Python flushes at exit must have somewhere to go
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except UnicodeEncodeError:
        encoding = sys.stdout.encoding or "ascii"
        print(text.encode(encoding, "replace").decode(encoding), flush=True)


def say_json(data) -> None:
    """Print ``data`` as JSON; numbers that are not finite become null."""
    say(json.dumps(_finite(data), indent=1, ensure_ascii=False, allow_nan=False))


def complain(message: str) -> None:
    """Print one line for an error to standard error."""
    try:
        print(f"gabatone: {' '.join(str(message).split())}", file=sys.stderr, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def columns(rows, header=()) -> str:
    """Return ``rows`` of cells as aligned text, numbers to the right."""
    rows = [[_cell(cell) for cell in row] for row in rows]
    right = [
        bool(rows) and all(row[i][1] for row in rows) for i in range(len(rows[0]) if rows else 0)
    ]
    lines = [list(header)] * bool(header) + [[text for text, _ in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    pad = [str.rjust if i < len(right) and right[i] else str.ljust for i in range(len(widths))]
    return "\n".join(
        "  ".join(pad[i](text, widths[i]) for i, text in enumerate(line)).rstrip() for line in lines
    )


def _cell(value) -> tuple[str, bool]:
    if value is None or value == "":
        return "-", True
    if isinstance(value, float):
        return f"{value:.6g}", True
    return str(value), isinstance(value, int)


def _finite(data):
    if isinstance(data, dict):
        return {str(key): _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    if isinstance(data, float):
        return data if data - data == 0 else None
    return data
