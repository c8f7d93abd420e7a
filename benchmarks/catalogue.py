"""Train the systems of docs/catalogue.md as their pages say, one after the other, and print what they reached.

    python benchmarks/catalogue.py --output FOLDER                   # all of them: about three hours on two cores
    python benchmarks/catalogue.py --output FOLDER cyclegan cut      # some of them
    python benchmarks/catalogue.py --output FOLDER --pictures docs/images/catalogue

A run that is there and finished is not trained again. ``benchmarks/quality.py FOLDER/*`` judges those that stylize by
VGG-19 and LPIPS.
"""

import argparse
import csv
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

DIGITS = "data.root=../shared/mnist"
GLASS = ("data.style.manners=[stained_glass]", "generator.grain=0")  # glass has no dots
NARROW = ("generator.width=16", "discriminator.width=16")

# What is trained: the overrides, by the name of the run.
RUNS: dict[str, tuple[str, ...]] = {
    "gan_mlp": ("experiment=gan_mlp",),
    "gan_mlp_mnist": ("experiment=gan_mlp", DIGITS),
    "dcgan": ("experiment=dcgan",),
    "dcgan_narrow": ("experiment=dcgan", *NARROW, "steps=1500"),
    "dcgan_dense": ("experiment=dcgan", "generator.width=16", "discriminator=dense", "steps=1500"),
    "dcgan_5x5": ("experiment=dcgan_5x5", *NARROW, "steps=1500"),
    "dcgan_5x5_256": ("experiment=dcgan_5x5", *NARROW, "data.image_size=256", "steps=200", "val_every_n_steps=100"),
    "gan_autoencoder": ("experiment=gan_autoencoder",),
    "gan_autoencoder_plain": ("experiment=gan_autoencoder", "task.penalty_weights.r1=0", "task.ema_decay=0"),
    "cgan": ("experiment=cgan",),
    "vae": ("experiment=vae",),
    **{f"{name}_32": (f"experiment={name}", "data.image_size=32") for name in ("gan_mlp", "vae")},
    "texture": ("experiment=texture",),
    "gatys": ("experiment=gatys",),
    "adain": ("experiment=adain",),
    "vgg_fusion": ("experiment=vgg_fusion",),
    "attention": ("experiment=vgg_fusion", "fusion=attention"),
    "channel_swap": ("experiment=channel_swap",),
    "dual_encoder": ("experiment=dual_encoder",),
    "residual_attention": ("generator=residual_attention",),
    "residual_attention_distributions": (
        "generator=residual_attention",
        "task.style_statistics=sliced_wasserstein",
        "loss_weights.style=40",
    ),
    "style_gan": ("experiment=style_gan",),
    "wgan_gp": ("experiment=wgan_gp",),
    "cyclegan": ("experiment=cyclegan",),
    "cut": ("experiment=cut",),
    "fastcut": ("experiment=fastcut",),
    **{f"{name}_glass": (f"experiment={name}", *GLASS) for name in ("cut", "fastcut")},
    **{
        f"restoration_{damage}": ("experiment=restoration", f"damage={damage}")
        for damage in ("noise", "blur", "super_resolution_x2", "super_resolution_x4", "old_photo")
    },
    "restoration_inpainting": ("experiment=restoration", "damage=inpainting", "steps=600"),
    "enhancement": ("experiment=enhancement",),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(RUNS)}")
    parser.add_argument("--output", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--pictures", type=Path, help="folder for the first rows of each run's last grid, as JPEG")
    parser.add_argument("--threads", type=int, default=2, help="of a run (2); 1 if another trains beside it")
    options = parser.parse_args()
    if unknown := set(options.names) - set(RUNS):
        parser.error(f"unknown {', '.join(sorted(unknown))}; accepted: {', '.join(RUNS)}")

    print("| run | steps | minutes | validation, first -> last |\n| --- | --- | --- | --- |", flush=True)
    for name in options.names or RUNS:
        run = options.output / name
        minutes = train(run, (*RUNS[name], f"threads={options.threads}"))
        rows = validation_rows(run / "metrics.csv")
        measures = ", ".join(f"{key} {rows[0][key]:.4g} -> {rows[-1][key]:.4g}" for key in rows[-1] if key != "step")
        print(f"| {name} | {rows[-1]['step']:.0f} | {minutes:.1f} | {measures} |", flush=True)
        if options.pictures:
            save_rows(max((run / "grids").glob("*.png")), options.pictures / f"{name}.jpg")


def train(run: Path, overrides: tuple[str, ...]) -> float:
    """Train a run with the command line, unless it is there; returns the minutes that it took."""
    taken = run / "minutes.txt"
    if not taken.is_file():
        start = time.monotonic()
        scumble = Path(sys.executable).with_name("scumble")
        command = [scumble, "train", *overrides, f"run_dir={run}", "logger=csv"]
        run.parent.mkdir(parents=True, exist_ok=True)
        log = run.parent / f"{run.name}.log"
        with log.open("w") as file:
            if subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False).returncode:
                raise SystemExit(f"{run.name} failed:\n{log.read_text()[-2000:]}")
        taken.write_text(str((time.monotonic() - start) / 60))
    return float(taken.read_text())


def validation_rows(metrics: Path) -> list[dict[str, float]]:
    """The rows of a run's CSV metrics that a validation wrote, without the keys of the prefix ``val/``."""
    with metrics.open() as file:
        rows = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]
    return [
        {key.removeprefix("val/"): value for key, value in row.items() if key == "step" or key.startswith("val/")}
        for row in rows
        if any(key.startswith("val/") for key in row)
    ]


def save_rows(grid: Path, target: Path, largest: int = 560) -> None:
    """The first rows of a grid, as many as ``largest`` pixels hold, as a JPEG."""
    picture = Image.open(grid).convert("RGB")
    between_rows = np.flatnonzero(np.asarray(picture).min(axis=(1, 2)) == 255)
    picture.crop((0, 0, picture.width, int(between_rows[between_rows < largest].max()) + 1)).save(target, quality=88)


if __name__ == "__main__":
    main()
