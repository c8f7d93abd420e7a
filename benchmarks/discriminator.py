"""What the discriminator buys: the painter, trained on from the same weights with different discriminators.

    python benchmarks/discriminator.py --protocol PROTOCOL.json --output FOLDER
    python benchmarks/discriminator.py --protocol PROTOCOL.json --output FOLDER --steps 300 --seeds 0 1 none hinge

Every variant is a run of `scumble train` for each seed, judged under one protocol (`scumble protocol create`). A run
that is there and finished is not trained again. `share` is the adversarial term's share of the generator's gradient.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import mean, pstdev

from scumble.loggers.csv_file import read_metrics

AUGMENTED = ("augmentation=diffaugment", "augmentation.policies=[colour,translation]")
R3GAN = (
    "adversarial_loss=relativistic",
    "task.penalty_weights.r1=1",
    "task.penalty_weights.r2=1",
    "discriminator.spectral=false",
)
VARIANTS: dict[str, tuple[str, ...]] = {
    "none": ("loss_weights.adversarial=0",),
    "hinge": ("loss_weights.adversarial=0.1",),
    "hinge_strong": ("loss_weights.adversarial=0.5",),
    "conditional": ("loss_weights.adversarial=0.5", "discriminator.conditional=true"),
    "conditional_augmented": ("loss_weights.adversarial=0.5", "discriminator.conditional=true", *AUGMENTED),
    "relativistic": ("loss_weights.adversarial=0.5", "discriminator.conditional=true", *AUGMENTED, *R3GAN),
}
METRICS = ("content_distance", "lpips", "style_distance", "sliced_wasserstein", "patch_coherence")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variants", nargs="*", help=f"some of {', '.join(VARIANTS)} (default: all)")
    parser.add_argument("--protocol", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--overrides", nargs="*", default=[], help="for every run")
    options = parser.parse_args()
    print("| discriminator | share | " + " | ".join(METRICS) + " |\n|" + " --- |" * (2 + len(METRICS)))
    for name in options.variants or VARIANTS:
        runs = [trained(name, seed, options) for seed in options.seeds]
        scores = [judged(run, options.protocol) for run in runs]
        shares = [value for run in runs for value in shares_of(run)]
        cells = [f"{100 * mean(shares or [0]):.1f} %"]
        for metric in METRICS:
            values = [score[metric] for score in scores]
            cells.append(f"{mean(values):.3f} ± {pstdev(values):.3f}")
        print(f"| `{name}` | " + " | ".join(cells) + " |", flush=True)


def trained(name: str, seed: int, options: argparse.Namespace) -> Path:
    """The folder of a run, trained if it is not."""
    folder = options.output / f"{name}-{seed}"
    own = [
        f"run_dir={folder}", "resume=true", f"seed={seed}", f"steps={options.steps}", "logger=csv",
        f"val_every_n_steps={options.steps}", "task.gradient_shares_interval=20", "name=discriminator",
    ]  # fmt: skip
    command = [sys.executable, "-m", "scumble", "train", *VARIANTS[name], *own, *options.overrides]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder


def judged(run: Path, protocol: Path) -> dict[str, float]:
    """The mean of every metric of pairs of a run under the protocol."""
    command = [sys.executable, "-m", "scumble", "evaluate", "--protocol", str(protocol), "--model", str(run)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (file,) = run.glob("scores-*.json")
    content = json.loads(file.read_text())
    return {name: content["summary"][name]["mean"] for name in METRICS}


def shares_of(run: Path) -> list[float]:
    rows = read_metrics(run).values()
    return [row["train/gradient_share/adversarial"] for row in rows if "train/gradient_share/adversarial" in row]


if __name__ == "__main__":
    main()
