"""Fixtures that several test files share."""

import random
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from torch import Tensor

from scumble.images import read_image, to_float

torch.set_num_threads(1)
DEADLINE = pytest.StashKey[float | None]()
# How long an example takes says more about the machine's load than about the code.
settings.register_profile("scumble", deadline=None)
settings.load_profile("scumble")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--minutes", type=float, help="start no further test after so many minutes, and say which")


def pytest_configure(config: pytest.Config) -> None:
    minutes = config.getoption("minutes")
    config.stash[DEADLINE] = time.monotonic() + 60 * minutes if minutes is not None else None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    deadline = item.config.stash[DEADLINE]
    if deadline is not None and time.monotonic() > deadline:
        pytest.skip(f"out of time (--minutes): {item.nodeid}")


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
