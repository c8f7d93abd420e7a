"""How long a training step takes: the default beside the residual generator, in turns in one process.

    python benchmarks/step_time.py                       # at 128x128, batches of 4
    python benchmarks/step_time.py --of 'generator=residual_attention' 'generator=adain'

Each argument of ``--of`` is the overrides of one run, with spaces between them; times are compared with the first.
"""

import argparse
from statistics import median
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from step_overhead import lightning_loop

from scumble.config import CONFIG_FOLDER, instantiate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--of", nargs="+", default=["generator=residual_attention", "generator=painter"])
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=15, help="steps of a turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    configs = {name: config_of(name, options) for name in options.of}
    times: dict[str, list[float]] = {name: [] for name in configs}
    for _ in range(options.turns):
        for name, config in configs.items():
            data = instantiate(config["data"])
            data.prepare_data()
            data.setup()
            torch.manual_seed(0)
            times[name] += lightning_loop(instantiate(config["task"]), data, config, options.steps)
    first = median(times[options.of[0]])
    print("| run | median step | of the first |\n| --- | --- | --- |")
    for name, seconds in times.items():
        print(f"| `{name}` | {1000 * median(seconds):.0f} ms | {median(seconds) / first:.3f} |")


def config_of(overrides: str, options: argparse.Namespace) -> dict[str, Any]:
    own = ["run_dir=.", "name=step", f"data.image_size={options.size}", f"data.batch_size={options.batch}"]
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        config = OmegaConf.to_container(compose("train", [*overrides.split(), *own]), resolve=True)
    assert isinstance(config, dict)
    return {str(key): value for key, value in config.items()}


if __name__ == "__main__":
    main()
