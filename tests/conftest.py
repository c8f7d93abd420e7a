"""Fixtures that several test files share."""

import random
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from torch import Tensor

from scumble.images import read_image, to_float

torch.set_num_threads(1)
# How long an example takes says more about the machine's load than about the code.
settings.register_profile("scumble", deadline=None)
settings.load_profile("scumble")


@pytest.fixture(autouse=True)
def seeds() -> None:
    """Every test starts from the same random state, whatever ran before it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of development data beside the checkout: weights, photographs and paintings."""
    folder = Path(__file__).parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(f"no development data in {folder}")
    return folder


@pytest.fixture(scope="session")
def astronaut() -> Tensor:
    spec = find_spec("skimage")
    assert spec is not None
    assert spec.origin is not None
    return to_float(read_image(Path(spec.origin).parent / "data" / "astronaut.png", shorter_side=64))[None]


@pytest.fixture
def photograph(astronaut: Tensor) -> Tensor:
    """A real photograph, (1, 3, 64, 64) in [0, 1]."""
    return astronaut.clone()
