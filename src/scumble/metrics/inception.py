"""The Inception network of FID and KID, from weights on disk."""

import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import NoTrainInceptionV3

from scumble.networks.weights import load_weights


class Inception(nn.Module):
    """The 2048 features of Inception v3 after its last pooling, as the first FID took them, for images in [0, 1].

    Shape: images (B, 3, H, W); returns (B, 2048). ``weights`` is torch-fidelity's
    ``pt_inception-2015-12-05-6726825d.pth``, or the same tensors as safetensors.
    Source: Heusel et al. 2017, https://arxiv.org/abs/1706.08500; the port of Obukhov et al. 2020, torch-fidelity.
    Raises: ValueError for weights of another network.
    """

    num_features = 2048

    def __init__(self, weights: str | Path):
        super().__init__()
        state = load_weights(weights, "metrics.inception")
        # torch-fidelity unpickles the file that it is given, so it is given a copy of what was read without pickles.
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "inception.pth"
            torch.save(state, copy)
            try:
                self.network = NoTrainInceptionV3("inception-v3-compat", ["2048"], str(copy))
            except RuntimeError as error:
                raise ValueError(f"{weights}: not the weights of torch-fidelity's Inception: {error}") from error
        self.network.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.network((images * 255).byte())
        return features
