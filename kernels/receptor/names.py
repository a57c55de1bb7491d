"""Names of the catalogue, with the nearest ones for a name that is not there."""

import difflib

from gabatone.kernels.errors import BadInput


def known(name: str, names: list[str], what: str, *, given=None, listed_by: str = "") -> str:
    """Return `name`; raise `BadInput` with the nearest of `names` where it is not among them.

    `given` is what the user wrote, where `name` is a tidied form of it.
    """
    if name not in names:
        near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.3) or names[:3]
        more = f"; {listed_by} shows all" if listed_by else ""
        wrote = name if given is None else given
        raise BadInput(
            what, wrote, f"no {what} of that name", f"did you mean {', '.join(near)}?{more}"
        )
    return name
