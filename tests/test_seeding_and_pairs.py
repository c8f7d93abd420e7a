from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader

from scumble import seeding
from scumble.data.colours import change_colours, random_colour_change
from scumble.data.image_set import ImageSet, random_crop
from scumble.data.module import validation_batches
from scumble.data.pairs import Pair, PairBatches, TrainingPairs, ValidationPairs
from scumble.images import write_image
from scumble.seeding import ORDER, PAINTER, SAMPLE, SEARCH, STEP, VALIDATION, mix

# Seeding


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=5))
def test_mix_is_a_pure_function_into_63_bits(integers: list[int]):
    seed = mix(*integers)
    assert seed == mix(*integers)
    assert 0 <= seed < 2**63
    torch.Generator().manual_seed(seed)


def test_mix_keeps_its_values():
    # Every run that was recorded with a seed depends on these numbers.
    assert [mix(0), mix(0, 1), mix(1, 0), mix(2**63 - 1, 5)] == [
        893442142816765029,
        4059051691542397301,
        5983670273984330465,
        8963127858229876329,
    ]


def test_mix_tells_order_length_and_streams_apart():
    streams = [value for name, value in vars(seeding).items() if name.isupper()]
    assert {ORDER, SAMPLE, STEP, PAINTER, VALIDATION, SEARCH} <= set(streams)
    assert len(set(streams)) == len(streams), "no two uses share their numbers"
    seeds = {mix(seed, stream, step) for seed in range(10) for stream in streams for step in range(50)}
    assert len(seeds) == 10 * len(streams) * 50
    assert mix(1, 2) != mix(2, 1)
    assert mix(0) != mix(0, 0)
    assert mix(-1) != mix(1)


# Which pairs, in which order


def batches(start: int = 0, **options: int) -> PairBatches:
    return PairBatches(**{"contents": 5, "styles": 7, "batch_size": 3, "seed": 0, "start": start} | options)


@given(step=st.integers(0, 40), seed=st.integers(0, 5))
def test_the_batch_of_a_step_does_not_depend_on_where_the_walk_began(step: int, seed: int):
    whole = list(islice(batches(seed=seed), 45))
    assert list(islice(batches(start=3 * step, seed=seed), 45 - step)) == whole[step:]
    assert batches(seed=seed).batch(step) == whole[step]


@given(
    parts=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(0, 6)), min_size=2, max_size=4),
    images=st.integers(1, 12),
)
def test_another_number_of_ranks_and_batch_size_go_on_at_the_next_image(parts: list[tuple[int, int, int]], images: int):
    """Parts of a run: (ranks, batch size, steps) each."""
    seen, position = [], 0
    for ranks, batch_size, steps in parts:
        walks = [
            batches(position, contents=images, batch_size=batch_size, rank=rank, world_size=ranks)
            for rank in range(ranks)
        ]
        seen += [pair for step in range(steps) for walk in walks for pair in walk.batch(step)]
        position += steps * ranks * batch_size
    whole = batches(contents=images, batch_size=1)
    assert seen == [pair for batch in islice(whole, position) for pair in batch]
    for epoch in range(len(seen) // images):
        assert sorted(pair.content for pair in seen[epoch * images : (epoch + 1) * images]) == list(range(images))


@given(contents=st.integers(1, 12), styles=st.integers(1, 12), batch_size=st.integers(1, 5), seed=st.integers(0, 3))
def test_no_image_is_lost_or_repeated_within_an_epoch(contents: int, styles: int, batch_size: int, seed: int):
    walk = batches(contents=contents, styles=styles, batch_size=batch_size, seed=seed)
    pairs = [pair for batch in islice(walk, 3 * contents * styles // batch_size + 1) for pair in batch]
    for size, side in ((contents, "content"), (styles, "style")):
        shown = [getattr(pair, side) for pair in pairs]
        for epoch in range(len(shown) // size):
            assert sorted(shown[epoch * size : (epoch + 1) * size]) == list(range(size))


def test_every_epoch_side_and_seed_has_an_order_of_its_own():
    orders = set()
    for seed in (0, 1):
        for batch in islice(batches(contents=20, styles=20, batch_size=20, seed=seed), 6):
            orders |= {tuple(pair.content for pair in batch), tuple(pair.style for pair in batch)}
    assert len(orders) == 2 * 6 * 2


def test_every_sample_has_a_seed_of_its_own():
    pairs = [pair for batch in islice(batches(), 100) for pair in batch]
    assert len({pair.seed for pair in pairs}) == 300


@pytest.mark.parametrize("step", [0, 1, 2, 13])
def test_the_global_batch_is_the_same_for_every_number_of_ranks(step: int):
    whole = batches(batch_size=4).batch(step)
    for world, batch_size in ((2, 2), (4, 1)):
        ranks = [batches(batch_size=batch_size, rank=rank, world_size=world).batch(step) for rank in range(world)]
        assert [pair for rank in ranks for pair in rank] == whole


@pytest.mark.parametrize(("world", "batch_size"), [(2, 3), (3, 2)])
def test_ranks_share_an_epoch_without_overlap(world: int, batch_size: int):
    size = 2 * world * batch_size
    ranks = [
        batches(contents=size, styles=size, batch_size=batch_size, rank=rank, world_size=world) for rank in range(world)
    ]
    for side in ("content", "style"):
        counts = Counter(getattr(pair, side) for rank in ranks for batch in islice(rank, 2) for pair in batch)
        assert counts == dict.fromkeys(range(size), 1)


# The images of the pairs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures, each of one brightness: the mean of a crop says which picture it is of."""
    folder = tmp_path_factory.mktemp("pictures")
    for index in range(6):
        noise = torch.rand(3, 24, 30, generator=torch.Generator().manual_seed(index))
        write_image(index / 8 + 0.1 * noise, folder / f"{index}.png")
    return folder


def images(folder: Path, shorter_side: int = 20) -> ImageSet:
    return ImageSet(sorted(folder.glob("*.png")), shorter_side)


def which(picture: Tensor) -> int:
    return round((picture.mean().item() - 0.05) * 8)


def training_pairs(folder: Path, **options: float) -> TrainingPairs:
    return TrainingPairs(images(folder), images(folder), image_size=12, crop_scale=(0.5, 1.0), **options)


def test_a_sample_is_a_pure_function_of_its_pair(folder: Path):
    pairs = training_pairs(folder)
    sample = pairs[Pair(2, 4, seed=11)]
    torch.manual_seed(99)
    again = training_pairs(folder)[Pair(2, 4, seed=11)]
    assert {name: tuple(picture.shape) for name, picture in sample.items()} == {
        "content": (3, 12, 12),
        "style": (3, 12, 12),
    }
    for name in sample:
        assert torch.equal(sample[name], again[name])
    assert (which(sample["content"]), which(sample["style"])) == (2, 4)
    other = pairs[Pair(2, 4, seed=12)]
    assert not torch.equal(sample["content"], other["content"])


def test_random_colours_change_styles_alone_and_keep_the_crops(folder: Path):
    plain, coloured, half = (training_pairs(folder, style_colours=share) for share in (0.0, 1.0, 0.5))
    changed = 0
    for seed in range(60):
        before, after, maybe = (pairs[Pair(2, 4, seed)] for pairs in (plain, coloured, half))
        random = np.random.default_rng(seed)
        crops = [random_crop(images(folder)[index], 12, random, (0.5, 1.0)) for index in (2, 4)]
        assert torch.equal(before["content"], crops[0])
        assert torch.equal(before["style"], crops[1])  # to the bit what it was without the setting
        random.random()
        assert torch.equal(after["style"], change_colours(crops[1], random_colour_change(random)))
        assert torch.equal(after["content"], before["content"])
        assert any(torch.equal(maybe["style"], other["style"]) for other in (before, after))
        changed += not torch.equal(maybe["style"], before["style"])
    assert 15 < changed < 45


def loaded(folder: Path, workers: int, start: int = 0, count: int = 6) -> list[dict[str, Tensor]]:
    loader = DataLoader(
        training_pairs(folder),
        batch_sampler=PairBatches(contents=6, styles=6, batch_size=2, seed=3, start=start),
        num_workers=workers,
    )
    return list(islice(loader, count))


def test_what_is_loaded_does_not_depend_on_workers_or_on_the_start(folder: Path):
    torch.manual_seed(1)
    expected = loaded(folder, workers=0)
    torch.manual_seed(2)  # a loader draws a base seed for its workers from the global generator
    for found in (loaded(folder, workers=2), loaded(folder, workers=0, start=4, count=4)):
        for batch, other in zip(expected[-len(found) :], found, strict=True):
            assert torch.equal(batch["content"], other["content"])
            assert torch.equal(batch["style"], other["style"])
    assert sorted(which(picture) for batch in expected[:3] for picture in batch["content"]) == list(range(6))


@given(images=st.integers(1, 30), batch_size=st.integers(1, 9), ranks=st.integers(1, 9))
def test_ranks_validate_the_batches_of_one_process(images: int, batch_size: int, ranks: int):
    dealt = [validation_batches(images, batch_size, rank, ranks) for rank in range(ranks)]
    assert all(dealt), "a rank without a batch would not take part in the validation, and the others would wait for it"
    whole = validation_batches(images, batch_size, 0, 1)
    assert [index for batch in whole for index in batch] == list(range(images))
    if len(whole) >= ranks:
        assert sorted(batch for own in dealt for batch in own) == whole
    elif images >= ranks:
        assert sorted(index for own in dealt for batch in own for index in batch) == list(range(images))
    else:
        assert dealt == [whole] * ranks


@given(contents=st.integers(1, 9), styles=st.integers(1, 9), pairs=st.integers(1, 20))
def test_validation_pairs_show_every_style_as_often_as_any_other(contents: int, styles: int, pairs: int):
    fixed = ValidationPairs(range(contents), range(styles), image_size=8, pairs=pairs)  # type: ignore[arg-type]
    indices = [fixed.indices(index) for index in range(len(fixed))]
    assert len(indices) == pairs
    assert all(0 <= content < contents and 0 <= style < styles for content, style in indices)
    assert max(Counter(indices).values()) == -(-pairs // (contents * styles))
    for side, size in ((0, contents), (1, styles)):
        counts = Counter(index[side] for index in indices)
        assert max(counts.values()) - min(counts[k] for k in range(size)) <= 1


def test_validation_pairs_are_fixed(folder: Path):
    one, other = (ValidationPairs(images(folder), images(folder), image_size=10, pairs=8) for _ in range(2))
    for index in range(8):
        content, style = one.indices(index)
        assert which(one[index]["content"]) == content
        assert which(one[index]["style"]) == style
        assert torch.equal(one[index]["content"], other[index]["content"])
        assert one[index]["style"].shape == (3, 10, 10)
