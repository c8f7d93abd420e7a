"""Networks: modules of tensors alone. An image is a float tensor (B, 3, H, W) in [0, 1] for every network here."""
