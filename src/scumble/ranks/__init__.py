"""What Lightning starts for the ranks of a run on several devices of one machine, besides the first."""
