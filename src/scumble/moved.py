"""Names that have moved: configs of earlier versions still have the old ones."""

from collections.abc import Mapping
from typing import Any

MOVED = {
    "scumble.tasks.ranks.ManualDDP": "scumble.strategies.ManualDDP",
}


def with_current_names(config: Any) -> Any:
    """A config of plain data whose every ``_target_`` has the name of today."""
    if isinstance(config, Mapping):
        return {
            key: MOVED.get(value, value) if key == "_target_" and isinstance(value, str) else with_current_names(value)
            for key, value in config.items()
        }
    if isinstance(config, list):
        return [with_current_names(child) for child in config]
    return config
