"""`torchrun` starts the ranks, and starts them again when one fails."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from runs import TINY, make_images, scumble

from scumble.check_resume import differences

HERE = Path(__file__).parent


@pytest.mark.slow
def test_torchrun_equals_processes_that_lightning_starts(tmp_path: Path) -> None:
    """The last of the ranks is killed once in the middle; torchrun starts all again, and they go on."""
    content, style = make_images(tmp_path / "content", 6, seed=1), make_images(tmp_path / "style", 4, seed=2)
    arguments = ["train", *TINY, "trainer=ddp_sim", f"data.content={content}", f"data.style={style}", "steps=6",
                 "val_every_n_steps=3", "checkpoint_every_n_steps=2"]  # fmt: skip
    scumble(*arguments, "run_dir=whole", cwd=tmp_path)

    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--max-restarts=1", "--standalone"]
    kill = "+callbacks.kill={_target_: killer.KillOnce, hook: on_train_batch_start, step: 3, rank: 1}"
    # torch 2.15 keeps the addresses of the ranks that are gone in the store that it shares with the new ones.
    variables = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "OMP_NUM_THREADS": "1"}
    path = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
    result = subprocess.run(
        [*torchrun, "-m", "scumble", *arguments, kill, "run_dir=run"],
        cwd=tmp_path, capture_output=True, text=True, timeout=1200,
        env=os.environ | variables | {"PYTHONPATH": path},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    assert "resumed at step 2" in result.stdout + result.stderr
    assert list(differences(tmp_path / "whole", tmp_path / "run")) == []
