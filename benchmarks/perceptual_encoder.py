"""How well the distilled perceptual encoder stands in for VGG-19: rank correlation of distances, and time.

    python benchmarks/perceptual_encoder.py                 # the encoder that ships with scumble
    python benchmarks/perceptual_encoder.py --runs RUN RUN  # and on what these runs make of held-out photographs

The images are the held-out ones of ``experiment=distill`` (a hash of the file decides), which it never saw.
"""

import argparse
import time
from pathlib import Path
from statistics import median

import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from scumble.checkpoint import load_generator
from scumble.data.folders import Folders
from scumble.data.image_set import ImageSet, center_crop
from scumble.losses.perceptual import content_loss, gram_style_loss, moment_style_loss
from scumble.networks.perceptual_encoders import (
    CONTENT_LAYERS,
    DISTILLED_WEIGHTS,
    DistilledEncoder,
    random_encoder,
    vgg19_normalised,
)
from scumble.statistics import channel_moments, gram_matrix

DISTANCES = ("content", "style", "gram")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--distilled", type=Path, default=DISTILLED_WEIGHTS)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--pairs", type=int, default=400)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", nargs="*", type=Path, default=[])
    parser.add_argument("--no-time", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    vgg = vgg19_normalised(options.shared / "weights" / "vgg19_normalised_relu4_1.safetensors")
    encoders = {"VGG-19": vgg, "distilled": DistilledEncoder(options.distilled), "random": random_encoder()}
    for encoder in encoders.values():
        encoder.eval().requires_grad_(False)

    compare(encoders, held_out_pairs(options.shared / "images", options.pairs, options.size), "two held-out images")
    if options.runs:
        pairs = stylized_pairs(options.shared / "images", options.runs, options.pairs, options.size)
        compare(encoders, [(a, c) for a, _, c in pairs], "a held-out photograph and what a run made of it")
        compare(encoders, [(b, c) for _, b, c in pairs], "a held-out painting and what a run made in its style")
    if not options.no_time:
        vgg, distilled = encoders["VGG-19"], encoders["distilled"]
        print("Forward and backward of 8 images\n\n| side | VGG-19 | distilled | ratio |\n| --- | --- | --- | --- |")
        for side in (64, 128, 256):
            slow, fast = side_by_side(vgg, distilled, torch.rand(8, 3, side, side))
            print(f"| {side} | {slow * 1e3:.0f} ms | {fast * 1e3:.1f} ms | {slow / fast:.1f} |")


def compare(encoders: dict[str, nn.Module], pairs: list[tuple[Tensor, Tensor]], what: str) -> None:
    """Print the rank correlation of every encoder's distances with those of VGG-19."""
    distances = {name: [pair_distances(encoder, a, b) for a, b in pairs] for name, encoder in encoders.items()}
    print(f"Spearman rank correlation with VGG-19 over {len(pairs)} pairs of {what}\n")
    print("| encoder | content distance | style distance | Gram distance |\n| --- | --- | --- | --- |")
    for name in ("distilled", "random"):
        ranks = [
            spearmanr([d[kind] for d in distances["VGG-19"]], [d[kind] for d in distances[name]]).statistic
            for kind in DISTANCES
        ]
        print(f"| {name} | " + " | ".join(f"{rank:.3f}" for rank in ranks) + " |")
    print(flush=True)


@torch.no_grad()
def stylized_pairs(images: Path, runs: list[Path], count: int, size: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Photograph, painting and stylized image; a third each at a strength of 1/3, 2/3 and 1, by the runs in turn."""
    content, style = (ImageSet(Folders(images / side).split().validation, size) for side in ("content", "style"))
    generators = [load_generator(run) for run in runs]
    random = torch.Generator().manual_seed(0)
    made = []
    for index in range(count):
        photograph, painting = (
            center_crop(side[int(torch.randint(len(side), (), generator=random))], size)[None]
            for side in (content, style)
        )
        stylized = generators[index % len(generators)](photograph, painting)
        made.append((photograph, painting, torch.lerp(photograph, stylized, (1 + index % 3) / 3)))
    return made


def held_out_pairs(images: Path, count: int, size: int) -> list[tuple[Tensor, Tensor]]:
    """Pairs of all kinds: photograph and photograph, photograph and painting, painting and painting."""
    paths = [path for side in ("content", "style") for path in Folders(images / side).split().validation]
    held_out = ImageSet(paths, size)
    order = torch.randint(len(paths), (2 * count, 2), generator=torch.Generator().manual_seed(0)).tolist()
    chosen = [(a, b) for a, b in order if a != b][:count]
    return [(center_crop(held_out[a], size)[None], center_crop(held_out[b], size)[None]) for a, b in chosen]


@torch.no_grad()
def pair_distances(encoder: nn.Module, first: Tensor, second: Tensor) -> dict[str, float]:
    a, b = encoder(first), encoder(second)
    return {
        "content": float(content_loss(a, {layer: b[layer] for layer in CONTENT_LAYERS})),
        "style": float(moment_style_loss(a, {layer: channel_moments(maps) for layer, maps in b.items()})),
        "gram": float(gram_style_loss(a, {layer: gram_matrix(maps) for layer, maps in b.items()})),
    }


def side_by_side(slow: nn.Module, fast: nn.Module, images: Tensor, repeats: int = 9) -> tuple[float, float]:
    """Median seconds of a forward and backward through each, taken in turn."""
    times: dict[nn.Module, list[float]] = {slow: [], fast: []}
    for _ in range(repeats + 2):
        for network, taken in times.items():
            leaf = images.clone().requires_grad_()
            start = time.perf_counter()
            sum(maps.square().mean() for maps in network(leaf).values()).backward()  # type: ignore[union-attr]
            taken.append(time.perf_counter() - start)
    return median(times[slow][2:]), median(times[fast][2:])


if __name__ == "__main__":
    main()
