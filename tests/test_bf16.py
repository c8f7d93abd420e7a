"""Every experiment in the precision of a GPU: a few steps in bf16-mixed, on the CPU."""
