"""Reading weight files that a config names by path."""

from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

WEIGHTS_FOLDER = Path(__file__).parent / "pretrained"  # what ships with scumble


def load_weights(path: str | Path, key: str) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` file or of a state dict of torch, in float32.

    ``key`` is the config key that named the file, for the error. Pickles are read with ``weights_only=True``.
    Raises: FileNotFoundError, or ValueError if the file cannot be read.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"no weight file {path}; set {key}=PATH to the file on this machine")
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, EOFError, ValueError, UnpicklingError) as error:
        raise ValueError(f"{path}: not a readable weight file ({error}); set {key} to another") from error
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise ValueError(f"{path}: not a state dict of tensors alone; set {key} to another file")
    return {name: tensor.float() for name, tensor in state.items()}


def load_state(network: nn.Module, state: dict[str, Tensor], source: str | Path) -> None:
    """Load the tensors that a network has; those of deeper layers are left out.

    Raises: ValueError if tensors are missing or of another shape.
    """
    wanted = network.state_dict()
    missing = [key for key in wanted if key not in state]
    wrong = [key for key in wanted if key in state and state[key].shape != wanted[key].shape]
    if missing or wrong:
        raise ValueError(f"{source}: not weights of this network; missing {missing[:3]}, other shapes {wrong[:3]}")
    network.load_state_dict({key: state[key] for key in wanted})
