"""The sweepers of scumble that draw their values. Hydra looks for sweepers in the namespace ``hydra_plugins`` alone."""
