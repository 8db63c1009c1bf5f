"""Photographs for the trainer: read from folders and tar files, decoded once, kept as uint8 in memory."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import io
import os
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset
from torchvision.transforms.v2 import functional as transforms
from tqdm import tqdm

from colorizer.errors import ColorizerError

PICTURES = (".webp", ".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")
NO_LABEL = -1
SMALLEST = 32  # pixels of the short side; smaller pictures are left out


@dataclasses.dataclass
class Pictures:
    """Decoded pictures: sRGB arrays (H, W, 3) uint8, their names, and their class (NO_LABEL where there is none)."""

    arrays: list[np.ndarray]
    names: list[str]
    labels: list[int]
    classes: list[str]

    def __len__(self) -> int:
        return len(self.arrays)

    def split(self, share: float, seed: int) -> tuple[Pictures, Pictures]:
        """A seeded split into the pictures to train on and `share` of them (at least one) to validate on."""
        if len(self) < 2:
            raise ColorizerError(f"A training needs at least two pictures, and there is {len(self)}.")
        order = np.random.default_rng(seed).permutation(len(self))
        held_out = max(1, round(share * len(self)))
        return self._take(order[held_out:]), self._take(order[:held_out])

    def _take(self, indices: np.ndarray) -> Pictures:
        fields = (self.arrays, self.names, self.labels)
        return Pictures(*([field[i] for i in indices] for field in fields), self.classes)


def load_pictures(roots: list[str | Path], short_side: int, min_class_size: int = 20) -> Pictures:
    """Reads every color picture below the folders `roots`, tar files in them included; broken ones are left out.

    A picture is reduced so that its short side is at most `short_side`. Its class is the folder that it lies in, one
    below its source: `source/class/name.jpg`; folders named `all`, and classes of fewer than `min_class_size`
    pictures, count as no class. Raises ColorizerError when a folder does not exist or holds no picture.
    """
    files = [file for root in roots for file in _read_files(Path(root))]
    if not files:
        raise ColorizerError(f"There are no pictures in {', '.join(map(str, roots))}.")
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        decoded = list(
            tqdm(
                pool.map(lambda file: _decode(file[1], short_side), files),
                total=len(files),
                desc="decode",
                mininterval=5,
            )
        )
    kept = [(name, array) for (name, _), array in zip(files, decoded, strict=True) if array is not None]
    if not kept:
        raise ColorizerError(f"None of the {len(files)} pictures in {', '.join(map(str, roots))} can be read.")

    folders = ["/".join(Path(name).parts[-3:-1]) for name, _ in kept]
    sizes = Counter(folders)
    classes = sorted(
        folder
        for folder, size in sizes.items()
        if size >= min_class_size and "/" in folder and not folder.endswith("/all")
    )
    number = {folder: i for i, folder in enumerate(classes)}
    return Pictures(
        arrays=[array for _, array in kept],
        names=[name for name, _ in kept],
        labels=[number.get(folder, NO_LABEL) for folder in folders],
        classes=classes,
    )


def _read_files(root: Path) -> Iterator[tuple[str, bytes]]:
    """Name (relative to the folder) and content of each picture, in the names' order."""
    if not root.exists():
        raise ColorizerError(f"{root} does not exist; give a folder of pictures.")
    for path in sorted(root.rglob("*")) if root.is_dir() else [root]:
        if path.suffix.lower() == ".tar":
            with tarfile.open(path) as tar:
                for member in sorted(tar.getmembers(), key=lambda member: member.name):
                    if member.isfile() and member.name.lower().endswith(PICTURES):
                        yield member.name, tar.extractfile(member).read()
        elif path.suffix.lower() in PICTURES:
            yield str(path.relative_to(root) if path != root else path.name), path.read_bytes()


def _decode(content: bytes, short_side: int) -> np.ndarray | None:
    """sRGB (H, W, 3) uint8 with a short side of at most `short_side`; None when it is broken or tiny."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            image = image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    if min(image.size) < SMALLEST:
        return None
    if min(image.size) > short_side:
        scale = short_side / min(image.size)
        image = image.resize([max(short_side, round(side * scale)) for side in image.size], Image.Resampling.BOX)
    return np.array(image)  # a copy that torch may write to


class TrainingViews(Dataset):
    """Random views: a crop of a third to all of the picture's area, resized to a square, flipped half of the time.

    A view depends on (seed, epoch, index) alone, so that a resumed run sees what an uninterrupted one would have seen.
    Set `epoch` before each pass and `resolution` (pixels) at any time.
    """

    AREA = (0.35, 1.0)
    ASPECT = (0.8, 1.25)

    def __init__(self, pictures: Pictures, resolution: int, seed: int) -> None:
        self.pictures, self.resolution, self.seed, self.epoch = pictures, resolution, seed, 0

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> dict:
        """{"rgb": uint8 (3, S, S), "label": int}."""
        random = np.random.default_rng((self.seed, self.epoch, index))
        image = torch.from_numpy(self.pictures.arrays[index]).permute(2, 0, 1)
        height, width = image.shape[-2:]
        side = np.sqrt(random.uniform(*self.AREA)) * min(height, width)
        aspect = np.sqrt(np.exp(random.uniform(*np.log(self.ASPECT))))
        crop_height, crop_width = min(round(side / aspect), height), min(round(side * aspect), width)
        top, left = random.integers(height - crop_height + 1), random.integers(width - crop_width + 1)
        view = transforms.resized_crop(
            image, int(top), int(left), crop_height, crop_width, [self.resolution] * 2, antialias=True
        )
        if random.random() < 0.5:
            view = view.flip(-1)
        return {"rgb": view, "label": self.pictures.labels[index]}


class CenterViews(Dataset):
    """The square center of each picture, resized: what a run is validated on. Same items as TrainingViews."""

    def __init__(self, pictures: Pictures, resolution: int) -> None:
        self.pictures, self.resolution = pictures, resolution

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> dict:
        image = torch.from_numpy(self.pictures.arrays[index]).permute(2, 0, 1)
        view = transforms.center_crop(image, [min(image.shape[-2:])] * 2)
        view = transforms.resize(view, [self.resolution] * 2, antialias=True)
        return {"rgb": view, "label": self.pictures.labels[index]}


def simulate_hints(ab: torch.Tensor, generator: torch.Generator, share: float, most: int = 20) -> torch.Tensor:
    """Color hints (N, 3, H, W) as a person might give them, after Zhang et al. 2017.

    `share` of the pictures get 0 to `most` points at random places; a point is a square patch of 1 to 9 pixels a side
    that carries the mean ab of the picture below it. `ab` is (N, 2, H, W) in Lab units; the generator is a CPU one.
    """
    n, _, height, width = ab.shape
    count = torch.randint(0, most + 1, (n,), generator=generator) * (torch.rand(n, generator=generator) < share)
    owner = torch.repeat_interleave(torch.arange(n), count)
    points = len(owner)
    hints = ab.new_zeros(n, 3, height, width)
    if not points:
        return hints
    radius = torch.randint(0, 5, (points,), generator=generator)
    y = torch.randint(0, height, (points,), generator=generator)
    x = torch.randint(0, width, (points,), generator=generator)

    offset = torch.arange(-4, 5)
    dy, dx = (o.reshape(1, -1) for o in torch.meshgrid(offset, offset, indexing="ij"))
    rows, columns = y[:, None] + dy, x[:, None] + dx
    inside = torch.maximum(dy.abs(), dx.abs()) <= radius[:, None]
    inside &= (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    owner, rows, columns, inside = (t.to(ab.device) for t in (owner, rows, columns, inside))

    colors = ab[owner[:, None], :, rows, columns]  # (points, 81, 2)
    mean = (colors * inside[..., None]).sum(1) / inside.sum(1, keepdim=True)
    point, place = inside.nonzero(as_tuple=True)
    values = torch.cat([mean, mean.new_ones(points, 1)], dim=1)
    hints[owner[point], :, rows[point, place], columns[point, place]] = values[point]
    return hints
