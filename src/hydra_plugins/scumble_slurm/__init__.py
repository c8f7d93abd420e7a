"""The launcher of scumble for SLURM. Hydra looks for launchers in the namespace ``hydra_plugins`` alone."""
