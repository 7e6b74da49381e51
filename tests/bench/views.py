"""Views a second, the same operations by torchvision (PIL one by one, workers, v2 on batches), kornia and lightly.

`make bench` prints medians over interleaved rounds and the ratio round by round; it asserts nothing about speed. One
thread each. Before anything is timed it checks that all draw from the same recipe (agreement.py): a crop of 70 to 100 %
of the area, a flip, 10 degrees either way, brightness and contrast by 10 %. torchvision's v2 draws once for a whole
batch: all its images get the same crop and angle, so it does less than we do. torchvision and lightly turn by the
nearest pixel, as they come; kornia and ours resample bilinearly.
"""

import sys

import agreement
import torch
from timing import compare, save
from torchvision import transforms as T
from torchvision.transforms import v2

from medssl import data
from medssl.views import Augment

BATCH = 256
RECIPE = {"crop": (0.7, 1.0), "flip": 0.5, "rotate": 10, "brightness": 0.1, "contrast": 0.1}


class Pictures(torch.utils.data.Dataset):
    """What a DataLoader's worker does: one image, one view."""

    def __init__(self, pictures, pipeline):
        self.pictures, self.pipeline = pictures, pipeline

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, k):
        return self.pipeline(self.pictures[k])


def recipe(module, size: int, *last):
    """torchvision's pipeline, of transforms or of transforms.v2."""
    return module.Compose([module.RandomResizedCrop(size, scale=(0.7, 1.0)), module.RandomHorizontalFlip(),
                           module.RandomRotation(10),
                           module.ColorJitter(brightness=0.1, contrast=0.1), *last])


def by_kornia(size: int):
    import kornia.augmentation as K

    return K.AugmentationSequential(K.RandomResizedCrop((size, size), scale=(0.7, 1.0)), K.RandomHorizontalFlip(),
                                    K.RandomRotation(10.0, p=1.0), K.ColorJitter(brightness=0.1, contrast=0.1, p=1.0),
                                    data_keys=["input"])


def by_lightly(size: int):
    """Its SimCLR transform, told to do these operations and no others; it makes two views an image."""
    from lightly.transforms import SimCLRTransform

    return SimCLRTransform(size, cj_prob=1, cj_strength=1, cj_bright=0.1, cj_contrast=0.1, cj_sat=0, cj_hue=0,
                           min_scale=0.7, random_gray_scale=0, gaussian_blur=0, rr_prob=1, rr_degrees=10,
                           normalize=None)


def measure(images, side: int | None = None, rounds: int = 5, workers: bool = True, device: str = "cpu",
            now=None) -> list[dict]:
    """Rows of all peers for uint8 images [N,1,H,W], views of side × side pixels (as the images where it is None), in
    batches of 256; on a GPU only those that work on batches there."""
    augment, images = Augment(**RECIPE, size=side), images.to(device)
    own = images.shape[-1]
    generator, how, side = torch.Generator(device).manual_seed(0), {"now": now} if now else {}, side or own
    size = f"{own} px" if side == own else f"{own} → {side} px"
    if len(images) != BATCH:
        size = f"{len(images):,} images, {size}"

    def draw(part):
        return augment(part, generator)

    base = agreement.of(lambda x: draw(x.to(device)).cpu(), own)

    def batched(views, at_once: int = agreement.VIEWS):
        how = agreement.agree(agreement.of(lambda x: views(x.to(device)).cpu(), own, at_once), base)
        return (lambda: [views(part) for part in images.split(BATCH)]), how

    def v2_batch():
        pipeline = recipe(v2, side)
        return batched(lambda x: pipeline(x / 255), at_once=1)

    def kornia_batch():
        pipeline = by_kornia(side)
        return batched(lambda x: pipeline(x / 255))

    def ours():
        return [draw(part) for part in images.split(BATCH)]

    peers = {"torchvision v2, one draw a batch": ("torchvision", v2_batch), "kornia": ("kornia", kornia_batch)}
    row = {"unit": "views/s", "work": len(images), "rounds": rounds}
    if device != "cpu":
        return compare("views", f"{size}, {device}", ours, peers, **row, **how)
    pictures = [T.functional.to_pil_image(image) for image in images]

    def each(pipeline):
        said = agreement.agree(agreement.of(
            lambda x: torch.stack([pipeline(T.functional.to_pil_image(image)) for image in x]), own), base)
        return (lambda: [pipeline(picture) for picture in pictures]), said

    def loader():
        pipeline = recipe(T, side, T.ToTensor())
        load = torch.utils.data.DataLoader(Pictures(pictures * 8, pipeline), len(pictures), num_workers=2)
        return (lambda: list(load)), "as torchvision, PIL; CPU seconds of both workers and the copies between processes"

    rows = compare("views", size, ours, {
        "torchvision, PIL": ("torchvision", lambda: each(recipe(T, side, T.ToTensor()))),
        "lightly": ("lightly", lambda: each(by_lightly(side).transforms[0])), **peers}, **row)
    if workers:  # the same images eight times over, so that starting two workers weighs little
        rows += compare("views", size, lambda: [ours() for _ in range(8)],
                        {"torchvision, PIL, 2 workers": ("torchvision", loader)}, at_least=0.1,
                        **row | {"work": 8 * len(images), "rounds": 3})
    return rows


if __name__ == "__main__":
    torch.set_num_threads(1)
    few = "few" in sys.argv[1:]
    chest = data.load("pneumoniaphantom", size=28).train.images  # as many as PneumoniaMNIST has
    rows = [row for size in (28, 64) for row in measure(
        data.load("breastphantom", size=size).train.images[:32 if few else BATCH], None, 2 if few else 5, not few)]
    save("views", rows + [row for side in (28, 64) for row in measure(chest[:64 if few else None], side, 2, False)])
