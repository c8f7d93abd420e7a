"""Several processes train as one does with the same global batch, whatever is killed, and however many go on."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from runs import TINY, difference, make_images, scumble, scumble_here, scumble_on_ranks

from scumble.checkpoint import checkpoint_path, list_checkpoints, read_checkpoint
from scumble.images import read_image

SMALL = (*TINY, "trainer.limit_val_batches=1.0", "data.validation_pairs=6", "data.validation_fraction=0.5")
# Convolutions of another batch size round differently, on some machines by enough to see in float32.
DOUBLE = "trainer.precision=64-true"
# Of every system what makes its state as rich as it can be: validation batches of unequal size, pools that overflow.
SYSTEMS = {
    "style_transfer": (*SMALL, DOUBLE, "task.gradient_shares_interval=2"),
    "cyclegan": (
        "experiment=cyclegan", "debug=tiny", "data=folders", "data.validation_size=32", "data.validation_pairs=6",
        "data.validation_fraction=0.5", "trainer.limit_val_batches=1.0", "perceptual_encoder.weights=null",
        "generator.width=8", "generator.residual_blocks=1", "generator.residual=true", "discriminator.width=8",
        "discriminator.layers=2", "discriminator.spectral=true", "task.pool_size=5", DOUBLE, "logger=csv",
    ),
    "gan_mlp": (
        "experiment=gan_mlp", "debug=tiny", "data.validation_images=7", "trainer.limit_val_batches=1.0",
        "generator.widths=[32]", "discriminator.widths=[32]", "logger=csv",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    root = tmp_path_factory.mktemp("images")
    content, style = make_images(root / "content", 14, seed=1), make_images(root / "style", 12, seed=2)
    return f"data.content={content}", f"data.style={style}"


def rows(run: Path) -> list[dict[str, float]]:
    with (run / "metrics.csv").open() as file:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS)
def test_two_processes_equal_one_with_the_same_global_batch(
    tmp_path: Path, folders: tuple[str, str], system: str
) -> None:
    """Losses, metrics, pictures and weights: equal but for the order in which floats are added."""
    data = () if system == "gan_mlp" else folders
    common = ["train", *SYSTEMS[system], *data, "steps=6", "val_every_n_steps=3"]
    one, two = tmp_path / "one", tmp_path / "two"
    scumble_here(*common, "data.batch_size=4", f"run_dir={one}", cwd=tmp_path)
    for result in scumble_on_ranks(2, *common, "data.batch_size=2", f"run_dir={two}", cwd=tmp_path):
        assert "called before" not in result.stdout

    logs = rows(one), rows(two)
    assert [len(log) for log in logs] == [6, 6]
    for expected, found in zip(*logs, strict=True):
        assert expected.keys() == found.keys()
        assert any(key.startswith(("train/", "val/")) for key in expected)
        for key, value in expected.items():
            assert found[key] == pytest.approx(value, rel=1e-3, abs=1e-5), (key, expected["step"])
    checkpoints = [read_checkpoint(checkpoint_path(run, 6)) for run in (one, two)]
    assert checkpoints[0]["global_step"] == checkpoints[1]["global_step"] == 6
    first, second = (checkpoint["state_dict"] for checkpoint in checkpoints)
    assert first.keys() == second.keys()
    for name in first:
        if name.endswith("bias"):
            continue  # before a normalization its gradient is zero but for rounding, which Adam makes large
        # Adam divides by the gradient's size: rounding in another order grows where a gradient is nearly zero.
        torch.testing.assert_close(first[name], second[name], rtol=1e-3, atol=2e-3, msg=name)
    pictures = [sorted((run / "grids").glob("*.png")) for run in (one, two)]
    assert [path.name for path in pictures[0]] == [path.name for path in pictures[1]] != []
    for a, b in zip(*pictures, strict=True):
        assert np.abs(read_image(a).int().numpy() - read_image(b).int().numpy()).max() <= 2, a.name


@pytest.mark.slow
def test_lightning_starts_the_other_process_itself(tmp_path: Path, folders: tuple[str, str]) -> None:
    """`trainer=ddp_sim` as a user types it, and ranks that another launcher has started on two nodes: the same bits."""
    common = ["train", *SMALL, *folders, "steps=3"]
    scumble(*common, "trainer=ddp_sim", "run_dir=one", cwd=tmp_path)
    scumble_on_ranks(2, *common, "run_dir=two", cwd=tmp_path, nodes=2)
    first, second = (read_checkpoint(checkpoint_path(tmp_path / run, 3)) for run in ("one", "two"))
    for key in ("state_dict", "optimizer_states"):
        assert difference(first[key], second[key]) == []
    assert (tmp_path / "one" / "metrics.csv").read_text() == (tmp_path / "two" / "metrics.csv").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("accumulate", "discriminator_steps"), [(1, 1), (3, 1), (2, 2)])
def test_gradients_are_synchronised_once_for_each_update(
    tmp_path: Path, folders: tuple[str, str], accumulate: int, discriminator_steps: int
) -> None:
    """All that the ranks average in a step: the gradients of what is updated, and nothing of their size besides."""
    scumble_on_ranks(
        2, "train", *SMALL, *folders, "steps=6", "run_dir=run", f"task.accumulate={accumulate}",
        f"task.discriminator_steps={discriminator_steps}", "task.gradient_shares_interval=0",
        "+callbacks.traffic={_target_: recorder.Traffic, file: traffic.txt}", cwd=tmp_path,
    )  # fmt: skip
    sizes, *steps = [list(map(int, line.split())) for line in (tmp_path / "traffic.txt").read_text().splitlines()]
    generator, discriminator = sizes
    assert len(steps) == 6
    for step, sent in enumerate(steps, 1):
        expected = [generator] if step % (accumulate * discriminator_steps) == 0 else []
        expected += [discriminator] if step % accumulate == 0 else []
        assert [size for size in sent if size > 100] == sorted(expected, reverse=True), f"step {step}"


@pytest.mark.slow
def test_ranks_that_are_killed_within_an_accumulation_go_on_exactly(tmp_path: Path, folders: tuple[str, str]) -> None:
    """The ranks have gradients of their own then. With a validation and a checkpoint in the middle of it."""
    common = ["train", *SMALL, *folders, "steps=10", "task.accumulate=4", "checkpoint_every_n_steps=3"]
    kill = "+callbacks.kill={_target_: killer.Kill, hook: on_train_batch_start, step: 7}"
    scumble_on_ranks(2, *common, "run_dir=whole", cwd=tmp_path)
    killed = scumble_on_ranks(2, *common, kill, "run_dir=killed", cwd=tmp_path, check=False)
    assert [process.returncode for process in killed] == [-9, -9]
    assert next(iter(list_checkpoints(tmp_path / "killed"))) == 6
    gradients = read_checkpoint(checkpoint_path(tmp_path / "killed", 6))["gradients"]
    assert len(gradients) == 2
    assert difference(*gradients), "the ranks have seen different images"
    scumble_on_ranks(2, *common, "run_dir=killed", "resume=true", "+callbacks.kill=null", cwd=tmp_path)
    first, second = (read_checkpoint(checkpoint_path(tmp_path / run, 10)) for run in ("whole", "killed"))
    for key in ("state_dict", "optimizer_states", "gradients"):
        assert difference(first[key], second[key]) == []
    assert (tmp_path / "whole" / "metrics.csv").read_text() == (tmp_path / "killed" / "metrics.csv").read_text()


@pytest.mark.slow
def test_another_number_of_processes_loses_and_repeats_no_image(tmp_path: Path) -> None:
    """Two processes, then one with the same batch for each process, then three: every epoch shows every image once."""
    images = [make_images(tmp_path / side, 11, seed=seed) for seed, side in enumerate(("content", "style"))]
    # All of an image, so that it is told by its mean.
    whole = ("data.crop_scale=[1,1]", "data.load_size=32", "data.validation_fraction=0.0")
    seen = f"+callbacks.seen={{_target_: recorder.SeenImages, folder: {tmp_path / 'seen'}}}"
    common = ["train", *TINY, *whole, f"data.content={images[0]}", f"data.style={images[1]}", seen, "run_dir=run"]
    common += ["trust=[recorder]", "task.accumulate=2", "data.batch_size=2", "checkpoint_every_n_steps=1"]
    scumble_on_ranks(2, *common, "steps=3", cwd=tmp_path)  # 12 images, in the middle of an accumulation
    # The resume takes the overrides of before that are not given again.
    alone = ["resume=true", "trainer=cpu", "trainer.devices=1"]
    output = scumble_here(*common, *alone, "steps=5", cwd=tmp_path)  # 4 images
    assert "trainer.devices: 2 -> 1" in output.stdout + output.stderr
    scumble_on_ranks(3, *common, "steps=6", "resume=true", "data.batch_size=3", cwd=tmp_path)  # 9 images

    lines = [line.split() for file in sorted((tmp_path / "seen").iterdir()) for line in file.read_text().splitlines()]
    means = [mean for _, mean in sorted(lines, key=lambda line: int(line[0]))]
    assert len(means) == 12 + 4 + 9
    whole_walk = scumble_walk(tmp_path, common)
    assert sorted(means[:12]) == sorted(whole_walk[:12])
    assert sorted(means[12:16]) == sorted(whole_walk[12:16])
    assert sorted(means[16:]) == sorted(whole_walk[16:])
    assert len(set(whole_walk[:11])) == len(set(whole_walk[11:22])) == 11


def scumble_walk(tmp_path: Path, common: list[str]) -> list[str]:
    """The means of the images that one process sees that is never stopped, in their order."""
    folder = tmp_path / "walk"
    words = [word.replace(str(tmp_path / "seen"), str(folder)) for word in common]
    scumble_here(*words, "run_dir=walk_run", "data.batch_size=5", "steps=5", cwd=tmp_path)
    return [line.split()[1] for line in (folder / "0.txt").read_text().splitlines()]


@pytest.mark.slow
def test_ranks_with_different_configs_or_checkpoints_do_not_train(tmp_path: Path, folders: tuple[str, str]) -> None:
    common = ["train", *SMALL, *folders, "steps=2"]
    results = scumble_on_ranks(
        2, *common, "run_dir=run", cwd=tmp_path, last=["loss_weights.style=3"], check=False
    )  # fmt: skip
    for result in results:
        assert result.returncode == 1
        assert "the ranks have different configs (rank 0: " in result.stdout
        assert "Traceback" not in result.stdout
    assert not list_checkpoints(tmp_path / "run")
