"""Where scumble keeps what it can make or fetch again."""

import os
from pathlib import Path


def cache_directory() -> Path:
    """``$SCUMBLE_CACHE``, else ``$XDG_CACHE_HOME/scumble``, else ``~/.cache/scumble``; it need not exist yet."""
    if named := os.environ.get("SCUMBLE_CACHE"):
        return Path(named).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "scumble"
