"""What ranks do together, with a real process group."""

import socket
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from runs import FORKS
from torch import distributed, nn

from scumble.callbacks.contracts import SameConfigOnAllRanks
from scumble.distributed import average, gather, own_rank, share, world_size
from scumble.tasks.image_pool import ImagePool


def test_one_process_is_a_world_of_its_own() -> None:
    tensor = torch.arange(3.0)
    average([tensor])
    share([tensor])
    assert (own_rank(), world_size()) == (0, 1)
    assert torch.equal(gather(tensor), torch.arange(3.0)[None])


def together(rank: int, ranks: int, port: int) -> None:
    distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=ranks)
    assert (own_rank(), world_size()) == (rank, ranks)

    matrix, number = torch.full((2, 3), float(rank)).T, torch.tensor(10.0 * rank, requires_grad=True)
    average([matrix, number])
    assert torch.equal(matrix, torch.full((3, 2), (ranks - 1) / 2))
    assert number.item() == 10 * (ranks - 1) / 2

    norm = nn.BatchNorm1d(2)
    norm.running_mean.fill_(rank + 1)  # type: ignore[union-attr]
    norm.num_batches_tracked.fill_(5 * rank)  # type: ignore[union-attr]
    share(norm.buffers())
    assert [buffer.flatten().tolist() for buffer in norm.buffers()] == [[1.0, 1.0], [1.0, 1.0], [0]]

    assert torch.equal(gather(torch.tensor([rank, -rank])), torch.tensor([[k, -k] for k in range(ranks)]))

    # A pool of all ranks shows each rank its part of what the pool of one process shows.
    pool, alone, size = ImagePool(4, 2), ImagePool(4, 2), 3
    for step in range(6):
        images = (torch.arange(ranks * size) + 100.0 * step)[:, None, None, None].expand(-1, 3, 2, 2)
        random = [torch.Generator().manual_seed(step) for _ in range(2)]
        own = slice(rank * size, (rank + 1) * size)
        shown, expected = pool(images[own], random[0]), naive(alone, images, random[1])[own]
        assert torch.equal(shown, expected)
    assert torch.equal(pool.images, alone.images)

    check: Any = SameConfigOnAllRanks({"steps": 3})
    check.on_train_start(SimpleNamespace(global_step=7), SimpleNamespace(device="cpu"))
    with pytest.raises(ValueError, match=r"different steps \(rank 0: 0, rank 1: 20"):
        check.on_train_start(SimpleNamespace(global_step=20 * rank), SimpleNamespace(device="cpu"))
    distributed.destroy_process_group()


def naive(pool: ImagePool, images: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """A pool in the words of the paper, which knows of no ranks."""
    shown = []
    for image in images:
        exchange, place = torch.rand((), generator=random) < 0.5, torch.randint(len(pool.images), (), generator=random)
        shown.append(image)
        if pool.stored < len(pool.images):
            pool.images[pool.stored] = image
            pool.stored += 1
        elif exchange:
            shown[-1] = pool.images[place].clone()
            pool.images[place] = image
    return torch.stack(shown)


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_together(ranks: int) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [FORKS.Process(target=together, args=(rank, ranks, port)) for rank in range(ranks)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    assert [process.exitcode for process in processes] == [0] * ranks
