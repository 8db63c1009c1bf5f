"""Training pictures: checked, decoded once, split without leaks, and handed out in batches.

Every picture is kept as a square of uint8, its sides squeezed to the same length, beside its true aspect. So a data
set is one array, in RAM or on the GPU, and a batch of views is cut from it by two matrix products (train/views.py).
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import io
import math
import os
import shutil
import signal
import tempfile
import uuid
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import broadcast_object_list, gather_object
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info
from torch.utils.data.dataloader import default_collate
from tqdm import tqdm

from colorizer.errors import ColorizerError
from colorizer.images import Photo
from colorizer.metrics import colorfulness
from train.recipe import Recipe
from train.sources import Item, list_items, stream_items

NO_LABEL = -1
HASH_SIDE = 8  # of the difference hash: 64 bits
HASHED_SIDE = 32  # pixels; what is smaller, such as digits, looks alike at that size without being a copy


# ------------------------------------------------------------------------------------------------------ one picture


def read_picture(item: Item) -> Image.Image:
    """The RGB picture of an item. ColorizerError when it is broken."""
    content = item.read()
    if isinstance(content, np.ndarray):
        return Image.fromarray(content).convert("RGB")
    # As the product reads photos: upright, in sRGB, whatever their profile and depth.
    return Photo.open(content).to_pil().convert("RGB")


def difference_hash(image: Image.Image) -> int:
    """64 bits that say which of two neighbors is brighter.

    Exact copies of a picture share them, many of those at another quality and some of those at another size; of
    copies below HASHED_SIDE pixels only exact ones do. Hashes of a few differing bits are no sign of a copy: seas and
    skies of thousands of photographs have such, too.
    """
    if min(image.size) < HASHED_SIDE:
        return int.from_bytes(hashlib.blake2b(image.tobytes(), digest_size=8).digest(), "big")
    gray = np.asarray(image.convert("L").resize((HASH_SIDE + 1, HASH_SIDE), Image.Resampling.BOX))
    return int.from_bytes(np.packbits(gray[:, 1:] > gray[:, :-1]).tobytes(), "big")


@dataclasses.dataclass
class Square:
    """A decoded picture: sRGB (3, S, S) uint8, width over height as it was, and its difference hash."""

    rgb: np.ndarray
    aspect: float
    hash: int


def decode(item: Item, size: int, min_side: int, min_colorfulness: float) -> Square | str:
    """An item as a square of `size` pixels, or why it is not used: "broken", "tiny" or "near-gray"."""
    try:
        image = read_picture(item)
    except ColorizerError:
        return "broken"
    if min(image.size) < min_side:
        return "tiny"
    square = np.array(image.resize((size, size), Image.Resampling.BOX if min(image.size) >= size else None))
    rgb = torch.from_numpy(square).permute(2, 0, 1)
    if min_colorfulness and colorfulness(rgb[None] / 255).item() < min_colorfulness:
        return "near-gray"
    return Square(rgb.numpy(), image.width / image.height, difference_hash(image))


# ------------------------------------------------------------------------------------------------------- a data set


class ReadingError(ColorizerError):
    """Pictures cannot be read or held any more: what one process may meet alone, and has to tell itself."""


class Pictures(Dataset):
    """A data set that fits into memory, or a list of items that are decoded when they are asked for.

    Indexed by a list it gives a batch: {"rgb": uint8 (N, 3, S, S), "aspect": float (N,), "label": int (N,),
    "index": int (N,)}. A label is the class's number, or NO_LABEL.

    Attributes:
        rgb: the squares, uint8 (P, 3, S, S) of all items, on whatever device; None if they are decoded when needed.
        kept: which items passed the checks, in order; `aspects`, `hashes` and `labels` belong to these.
    """

    def __init__(self, items: list[Item], rgb: Tensor | None, kept: list[int], decode, **of_kept) -> None:
        self.items, self.rgb, self.kept, self.decode = items, rgb, kept, decode
        self.aspects: np.ndarray = of_kept["aspects"]
        self.hashes: np.ndarray = of_kept["hashes"]
        self.labels: np.ndarray = of_kept["labels"]
        self.classes: list[str] = of_kept["classes"]

    def __len__(self) -> int:
        return len(self.kept)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        if self.rgb is None:
            items = [self.items[self.kept[i]] for i in indices]
            # The loader's workers are several already.
            with concurrent.futures.ThreadPoolExecutor(1 if get_worker_info() else os.cpu_count()) as pool:
                squares = list(pool.map(self.decode, items))
            for item, square in zip(items, squares, strict=True):
                if isinstance(square, str):
                    raise ReadingError(f"{item.name} was good when the run began and is {square} now.")
            rgb = torch.from_numpy(np.stack([square.rgb for square in squares]))
        else:
            rgb = self.rgb[torch.tensor([self.kept[i] for i in indices], device=self.rgb.device)]
        return {
            "rgb": rgb,
            "aspect": torch.from_numpy(self.aspects[indices]),
            "label": torch.from_numpy(self.labels[indices]),
            "index": torch.tensor(indices),
        }

    @property
    def digest(self) -> str:
        """Of which pictures these are, in their order: what exact resuming rests on."""
        names = "\n".join(self.items[i].name for i in self.kept)
        checksum = zlib.crc32(names.encode(errors="surrogateescape") + self.hashes.tobytes())
        return f"{len(self)} pictures in {len(self.classes)} classes, {checksum:08x}"

    def subset(self, indices: Sequence[int]) -> Pictures:
        """Some of the pictures, which share the memory."""
        indices = np.asarray(indices, dtype=int)
        fields = {name: getattr(self, name)[indices] for name in ("aspects", "hashes", "labels")}
        kept = [self.kept[i] for i in indices]
        return Pictures(self.items, self.rgb, kept, self.decode, classes=self.classes, **fields)

    def split(self, share: float, seed: int, most: int) -> tuple[Pictures, Pictures]:
        """A seeded split into the pictures to train on and `share` of them, at most `most`, to validate on.

        Copies of a picture (the same difference hash) stay together, so that none leaks: where no such groups add up
        to so many there are fewer, and where all are larger it is the smallest one. A share of 0 validates on the
        pictures that are trained on: what overfits on purpose is judged so.
        """
        if share == 0:
            return self, self.subset(some(len(self), most, seed))
        _, group = np.unique(self.hashes, return_inverse=True)
        if group.size == 0 or group.max() < 1:
            raise ColorizerError(
                f"A training needs at least two different pictures, one of them to validate on; there are {len(self)} "
                "pictures and fewer than two differ."
            )
        wanted = min(max(1, round(share * len(self))), most)
        # Whole groups in random order, without those that are more than what is left to take.
        order = np.random.default_rng(seed).permutation(group.max() + 1)
        sizes = np.bincount(group)
        taken, left = [], wanted
        for number in order:
            if sizes[number] <= left:
                taken.append(number)
                left -= sizes[number]
        held_out = np.isin(group, taken or order[sizes[order].argmin()])
        return self.subset(np.flatnonzero(~held_out)), self.subset(np.flatnonzero(held_out))


def prepare_pictures(
    items: list[Item], recipe: Recipe, accelerator: Accelerator, classes: list[str] | None = None
) -> Pictures:
    """Decodes and checks all items once, tells how many are dropped and why, and keeps the rest as the recipe says.

    `classes` are those of the training data when other pictures are prepared to go with them. One process of each
    machine decodes; the others look at the same memory. Raises ColorizerError when nothing is left, and when machines
    have other pictures than the first.
    """
    size = recipe.picture_size
    decode_item = partial(decode, size=size, min_side=recipe.min_side, min_colorfulness=recipe.min_colorfulness)
    shape = (len(items), 3, size, size)
    rgb, facts = None, None
    if recipe.cache != "none":
        rgb = _room(accelerator, shape)
    if accelerator.is_local_main_process:
        facts = _decode_all(items, rgb, decode_item, hidden=not accelerator.is_main_process)
    accelerator.wait_for_everyone()
    _check_same(items, facts)
    facts, dropped = broadcast_object_list([facts])[0]

    if dropped and accelerator.is_main_process:
        reasons = {"broken": "broken", "tiny": f"smaller than {recipe.min_side} pixels",
                   "near-gray": f"near-gray (colorfulness below {recipe.min_colorfulness:g})"}  # fmt: skip
        told = ", ".join(f"{count:,} {reasons[why]}" for why, count in sorted(dropped.items()))
        accelerator.print(f"{sum(dropped.values()):,} of {len(items):,} pictures are left out: {told}")
    if not facts:
        raise ColorizerError(
            f"None of the {len(items)} pictures can be used: "
            + ", ".join(f"{count} {why}" for why, count in dropped.items())
            + "; near-gray ones are kept with min_colorfulness: 0."
        )
    kept = [index for index, *_ in facts]
    labels = [items[index].label for index in kept]
    if classes is None:
        sizes = Counter(label for label in labels if label is not None)
        classes = sorted(label for label, size in sizes.items() if size >= recipe.min_class_size)
    number = {label: i for i, label in enumerate(classes)}
    cache = None
    if recipe.cache != "none":
        cache = torch.from_numpy(rgb)
        if recipe.cache == "device":
            try:
                cache = cache.to(accelerator.device)
            except torch.OutOfMemoryError:
                raise ReadingError(
                    f"The decoded pictures need {cache.numel() / 1e9:.1f} GB on each device, and there is less: lower "
                    "picture_size, or give cache: ram."
                ) from None
    return Pictures(
        items,
        cache,
        kept,
        decode_item,
        aspects=np.array([aspect for _, aspect, _ in facts], np.float32),
        hashes=np.array([hash for *_, hash in facts], np.uint64),
        labels=np.array([number.get(label, NO_LABEL) for label in labels]),
        classes=classes,
    )


def _decode_all(items, rgb: np.ndarray | None, decode_item, hidden: bool) -> tuple[list, Counter]:
    """(index, aspect, hash) of each picture that passes, and how many are dropped for which reason; fills `rgb`."""

    def one(index: int):
        square = decode_item(items[index])
        if isinstance(square, str):
            return square
        if rgb is not None:
            rgb[index] = square.rgb
        return index, square.aspect, square.hash

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        bar = tqdm(pool.map(one, range(len(items))), "decode", len(items), mininterval=5, disable=hidden)
        results = list(bar)
    return [r for r in results if not isinstance(r, str)], Counter(r for r in results if isinstance(r, str))


def _room(accelerator: Accelerator, shape: tuple[int, ...]) -> np.ndarray:
    """Memory for uint8 of that shape, which the processes of one machine share.

    Its pages are taken when they are written: what is dropped costs next to nothing.
    """
    if accelerator.num_processes == 1:
        try:
            return np.empty(shape, np.uint8)
        except MemoryError:
            raise ReadingError(
                f"The decoded pictures need {math.prod(shape) / 1e9:.1f} GB of memory, and there is less: lower "
                "picture_size, or give cache: none."
            ) from None
    path = _shared_file(accelerator, math.prod(shape))
    if accelerator.is_local_main_process:
        memory = np.memmap(path, np.uint8, "w+", shape=shape)
    accelerator.wait_for_everyone()
    if not accelerator.is_local_main_process:
        memory = np.memmap(path, np.uint8, "r+", shape=shape)
    accelerator.wait_for_everyone()
    if accelerator.is_local_main_process:
        path.unlink(missing_ok=True)  # the memory stays until the last process ends, however it ends
    return memory


def _check_same(items: list[Item], facts: tuple[list, Counter] | None) -> None:
    """Refuses machines with other pictures than the first, whose numbers would stand for others there."""
    names = zlib.crc32("\n".join(item.name for item in items).encode(errors="surrogateescape"))
    kept = facts and zlib.crc32(repr([index for index, *_ in facts[0]]).encode())  # of those that have decoded
    seen = gather_object([(len(items), names, kept)])
    if any(one[:2] != seen[0][:2] for one in seen) or any(one[2] not in (None, seen[0][2]) for one in seen):
        counts = " and ".join(map(str, sorted({count for count, *_ in seen})))
        raise ColorizerError(
            f"The machines do not see the same pictures ({counts} are there): give them the same folders."
        )


def _shared_file(accelerator: Accelerator, size: int) -> Path:
    """A path for the `size` bytes that the processes of one machine share, the same for all of them.

    In memory where there is room, otherwise in the folder for temporary files. Raises ColorizerError if both are full.
    """
    run = broadcast_object_list([uuid.uuid4().hex])[0]
    for folder in (Path("/dev/shm"), Path(tempfile.gettempdir())):
        # What is dropped from the set stays unwritten, so this asks for more than is needed.
        if folder.is_dir() and shutil.disk_usage(folder).free > size:
            return folder / f"colorizer-{run}"
    raise ColorizerError(
        f"The decoded pictures need {size / 1e9:.1f} GB in {folder}, and there is less: set TMPDIR to another folder, "
        "lower picture_size, or give cache: none."
    )


def load_data(recipe: Recipe, accelerator: Accelerator) -> tuple[Pictures | Stream, Pictures]:
    """What the recipe trains on and what it validates on."""
    if recipe.is_streamed:
        return _load_stream(recipe, accelerator)
    items = list_items(recipe.train_data_dir, recipe.dataset)
    items = [items[i] for i in some(len(items), recipe.max_train_samples, recipe.seed)]
    pictures = prepare_pictures(items, recipe, accelerator)
    if recipe.validation_data_dir:
        held_out = _load_validation(recipe, accelerator, pictures.classes)
        return _without_copies(pictures, held_out), held_out
    return pictures.split(recipe.validation_share, recipe.seed, recipe.max_validation_pictures)


def some(count: int, most: int | None, seed: int) -> list[int]:
    """Which of `count` things to take when at most `most` are wanted: a seeded choice, in their order."""
    if most is None or most >= count:
        return list(range(count))
    return sorted(np.random.default_rng(seed).permutation(count)[:most].tolist())


def _load_validation(recipe: Recipe, accelerator: Accelerator, classes: list[str]) -> Pictures:
    items = list_items(recipe.validation_data_dir, part="test")
    pictures = prepare_pictures(items, recipe, accelerator, classes)
    return pictures.subset(some(len(pictures), recipe.max_validation_pictures, recipe.seed))


def _without_copies(training: Pictures, held_out: Pictures) -> Pictures:
    """The training pictures of which there is no copy among the held-out ones."""
    fresh = np.flatnonzero(~np.isin(training.hashes, held_out.hashes))
    if not len(fresh):
        raise ColorizerError("All training pictures are among those of validation_data_dir, so none is left.")
    return training.subset(fresh)


# --------------------------------------------------------------------------------------------------------- a stream


class Stream(IterableDataset):
    """Pictures that are read while training, over and over, each epoch in another order; the same in every run.

    Pictures whose difference hash falls into the held-out share are left to validation, copies included, and those
    with one of the hashes `held_out`.
    """

    classes: list[str] = []  # nobody has seen all labels of a stream

    def __init__(self, recipe: Recipe, rank: int, world_size: int, held_out: frozenset[int] = frozenset()) -> None:
        self.recipe, self.rank, self.world_size, self.held_out = recipe, rank, world_size, held_out
        shards = [shard.rsplit("/", 1)[-1] for shard in recipe.train_shards]  # they may have moved
        split = (recipe.seed, recipe.validation_share, bool(recipe.validation_data_dir), *sorted(held_out))
        dataset = recipe.dataset
        if dataset and Path(dataset.name).exists():
            dataset = dataclasses.replace(dataset, name=Path(dataset.name).name)
        self.digest = f"a stream, {zlib.crc32(repr((dataset, shards, split)).encode()):08x}"

    def __iter__(self) -> Iterator[dict]:
        info = get_worker_info()
        workers = (info.id, info.num_workers) if info else (0, 1)
        epoch = 0
        while True:
            used = 0
            for _, square, index in self.squares(epoch, *workers):
                if not is_held_out(square.hash, self.recipe) and square.hash not in self.held_out:
                    used += 1
                    rgb, aspect = torch.from_numpy(square.rgb), np.float32(square.aspect)
                    yield {"rgb": rgb, "aspect": aspect, "label": NO_LABEL, "index": index}
            if not used:
                raise ColorizerError(
                    "A part of the stream that one process reads has no picture to train on: broken, tiny, near-gray "
                    "and held-out ones do not count."
                )
            epoch += 1

    def squares(self, epoch: int, worker: int, workers: int) -> Iterator[tuple[Item, Square, int]]:
        """The decoded pictures of one pass, with a number that seeds their views."""
        recipe = self.recipe
        items = stream_items(
            recipe.dataset, recipe.train_shards, seed=recipe.seed, epoch=epoch, rank=self.rank,
            world_size=self.world_size, worker=worker, workers=workers,
        )  # fmt: skip
        for item in items:
            square = decode(item, recipe.picture_size, recipe.min_side, recipe.min_colorfulness)
            if not isinstance(square, str):
                yield item, square, zlib.crc32(f"{item.name} {epoch}".encode(errors="surrogateescape"))


def is_held_out(hash: int, recipe: Recipe) -> bool:
    """Whether a streamed picture belongs to validation: by its hash and the seed, so that copies share a side."""
    if recipe.validation_data_dir:
        return False
    return zlib.crc32(f"{recipe.seed} {hash}".encode()) < recipe.validation_share * 2**32


def _load_stream(recipe: Recipe, accelerator: Accelerator) -> tuple[Stream, Pictures]:
    place = accelerator.process_index, accelerator.num_processes
    if recipe.validation_data_dir:
        validation = _load_validation(recipe, accelerator, [])
        return Stream(recipe, *place, held_out=frozenset(validation.hashes.tolist())), validation
    # The stream's beginning, as one process alone would read it, until there are enough.
    found: dict[int, Item] = {}
    if accelerator.is_main_process:
        looked_at = math.ceil(4 * min(64, recipe.max_validation_pictures) / max(recipe.validation_share, 1e-4))
        alone = Stream(recipe, 0, 1)
        for seen, (item, square, _) in enumerate(alone.squares(epoch=0, worker=0, workers=1)):
            if is_held_out(square.hash, recipe):
                found.setdefault(square.hash, _in_memory(item))
            if len(found) >= min(64, recipe.max_validation_pictures) or seen > looked_at:
                break
        if not found:
            found = None
    items = broadcast_object_list([found])[0]
    if items is None:
        raise ColorizerError(
            "The stream's beginning has no picture for validation: raise validation_share, or give "
            "validation_data_dir."
        )
    return Stream(recipe, *place), prepare_pictures(list(items.values()), recipe, accelerator, [])


def _in_memory(item: Item) -> Item:
    return dataclasses.replace(item, read=partial(_same, item.read()))


def _same(content):
    return content


# ------------------------------------------------------------------------------------------------------- in batches


def training_loader(data: Pictures | Stream, recipe: Recipe, accelerator: Accelerator) -> DataLoader:
    """Batches of train_batch_size for this process. Of Pictures, each epoch gives another order (set_epoch)."""
    if isinstance(data, Stream):
        # Each process reads its own part; accelerate would hand all that the first one reads to the others.
        workers = recipe.dataloader_num_workers
        return DataLoader(data, recipe.train_batch_size, num_workers=workers, worker_init_fn=_outlive_one_sigterm)
    batch = recipe.train_batch_size * accelerator.num_processes * recipe.gradient_accumulation_steps
    if len(data) < batch:
        raise ColorizerError(
            f"There are {len(data)} pictures to train on, fewer than the {batch} of one step (train_batch_size "
            f"{recipe.train_batch_size} x {accelerator.num_processes} processes x "
            f"{recipe.gradient_accumulation_steps} accumulated): lower train_batch_size or add pictures."
        )
    loader = DataLoader(
        data,
        recipe.train_batch_size,
        shuffle=True,
        drop_last=True,
        collate_fn=_as_it_is,
        num_workers=recipe.dataloader_num_workers if data.rgb is None else 0,
        worker_init_fn=_outlive_one_sigterm,
    )
    return accelerator.prepare_data_loader(loader, device_placement=False)  # the indices are wanted on the CPU


def _outlive_one_sigterm(worker: int) -> None:
    """Of a SIGTERM to the whole group of processes a worker dies too late, when the run has saved its checkpoint."""
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))


def _as_it_is(batch):
    """Pictures give whole batches; a fetched list of items is joined as usual."""
    return batch if isinstance(batch, dict) else default_collate(batch)


def batches_of(pictures: Pictures, size: int, indices: Sequence[int] | None = None) -> Iterator[dict[str, Tensor]]:
    """Batches of at most `size` of the pictures, in order."""
    indices = range(len(pictures)) if indices is None else indices
    for start in range(0, len(indices), size):
        yield pictures.__getitems__(list(indices[start : start + size]))


# --------------------------------------------------------------------------------------------------- for evaluation


@dataclasses.dataclass
class Photographs:
    """Whole pictures: sRGB (H, W, 3) uint8, their names, and their class (NO_LABEL where there is none)."""

    arrays: list[np.ndarray]
    names: list[str]
    labels: list[int]
    classes: list[str]


def load_photographs(
    root: str | Path, short_side: int, smallest: int, choose: Callable[[list[Item]], list[Item]] | None = None
) -> Photographs:
    """The pictures below a folder that can be read, reduced to at most `short_side` pixels.

    Those of less than `smallest` pixels each way are left out, and the main process says how many were, and why.
    `choose` picks from what is left by the files' beginnings; the others are not decoded, and one of the chosen that
    turns out to be broken leaves one photograph less. Raises ColorizerError where nothing is left.
    """
    items = list_items([root])
    found, small, kept = len(items), 0, []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        if choose:
            sides = list(pool.map(_short_side, items))
            small = sum(side is not None and side < smallest for side in sides)
            items = [item for item, side in zip(items, sides, strict=True) if side is not None and side >= smallest]
            broken = found - small - len(items)
            items = choose(items)
        else:
            broken = 0
        for item, array in zip(items, pool.map(partial(_reduced, short_side=short_side), items), strict=True):
            if array is None:
                broken += 1
            elif min(array.shape[:2]) < smallest:
                small += 1
            else:
                kept.append((item, array))
    if not kept:
        raise ColorizerError(
            f"No photograph in {root} has {smallest} pixels or more each way"
            + (f", and {broken} cannot be read." if broken else ".")
            if small
            else f"None of the {found} pictures in {root} can be read."
        )
    if (broken or small) and PartialState().is_main_process:
        print(f"{root}: left out {broken} that cannot be read and {small} of less than {smallest} pixels", flush=True)
    classes = sorted({item.label for item, _ in kept} - {None})
    number = {label: i for i, label in enumerate(classes)}
    return Photographs(
        arrays=[array for _, array in kept],
        names=[item.name for item, _ in kept],
        labels=[number.get(item.label, NO_LABEL) for item, _ in kept],
        classes=classes,
    )


def _short_side(item: Item) -> int | None:
    """Pixels of the shorter side, as the file's beginning says it; None where the picture cannot be read."""
    try:
        content = item.read()
        if isinstance(content, np.ndarray):
            return min(content.shape[:2])
        with Image.open(io.BytesIO(content)) as image:
            return min(image.size)
    except ColorizerError:
        return None
    except Exception:  # Pillow does not know all that Photo reads, and raises what it likes
        array = _reduced(item, short_side=1 << 30)
        return None if array is None else min(array.shape[:2])


def _reduced(item: Item, short_side: int) -> np.ndarray | None:
    try:
        image = read_picture(item)
    except ColorizerError:
        return None
    if min(image.size) > short_side:
        scale = short_side / min(image.size)
        image = image.resize([max(short_side, round(side * scale)) for side in image.size], Image.Resampling.BOX)
    return np.array(image)
