"""The history of images that a discriminator sees."""

import pytest
import torch
from torch import Tensor

from scumble.tasks.image_pool import ImagePool


def numbered(*numbers: int) -> Tensor:
    """Flat images that carry a number."""
    return torch.tensor(numbers, dtype=torch.float32)[:, None, None, None].expand(-1, 3, 4, 4).clone()


def read(images: Tensor) -> list[int]:
    return [int(image.mean()) for image in images]


def test_images_pass_while_the_pool_fills():
    pool = ImagePool(5, 4)
    assert read(pool(numbered(1, 2, 3))) == [1, 2, 3]
    assert int(pool.stored) == 3
    assert read(pool(numbered(4, 5))) == [4, 5]
    assert read(pool.images) == [1, 2, 3, 4, 5]


def test_a_full_pool_returns_half_new_and_half_old_images_and_loses_none():
    pool = ImagePool(10, 4)
    pool(numbered(*range(10)))
    shown = [number for start in range(10, 2010, 4) for number in read(pool(numbered(*range(start, start + 4))))]
    new = sum(number == index + 10 for index, number in enumerate(shown))
    assert 0.45 < new / len(shown) < 0.55
    assert sorted(shown + read(pool.images)) == list(range(2010)), "each image is shown once or still stored"


def test_the_pool_is_the_naive_one():
    """Zhu's ImagePool, with a list, fed with the same choices."""
    pool, images = ImagePool(3, 4), [numbered(i, i + 1) for i in range(0, 40, 2)]
    torch.manual_seed(7)
    found = [number for batch in images for number in read(pool(batch))]
    torch.manual_seed(7)
    stored, expected = [], []
    for batch in images:
        for number in read(batch):
            exchange, place = float(torch.rand(())) < 0.5, int(torch.randint(3, ()))
            if len(stored) < 3:
                stored.append(number)
                expected.append(number)
            elif exchange:
                expected.append(stored[place])
                stored[place] = number
            else:
                expected.append(number)
    assert found == expected


def test_the_content_is_in_the_state_and_goes_on_from_there():
    pool, other = ImagePool(3, 4), ImagePool(3, 4)
    pool(numbered(1, 2, 3, 4))
    other.load_state_dict(pool.state_dict())
    torch.manual_seed(3)
    first = read(pool(numbered(*range(10, 30))))
    torch.manual_seed(3)
    assert read(other(numbered(*range(10, 30)))) == first


def test_a_pool_of_size_zero_returns_what_it_is_given():
    assert read(ImagePool(0, 4)(numbered(1, 2))) == [1, 2]


def test_stored_images_have_no_gradient_and_are_copies():
    pool, images = ImagePool(2, 4), numbered(1, 2).requires_grad_()
    shown = pool(images)
    assert not shown.requires_grad
    shown.fill_(9)
    assert read(pool.images) == [1, 2]


def test_a_wrong_size_is_named():
    with pytest.raises(ValueError, match=r"holds images of 3x4x4, got 3x8x8; set task\.image_size"):
        ImagePool(2, 4)(torch.rand(1, 3, 8, 8))
    with pytest.raises(ValueError, match=r"task\.pool_size must be at least 0, got -1"):
        ImagePool(-1, 4)
