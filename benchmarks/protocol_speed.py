"""How long an evaluation under a protocol takes, the generator aside: 800 pairs at 256x256 in at most 4 minutes.

    python benchmarks/protocol_speed.py
    python benchmarks/protocol_speed.py --metrics ssim --pairs 2x4   # one metric, to see what it costs

The judges are VGG-19, LPIPS (squeeze) and SSIM. The first line is with an empty cache, the second with the references
of the first. The generator blends the two images, which costs nothing.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from scumble.protocol.creation import make_protocol
from scumble.protocol.lookup import find_files
from scumble.protocol.networks import make_networks
from scumble.protocol.painters import Model
from scumble.protocol.references import References
from scumble.protocol.scoring import batches_of, measure, sum_up

METRICS = ("lpips", "content_distance", "ssim", "style_distance")


class Blend(nn.Module):
    """Half of both images."""

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        return (content + style) / 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, default=Path("../shared/images"), help="has content/ and style/")
    parser.add_argument("--weights", type=Path, default=Path("../shared/weights"))
    parser.add_argument("--pairs", default="20x40")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--metrics", nargs="+", default=METRICS)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    weights: Path = options.weights
    lpips = (weights / "squeezenet1_1_features.safetensors", weights / "lpips_squeeze_v0.1_linear.safetensors")
    protocol = make_protocol(
        [options.images / "content"],
        [options.images / "style"],
        options.pairs,
        options.size,
        metrics=options.metrics,
        encoder=["vgg19_normalised", str(weights / "vgg19_normalised_relu4_1.safetensors")],
        lpips=["squeeze", *map(str, lpips)],
    )
    print("| references | pairs | wall time | of the processor | a pair |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as cache:
        for references in ("described", "from the cache"):
            wall, processor = time.perf_counter(), time.process_time()
            found = find_files([*protocol.content, *protocol.style, *protocol.files()], protocol.folders)
            known = References(protocol, found, make_networks(protocol, found), Path(cache))
            measured = measure(Model(Blend(), 0), known, batches_of(protocol, options.batch_size))
            sum_up(measured, known, "blend", {})
            wall, processor = time.perf_counter() - wall, time.process_time() - processor
            count = len(protocol.pairs)
            print(
                f"| {references} | {count} | {wall:.1f} s | {processor:.1f} s | {1000 * wall / count:.0f} ms |",
                flush=True,
            )


if __name__ == "__main__":
    main()
