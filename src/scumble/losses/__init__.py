"""Losses: pure functions of tensors. Each returns a scalar, reduced by the mean over the batch."""
