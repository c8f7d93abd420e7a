"""Two processes train as one does with the same global batch."""

from pathlib import Path

import pytest
import torch
from runs import TINY, make_images, scumble

from scumble.checkpoint import checkpoint_path, load_task, read_checkpoint


@pytest.mark.slow
def test_two_processes_equal_one_with_the_same_global_batch(tmp_path: Path) -> None:
    content, style = make_images(tmp_path / "content", 9, seed=1), make_images(tmp_path / "style", 7, seed=2)
    common = [*TINY, f"data.content={content}", f"data.style={style}", "steps=4"]
    one, two = tmp_path / "one", tmp_path / "two"
    scumble("train", *common, "data.batch_size=4", f"run_dir={one}", cwd=tmp_path)
    scumble("train", *common, "trainer=ddp_sim", "data.batch_size=2", f"run_dir={two}", cwd=tmp_path)

    checkpoints = [read_checkpoint(checkpoint_path(run, 4)) for run in (one, two)]
    assert checkpoints[0]["global_step"] == checkpoints[1]["global_step"] == 4
    first, second = (checkpoint["state_dict"] for checkpoint in checkpoints)
    assert first.keys() == second.keys()
    for name in first:
        if name.endswith("bias"):
            continue  # before a normalization its gradient is zero but for rounding, which Adam makes large
        # Adam divides by the gradient's size: rounding in another order grows where a gradient is nearly zero.
        torch.testing.assert_close(first[name], second[name], rtol=1e-3, atol=2e-3, msg=name)
    content_image, style_image = torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        stylized = [load_task(run)(content_image, style_image) for run in (one, two)]
    torch.testing.assert_close(*stylized, rtol=0, atol=1e-3)
