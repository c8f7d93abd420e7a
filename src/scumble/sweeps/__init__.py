"""Many runs: the commands, what they would cost, several at a time on one machine, the search for better ones."""
