"""Train the distilled encoder further at 128x128, against features of VGG-19 that are computed once.

    python benchmarks/refine_encoder.py --steps 2000 --output refined.safetensors
    python benchmarks/refine_encoder.py --steps 600 --layers relu4_1 --output refined.safetensors

``experiment=distill`` asks the teacher at every step, which at this size takes most of the time. Here the images are
fixed: crops of the training photographs and paintings, and families of three: a photograph, what the published AdaIN
makes of it, and an image between it and a painting, or one that the student's own gradient leads to. A step sees
``--batch`` single images and ``--families``, and the distances between all their pairs.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.transforms import ColorJitter

from scumble.data.folders import Folders
from scumble.data.image_set import ImageSet, random_crop
from scumble.networks.feature_fusion import AdaIN
from scumble.networks.perceptual_encoders import (
    DISTILLED_WEIGHTS,
    STYLE_LAYERS,
    VGG,
    DistilledEncoder,
    vgg19_normalised,
)
from scumble.schedules import Cosine
from scumble.statistics import channel_moments, gram_matrix
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
WEIGHTS = {"content": 15.0, "family": 4.0, "style": 6.0, "gram": 2.0, "features": 1.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", type=Path, default=DISTILLED_WEIGHTS)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--layers", nargs="+", choices=STYLE_LAYERS, default=STYLE_LAYERS, help="blocks to train")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--learning-rate", type=float, default=8e-4)
    parser.add_argument("--batch", type=int, default=18, help="single images of a step")
    parser.add_argument("--families", type=int, default=2, help="families of three of a step")
    parser.add_argument("--crops", type=int, nargs=2, default=(12, 4), help="per photograph and per painting")
    parser.add_argument("--family-batches", type=int, default=110, help="of 8 families of three")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)

    student = DistilledEncoder(options.start)
    weights = options.shared / "weights"
    vgg = vgg19_normalised(weights / "vgg19_normalised_relu4_1.safetensors").eval().requires_grad_(False)
    adain = AdaIN(vgg, weights / "adain_decoder.safetensors").eval().requires_grad_(False)
    single = crops(options.shared / "images", options.crops)
    families = made_of(single, student, adain, options.family_batches)
    print(f"{len(single)} images, and {len(families) // 3} families of three", flush=True)
    images = torch.cat([single, families])
    known = Teacher(vgg, images)
    print("asked the teacher", flush=True)

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
        family = torch.randperm(len(families) // 3)[: options.families]
        chosen = torch.cat(
            [
                torch.randperm(len(single))[: options.batch],
                (len(single) + 3 * family[:, None] + torch.arange(3)).flatten(),
            ]
        )
        terms = known.losses(student(images[chosen].float() / 255), heads, chosen, options.families)
        optimizer.zero_grad()
        torch.stack([WEIGHTS[name] * term for name, term in terms.items()]).sum().backward()
        nn.utils.clip_grad_norm_(trained, 10.0)
        optimizer.step()
        if (step + 1) % 100 == 0:
            print(step + 1, {name: round(float(term.detach()), 4) for name, term in terms.items()}, flush=True)
        if (step + 1) % 500 == 0 or step + 1 == options.steps:
            state = {name: value.half().contiguous() for name, value in student.state_dict().items()}
            save_file(state, options.output)


def crops(folder: Path, counts: tuple[int, int]) -> Tensor:
    """Crops (N, 3, SIZE, SIZE), uint8, of the photographs and paintings that are not held out; half in other colours.

    There are a few hundred files, so what differs between the crops of one decides how well the student generalizes.
    """
    rng = np.random.default_rng(0)
    other_colours = ColorJitter(brightness=0.4, contrast=0.4, saturation=0.5, hue=0.1)
    made = []
    for side, count in zip(("content", "style"), counts, strict=True):
        photographs = ImageSet(Folders(folder / side).split().train, 2 * SIZE)
        for index in range(len(photographs)):
            made += [random_crop(photographs[index], SIZE, rng, (0.5, 1.0)) for _ in range(count)]
    images = torch.stack([other_colours(crop) if index % 2 else crop for index, crop in enumerate(made)])
    return (images * 255).round().byte()


def made_of(images: Tensor, student: DistilledEncoder, adain: AdaIN, batches: int) -> Tensor:
    """Families of three, one after the other: an image, its stylization, and an image between it and another."""
    made = []
    for index in range(batches):
        content, style = (images[torch.randint(len(images), (8,))].float() / 255 for _ in range(2))
        adain.alpha = 0.3 + 0.7 * float(torch.rand(()))
        stylized = adain(content, style)
        other = related_images(content, style)[16:] if index % 2 else lure(student, content, style, steps=4)
        made.append(torch.stack([content, stylized, other], dim=1).flatten(0, 1))
    return (torch.cat(made) * 255).round().byte()


class Teacher:
    """What the losses need of VGG-19's features of all images, in half precision."""

    @torch.no_grad()
    def __init__(self, encoder: VGG, images: Tensor):
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

    def losses(self, student: dict[str, Tensor], heads: Heads, chosen: Tensor, families: int) -> dict[str, Tensor]:
        """The terms of :class:`scumble.tasks.distillation.Distillation`, from what is known of the chosen images.

        The last ``3 * families`` of the images are families, within which ``family`` compares content distances.
        """
        features = {"relu4_1": self.features[chosen].float()}
        moments = torch.stack([2 * pairwise_distances(layer[chosen]) for layer in self.moments])
        grams = [layer.shape[1] ** 0.5 * pairwise_distances(layer[chosen].float()) for layer in self.grams]
        shallow = {layer: student[layer] for layer in STYLE_LAYERS[:3]}
        content, target = content_distances(student), content_distances(features)
        first, second = torch.triu_indices(len(chosen), len(chosen), offset=1)
        family = torch.arange(len(chosen)) - (len(chosen) - 3 * families)
        related = (first >= len(chosen) - 3 * families) & (family[first] // 3 == family[second] // 3)
        return {
            "content": log_distance_loss(content, target),
            "family": log_distance_loss(content[:, related], target[:, related]),
            "style": log_distance_loss(style_distances(student), moments),
            "gram": log_distance_loss(gram_distances(shallow), torch.stack(grams)),
            "features": feature_loss(heads({"relu4_1": student["relu4_1"]}), features),
        }


if __name__ == "__main__":
    main()
