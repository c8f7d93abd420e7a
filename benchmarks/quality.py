"""How well a run stylizes pairs that it never saw, beside the untouched content.

    python benchmarks/quality.py RUN                 # on the held-out pairs of the run's own data
    python benchmarks/quality.py RUN --content DIR --style DIR --pairs 60

The judges are the real VGG-19 and LPIPS (--weights), whatever the run was trained with.
"""

import argparse
from pathlib import Path
from statistics import mean

import torch
from judges import Judges

from scumble.checkpoint import find_checkpoint, load_generator
from scumble.config import instantiate
from scumble.data.image_set import ImageSet
from scumble.data.pairs import ValidationPairs
from scumble.images import grid, write_image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--content", type=Path, help="folder of photographs (default: the run's held-out ones)")
    parser.add_argument("--style", type=Path, help="folder of paintings (default: the run's held-out ones)")
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--weights", type=Path, default=Path("../shared/weights"))
    parser.add_argument("--picture", type=Path, help="write a grid of some of the pairs here")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    judges = Judges(options.weights)
    print("| model | content distance | style distance | of untouched | LPIPS |\n| --- | --- | --- | --- | --- |")
    untouched = None
    for run in options.runs:
        pairs = held_out_pairs(run, options)
        generator = load_generator(run)
        scores, rows = [], []
        if untouched is None:
            untouched = summarize([judges(c, s, c) for c, s in pairs])
            print(row("untouched content", untouched, untouched))
        for content, style in pairs:
            with torch.inference_mode():
                stylized = generator(content, style)
            scores.append(judges(content, style, stylized))
            rows.append([content[0], style[0], stylized[0]])
        print(row(run.name, summarize(scores), untouched), flush=True)
        if options.picture:
            write_image(
                grid(rows[:: max(1, len(rows) // 10)], labels=["content", "style", "stylized"]), options.picture
            )


def held_out_pairs(run: Path, options: argparse.Namespace) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Pairs of (1, 3, size, size) images."""
    if options.content and options.style:
        files = [sorted(folder.glob("*.*")) for folder in (options.content, options.style)]
    else:
        data = instantiate(find_checkpoint(run).config["data"])
        data.prepare_data()
        data.setup()
        files = [split.validation for split in data.splits.values()]
    content, style = (ImageSet(paths, options.size) for paths in files)
    pairs = ValidationPairs(content, style, options.size, options.pairs)
    return [(pair["content"][None], pair["style"][None]) for pair in (pairs[i] for i in range(len(pairs)))]


def summarize(scores: list[dict[str, float]]) -> dict[str, float]:
    return {name: mean(score[name] for score in scores) for name in scores[0]}


def row(name: str, scores: dict[str, float], untouched: dict[str, float]) -> str:
    share = scores["style distance"] / untouched["style distance"]
    return (
        f"| {name} | {scores['content distance']:.3f} | {scores['style distance']:.3f} | {share:.2f} "
        f"| {scores['LPIPS']:.3f} |"
    )


if __name__ == "__main__":
    main()
