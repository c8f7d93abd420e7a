import errno
import io
import logging
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import write_painter
from torch import nn

from scumble.checkpoint import (
    AtomicCheckpointIO,
    Checkpoint,
    CheckpointError,
    checkpoint_path,
    find_checkpoint,
    latest_checkpoint,
    list_checkpoints,
    load_generator,
    load_task,
    read_checkpoint,
)
from scumble.config import UntrustedConfigError
from scumble.files import atomic_write
from scumble.networks.painter import Painter

# Files that are there whole or not at all


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_atomic_write_makes_the_file_and_its_folders(tmp_path: Path):
    for content in (b"first", b"second, longer"):
        with atomic_write(tmp_path / "a" / "b" / "file") as file:
            file.write(content)
            assert names(tmp_path / "a" / "b") != ["file"]  # a temporary file holds it
        assert (tmp_path / "a" / "b" / "file").read_bytes() == content
    assert names(tmp_path / "a" / "b") == ["file"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_whole(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with (
        pytest.raises(OSError, match=rf"cannot write {path}: No space left on device") as caught,
        atomic_write(path) as file,
    ):
        file.write(b"new")
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("no"), OSError(errno.EIO, "Input/output error")])
def test_an_error_while_writing_leaves_the_old_file_whole(error: BaseException, tmp_path: Path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail() -> None:
        with atomic_write(path) as file:
            file.write(b"half of the new")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_the_data_is_on_the_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    calls = []
    for call in ("fsync", "replace"):
        real = getattr(os, call)
        monkeypatch.setattr(os, call, lambda *a, call=call, real=real: calls.append(call) or real(*a))
    with atomic_write(tmp_path / "file") as file:
        file.write(b"new")
    assert calls == ["fsync", "replace", "fsync"]  # the data, the rename, the folder


@pytest.mark.parametrize("below", ["x", "x/y"])
def test_a_file_in_place_of_the_folder_is_an_error_that_names_the_target(below: str, tmp_path: Path):
    (tmp_path / "taken").write_bytes(b"a file")
    target = tmp_path / "taken" / below
    with pytest.raises(OSError, match=f"cannot write {target}"), atomic_write(target):
        pass


# Reading checkpoints

ENCODER = {"_target_": "scumble.networks.perceptual_encoders.DistilledEncoder", "weights": None}
GENERATOR = {
    "_target_": "scumble.networks.generators.ResidualAttention",
    "width": 4,
    "residual_blocks": 1,
    "code": 4,
    "attention_heads": 2,
}
TASK = {
    "_target_": "scumble.tasks.style_transfer.StyleTransfer",
    "ema_decay": 0.99,
    "generator": GENERATOR,
    "discriminator": {"_target_": "scumble.networks.discriminators.PatchDiscriminator", "width": 2, "layers": 1},
    "perceptual_encoder": ENCODER,
    "adversarial_loss": {"_target_": "scumble.losses.adversarial.Hinge"},
    "loss_weights": {"style": 1.0},
    "optimizers": {},
}


def content(**changes: Any) -> dict[str, Any]:
    return {
        "global_step": 3,
        "state_dict": {"weight": torch.arange(5.0)},
        "scumble": {"config": {"task": {"_target_": "x"}}},
    } | changes


def as_bytes(checkpoint: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer, **options)
    return buffer.getvalue()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "step=00000003.ckpt"


def assert_refused(path: Path, match: str | None = None) -> None:
    with pytest.raises(CheckpointError, match=match) as caught:
        read_checkpoint(path)
    assert str(path) in str(caught.value)


def test_a_checkpoint_is_read_as_it_was_written(path: Path):
    AtomicCheckpointIO().save_checkpoint(content(), path)
    for found in (read_checkpoint(path), AtomicCheckpointIO().load_checkpoint(path, weights_only=False)):
        assert torch.equal(found["state_dict"]["weight"], torch.arange(5.0))
        assert found["scumble"] == content()["scumble"]
    assert names(path.parent) == [path.name]


def test_a_missing_checkpoint_is_named(path: Path):
    assert_refused(path, "no checkpoint .*give a run folder or a .ckpt file")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.99, 0.999])
def test_a_truncated_checkpoint_is_refused(path: Path, share: float):
    whole = as_bytes(content())
    path.write_bytes(whole[: int(share * len(whole))])
    assert_refused(path, "torn or no checkpoint")


def test_a_flipped_bit_in_a_tensor_is_found(path: Path):
    weight = torch.arange(100.0, 400.0)
    whole = bytearray(as_bytes(content(state_dict={"weight": weight})))
    position = bytes(whole).index(weight.numpy().tobytes()) + 601
    whole[position] ^= 1
    path.write_bytes(whole)
    assert torch.load(path)["state_dict"]["weight"].ne(weight).sum() == 1  # torch does not see it
    assert_refused(path, "damaged, the checksum of .* is wrong")


def test_a_flipped_bit_anywhere_is_refused_or_changes_nothing(path: Path):
    """Every 53rd bit of a small checkpoint, and every second of its last bytes, where the zip file has its index."""
    whole = as_bytes(content())
    bits = [*range(0, 8 * (len(whole) - 60), 53), *range(8 * (len(whole) - 60), 8 * len(whole), 2)]
    results = []
    for bit in bits:
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            results.append(str(read_checkpoint(path)))
        except CheckpointError as error:
            results.append(str(error).split(":")[0])
    assert set(results) == {str(path), str(content())}


@pytest.mark.parametrize(
    "foreign",
    [b"", b"\0" * 100, b"this is a text\n" * 20, b"PK\x05\x06" + 18 * b"\0", pickle.dumps({"scumble": 1}, protocol=2)],
    ids=["empty", "zeros", "text", "empty zip", "pickle"],
)
def test_a_file_of_another_kind_is_refused(path: Path, foreign: bytes):
    path.write_bytes(foreign)
    assert_refused(path)


@pytest.mark.parametrize("foreign", [{"state_dict": {}}, [1, 2], torch.zeros(3), {}])
def test_a_file_of_torch_without_our_entry_is_refused(path: Path, foreign: Any):
    torch.save(foreign, path)
    assert_refused(path, "not a checkpoint of scumble")


class Malicious:
    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.sentinel}",)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("place", ["state_dict", "scumble", "callbacks"])
def test_a_checkpoint_that_would_run_code_is_refused(path: Path, tmp_path: Path, zipped: bool, place: str):
    sentinel = tmp_path / "sentinel"
    malicious = content(**{place: Malicious(sentinel)})
    path.write_bytes(as_bytes(malicious, _use_new_zipfile_serialization=zipped))
    assert_refused(path, "could run code" if zipped else None)
    assert not sentinel.exists()


# Finding checkpoints


def write(run_dir: Path, step: int, data: bytes | None = None) -> Path:
    path = checkpoint_path(run_dir, step)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(as_bytes(content(global_step=step)) if data is None else data)
    return path


def path_of(checkpoint: Checkpoint | None) -> Path:
    assert checkpoint is not None
    return checkpoint.path


def test_checkpoints_are_listed_the_newest_first_without_temporary_files(tmp_path: Path):
    paths = [write(tmp_path, step) for step in (5, 100, 20)]
    for other in (".step=00000200.ckpt.17.tmp", "step=.ckpt", "last.ckpt", "step=00000300.ckpt.bak"):
        (tmp_path / "checkpoints" / other).write_bytes(b"")
    assert list(list_checkpoints(tmp_path).items()) == [(100, paths[1]), (20, paths[2]), (5, paths[0])]
    assert list_checkpoints(tmp_path / "nowhere") == {}


def test_the_steps_are_compared_as_numbers(tmp_path: Path):
    write(tmp_path, 99_999_999)
    newest = write(tmp_path, 100_000_000)
    assert path_of(latest_checkpoint(tmp_path)) == newest


def test_damaged_checkpoints_are_passed_over_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    good = write(tmp_path, 10)
    whole = good.read_bytes()
    damaged = bytearray(whole)
    damaged[-50] ^= 1  # where the zip file has its index: zipfile then seeks to before the file
    broken = [write(tmp_path, 20, whole[:-30]), write(tmp_path, 30, b""), write(tmp_path, 40, bytes(damaged))]
    (tmp_path / "checkpoints" / ".step=00000050.ckpt.9.tmp").write_bytes(whole)
    with caplog.at_level(logging.WARNING):
        assert path_of(latest_checkpoint(tmp_path)) == good
    for path in broken:
        assert any(str(path) in record.getMessage() for record in caplog.records)
    assert len(caplog.records) == 3


def test_without_a_readable_checkpoint_there_is_none(tmp_path: Path):
    assert latest_checkpoint(tmp_path) is None
    write(tmp_path, 1, b"torn")
    assert latest_checkpoint(tmp_path) is None
    with pytest.raises(CheckpointError, match="has no readable checkpoint in checkpoints/"):
        find_checkpoint(tmp_path)


def test_a_user_means_a_file_or_the_newest_of_a_folder(tmp_path: Path):
    old, new = write(tmp_path, 1), write(tmp_path, 2)
    assert find_checkpoint(tmp_path).path == new
    assert find_checkpoint(str(old)).path == old


def test_the_checkpoint_that_a_run_starts_from_is_handed_on_once_and_not_read_again(tmp_path: Path):
    path, other = write(tmp_path, 1), write(tmp_path, 2)
    start = Checkpoint(path, {"read": "before"})
    plugin = AtomicCheckpointIO(start)
    assert plugin.load_checkpoint(path) == {"read": "before"}
    assert plugin.load_checkpoint(path)["global_step"] == 1
    assert AtomicCheckpointIO(start).load_checkpoint(other)["global_step"] == 2


# Loading networks


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, nn.Module]:
    """A checkpoint made by hand, and the task whose weights it holds."""
    from scumble.config import instantiate

    task = instantiate(TASK)
    for parameter in task.generator_ema.parameters():
        parameter.data.mul_(1.25)  # the average is not the last generator
    config = {"task": TASK, "seed": 0}
    path = write(tmp_path, 7, as_bytes(content(state_dict=task.state_dict(), scumble={"config": config})))
    return path, task.eval()


def test_a_task_comes_back_with_its_weights(saved: tuple[Path, nn.Module]):
    path, task = saved
    for model in (path, path.parents[1]):
        found = load_task(model)
        assert type(found) is type(task)
        assert not found.training
        expected = task.state_dict()
        assert all(torch.equal(value, expected[name]) for name, value in found.state_dict().items())
    images = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16)
    assert torch.equal(found(*images), task(*images))


def test_the_generator_is_the_average_where_there_is_one(saved: tuple[Path, nn.Module]):
    path, task = saved
    images = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16)
    found = load_generator(path.parents[1])
    assert torch.equal(found(*images), task.generator_ema(*images))  # type: ignore[operator]
    assert not found.training
    assert not any(parameter.requires_grad for parameter in found.parameters())


def test_the_generator_is_the_last_one_where_there_is_no_average(saved: tuple[Path, nn.Module], tmp_path: Path):
    _, task = saved
    state = {name: value for name, value in task.state_dict().items() if not name.startswith("generator_ema.")}
    config = {"config": {"task": TASK | {"ema_decay": 0}}}
    path = write(tmp_path / "other", 7, as_bytes(content(state_dict=state, scumble=config)))
    images = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16)
    assert torch.equal(load_generator(path)(*images), task.generator(*images))  # type: ignore[operator]


def test_the_generator_needs_no_other_network(saved: tuple[Path, nn.Module], tmp_path: Path):
    _, task = saved
    elsewhere = TASK | {"perceptual_encoder": ENCODER | {"weights": str(tmp_path / "on another machine.safetensors")}}
    path = write(
        tmp_path / "other", 7, as_bytes(content(state_dict=task.state_dict(), scumble={"config": {"task": elsewhere}}))
    )
    assert load_generator(path) is not None
    with pytest.raises(Exception, match=r"no weight file .*another machine"):
        load_task(path)


def test_the_shipped_painter_needs_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    weights = write_painter(tmp_path / "painter.safetensors")
    monkeypatch.setattr("scumble.networks.painter.PAINTER_WEIGHTS", weights)
    found = load_generator("shipped")
    images = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16)
    assert torch.equal(found(*images), Painter(weights=str(weights))(*images))
    assert not found.training
    assert not any(parameter.requires_grad for parameter in found.parameters())
    with pytest.raises(CheckpointError, match="no checkpoint shipped"):
        load_generator(Path("shipped"))  # a path is a run folder or a file
    with pytest.raises(CheckpointError, match="no checkpoint shipped"):
        load_task("shipped")


def test_a_task_without_a_generator_says_so(tmp_path: Path):
    task = {"_target_": "scumble.tasks.distillation.Distillation", "student": ENCODER}
    path = write(tmp_path, 1, as_bytes(content(scumble={"config": {"task": task}})))
    with pytest.raises(
        CheckpointError, match=r"of the task scumble\.tasks\.distillation\.Distillation, which has no gen"
    ):
        load_generator(path)


def test_weights_that_do_not_fit_are_refused_by_name(saved: tuple[Path, nn.Module], tmp_path: Path):
    _, task = saved
    wider = {"config": {"task": TASK | {"generator": GENERATOR | {"width": 8}}}}
    path = write(tmp_path / "other", 1, as_bytes(content(state_dict=task.state_dict(), scumble=wider)))
    for load in (load_task, load_generator):
        with pytest.raises(CheckpointError, match=rf"{path}: its weights do not fit"):
            load(path)


@pytest.mark.parametrize("load", [load_task, load_generator])
def test_a_checkpoint_cannot_name_what_it_likes(load: Any, saved: tuple[Path, nn.Module], tmp_path: Path):
    _, task = saved
    sentinel = tmp_path / "sentinel"
    evil = {"_target_": "os.system", "command": f"touch {sentinel}"}
    config = {"config": {"task": TASK | {"generator": GENERATOR | {"width": evil}}}}
    path = write(tmp_path / "other", 1, as_bytes(content(state_dict=task.state_dict(), scumble=config)))
    with pytest.raises(UntrustedConfigError, match=r"os\.system"):
        load(path)
    assert not sentinel.exists()


@pytest.mark.parametrize("entry", [1, {}, {"config": {}}, {"config": {"task": {}}}])
@pytest.mark.parametrize("load", [load_task, load_generator])
def test_a_checkpoint_without_its_config_is_refused_by_name(load: Any, entry: Any, tmp_path: Path):
    path = write(tmp_path, 1, as_bytes(content(scumble=entry)))
    with pytest.raises(CheckpointError) as caught:
        load(path)
    assert str(path) in str(caught.value)
