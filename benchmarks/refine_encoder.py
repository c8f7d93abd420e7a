"""Train the distilled encoder further at 128x128, against features of VGG-19 that are computed once.

    python benchmarks/refine_encoder.py --steps 1200 --output refined.safetensors
    python benchmarks/refine_encoder.py --steps 600 --layers relu4_1 --output refined.safetensors

``experiment=distill`` asks the teacher at every step, which at this size takes most of the time. Here the images are
fixed: crops of the training photographs and paintings, images between them, and images that the student's own gradient
leads to. A step sees 24 of them, and the distances between all their pairs.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from scumble.data.folders import Folders
from scumble.data.image_set import ImageSet, random_crop
from scumble.losses.perceptual import channel_moments, gram_matrix
from scumble.networks.perceptual_encoders import DISTILLED_WEIGHTS, STYLE_LAYERS, DistilledEncoder, vgg19_normalised
from scumble.schedules import Cosine
from scumble.tasks.distillation import (
    Heads,
    content_distances,
    feature_loss,
    gram_distances,
    log_distance_loss,
    lure,
    pairwise_distances,
    related_images,
    style_distances,
)

SIZE = 128
WEIGHTS = {"content": 15.0, "style": 6.0, "gram": 2.0, "features": 1.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", type=Path, default=DISTILLED_WEIGHTS)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--layers", nargs="+", choices=STYLE_LAYERS, default=STYLE_LAYERS, help="blocks to train")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--learning-rate", type=float, default=8e-4)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--crops", type=int, nargs=2, default=(4, 2), help="per photograph and per painting")
    parser.add_argument("--extra", type=int, default=60, help="batches of 8 blended or lured images")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)

    student = DistilledEncoder(options.start)
    images = training_images(student, options.shared / "images", options.crops, options.extra)
    known = Teacher(options.shared / "weights" / "vgg19_normalised_relu4_1.safetensors", images)
    print(f"{len(images)} images", flush=True)

    heads = Heads({"relu4_1": student.widths["relu4_1"]}, {"relu4_1": known.features.shape[1]})
    trained = [
        *heads.parameters(),
        *(value for layer in options.layers for value in student.blocks[layer].parameters()),
    ]
    student.requires_grad_(False)
    for parameter in trained:
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam(trained, options.learning_rate)
    schedule = Cosine(1.0, 0.01, options.steps)
    for step in range(options.steps):
        for group in optimizer.param_groups:
            group["lr"] = options.learning_rate * schedule(step)
        chosen = torch.randperm(len(images))[: options.batch]
        terms = known.losses(student(images[chosen].float() / 255), heads, chosen)
        optimizer.zero_grad()
        torch.stack([WEIGHTS[name] * term for name, term in terms.items()]).sum().backward()
        nn.utils.clip_grad_norm_(trained, 10.0)
        optimizer.step()
        if (step + 1) % 100 == 0:
            print(step + 1, {name: round(float(term.detach()), 4) for name, term in terms.items()}, flush=True)
    save_file({name: value.half().contiguous() for name, value in student.state_dict().items()}, options.output)


def training_images(student: DistilledEncoder, folder: Path, crops: tuple[int, int], extra: int) -> Tensor:
    """Images (N, 3, SIZE, SIZE) as uint8, without the held-out files."""
    rng = np.random.default_rng(0)
    made = []
    for side, count in zip(("content", "style"), crops, strict=True):
        photographs = ImageSet(Folders(folder / side).split().train, SIZE * 3 // 2)
        made += [
            random_crop(photographs[i], SIZE, rng, (0.5, 1.0)) for i in range(len(photographs)) for _ in range(count)
        ]
    cut = torch.stack(made)
    batches = [cut]
    for index in range(extra):
        content, style = cut[torch.randint(len(cut), (8,))], cut[torch.randint(len(cut), (8,))]
        batches.append(related_images(content, style)[16:] if index % 2 else lure(student, content, style, steps=4))
    return (torch.cat(batches) * 255).round().byte()


class Teacher:
    """What the losses need of VGG-19's features of all images, in half precision."""

    def __init__(self, weights: Path, images: Tensor):
        encoder = vgg19_normalised(weights).eval().requires_grad_(False)
        features, moments, grams = [], [], []
        for batch in images.split(1):
            maps = encoder(batch.float() / 255)
            features.append(maps["relu4_1"].half())
            moments.append([torch.cat(channel_moments(maps[layer]), dim=1).flatten(1) for layer in STYLE_LAYERS])
            # Those of relu4_1 would take as much memory as its features.
            grams.append([gram_matrix(maps[layer]).flatten(1).half() for layer in STYLE_LAYERS[:3]])
        self.features = torch.cat(features)
        self.moments = [torch.cat(layer) for layer in zip(*moments, strict=True)]
        self.grams = [torch.cat(layer) for layer in zip(*grams, strict=True)]

    def losses(self, student: dict[str, Tensor], heads: Heads, chosen: Tensor) -> dict[str, Tensor]:
        """The terms of :class:`scumble.tasks.distillation.Distillation`, from what is known of the chosen images."""
        features = {"relu4_1": self.features[chosen].float()}
        moments = torch.stack([2 * pairwise_distances(layer[chosen]) for layer in self.moments])
        grams = [layer.shape[1] ** 0.5 * pairwise_distances(layer[chosen].float()) for layer in self.grams]
        shallow = {layer: student[layer] for layer in STYLE_LAYERS[:3]}
        return {
            "content": log_distance_loss(content_distances(student), content_distances(features)),
            "style": log_distance_loss(style_distances(student), moments),
            "gram": log_distance_loss(gram_distances(shallow), torch.stack(grams)),
            "features": feature_loss(heads({"relu4_1": student["relu4_1"]}), features),
        }


if __name__ == "__main__":
    main()
