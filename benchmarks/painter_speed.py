"""How long the painter takes beside the published AdaIN and the residual generator, all in turns in one process.

    python benchmarks/painter_speed.py --weights ../shared/weights          # AdaIN's two files are in that folder

AdaIN encodes content and style and decodes, as published. The painter's style is summarised before the clock starts;
its content is summarised within.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from scumble.networks.feature_fusion import AdaIN
from scumble.networks.generators import ResidualAttention
from scumble.networks.painter import Painter
from scumble.networks.perceptual_encoders import vgg19_normalised


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=Path("../shared/weights"))
    parser.add_argument("--sides", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    encoder = vgg19_normalised(options.weights / "vgg19_normalised_relu4_1.safetensors")
    adain = AdaIN(encoder, decoder_weights=str(options.weights / "adain_decoder.safetensors"), adain_layers=[]).eval()
    residual, painter = ResidualAttention(width=24).eval(), Painter(weights="shipped").eval()
    print("| side | network | median | of AdaIN | of the residual generator |\n| --- | --- | --- | --- | --- |")
    for side in options.sides:
        content, style = torch.rand(1, 3, side, side), torch.rand(1, 3, side, side)
        summary = painter.summarise_style(style)
        rows: dict[str, Callable[[], Tensor]] = {
            "published AdaIN": lambda c=content, s=style: adain(c, s),
            "`residual_attention`": lambda c=content, s=style: residual(c, s),
            "painter, the style too": lambda c=content, s=style: painter(c, s),
            "painter, style summarised before": lambda c=content, s=summary: painter.stylize(c, s),
        }
        medians = in_turns(rows, options.turns)
        adain_time, residual_time = list(medians.values())[:2]
        for name, seconds in medians.items():
            print(
                f"| {side} | {name} | {1000 * seconds:.0f} ms | {seconds / adain_time:.4f} "
                f"| {seconds / residual_time:.3f} |",
                flush=True,
            )


@torch.inference_mode()
def in_turns(rows: dict[str, Callable[[], Tensor]], turns: int) -> dict[str, float]:
    """The median time of each function, called one after the other in every turn; the first turn does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    for turn in range(turns + 1):
        for name, function in rows.items():
            started = time.perf_counter()
            function()
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


if __name__ == "__main__":
    main()
