"""Where training pictures come from: folders, tar files, CIFAR and MNIST in their own formats, datasets, shards.

Knows files, archives and datasets, and nothing of tensors, views or batches. A source that fits an index is listed
(`list_items`); one that is too large for that, or far away, is streamed (`stream_items`).
"""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import glob
import gzip
import hashlib
import http.client
import importlib
import itertools
import json
import lzma
import os
import re
import tarfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np

from colorizer.errors import ColorizerError

PICTURES = (".webp", ".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")
CIFAR_FILES = {"train": ("data_batch_*.bin", "train.bin"), "test": ("test_batch.bin", "test.bin")}
MNIST_FILES = {"train": "train-images-idx3-ubyte", "test": "t10k-images-idx3-ubyte"}
CIFAR_SHAPE = (3, 32, 32)
HTTP_TIMEOUT = 60.0  # seconds without a byte
HTTP_WAITS = (1.0, 5.0)  # seconds before a shard's second and third try


@dataclasses.dataclass(frozen=True)
class Item:
    """A picture of a source, not yet read.

    `name` is unique within the run's sources, e.g. 'skimage/coffee/0.png' or 'data_batch_1.bin#17'. `label` is the
    name of its class, None where there is none. `read()` gives the content of a picture file, or sRGB (H, W, 3) or
    gray (H, W) as uint8; it can be pickled, so that loader workers can have it.
    """

    name: str
    label: str | None
    read: Callable[[], bytes | np.ndarray]


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
    """A dataset as the `datasets` library knows it.

    `name` is a Hub id, a local folder (pictures, or parquet files), or a glob of .parquet files. The picture's column
    is the one with an Image feature unless `image_column` names it. The label's is the one with a ClassLabel feature
    unless `label_column` names it; where several have one, the pictures have no label until it does.
    """

    name: str
    config: str | None = None
    split: str = "train"
    image_column: str | None = None
    label_column: str | None = None
    revision: str | None = None


def list_items(
    folders: Sequence[str | Path] = (), dataset: DatasetSpec | None = None, *, part: str = "train"
) -> list[Item]:
    """Lists the pictures of folders and of a dataset, in an order that is the same in every process.

    A folder is any tree of picture files, tar files of pictures, CIFAR's binary files and MNIST's idx files; a single
    such file will do as well. Links to files are followed, links to folders and hidden files are not. A picture's
    label is the folder that it lies in, with that one's parent where there is one ('source/class'), and None at the
    root and in folders named 'all'. `part` ('train' or 'test') says which of CIFAR's and MNIST's files count.

    Raises ColorizerError where a folder is missing or holds no pictures, a file of it is broken, a picture is listed
    twice, or the dataset cannot be loaded.
    """
    if part not in CIFAR_FILES:
        raise ColorizerError(f"part is {part!r}; it must be 'train' or 'test'.")
    items: dict[str, Item] = {}
    seen = set()  # what has been listed, by its place on the disk
    real = functools.cache(os.path.realpath)
    for folder in folders:
        before = len(items)
        for origin, item in _list_folder(Path(folder), part):
            path, *rest = item.read.args
            place = (real(path.parent), path.name, *rest)
            if place in seen:
                raise ColorizerError(
                    f"{item.name} of {folder} is listed already; give no folder twice, nor one inside another."
                )
            seen.add(place)
            # Namesakes in other folders or tar files are told apart by these.
            names = (item.name, f"{origin.name}/{item.name}", f"{origin.as_posix()}/{item.name}")
            name = next(name for name in names if name not in items)
            items[name] = dataclasses.replace(item, name=name)
        if len(items) == before:
            raise ColorizerError(
                f"{folder} holds no pictures: looked for {' '.join(PICTURES)} files, .tar files of them, "
                f"CIFAR's {' or '.join(CIFAR_FILES[part])} and MNIST's {MNIST_FILES[part]}."
            )
    return [*items.values(), *(_list_dataset(dataset) if dataset else ())]


def checksum(items: Iterable[Item]) -> int:
    """Of pictures' names and content in their order: with others, one more or one less, it is another.

    They are read and not decoded, which takes a small part of the time. One that cannot be read counts as empty, since
    whoever decodes it leaves it out.
    """
    total = 0
    for item in items:
        try:
            content = item.read()
        except ColorizerError:
            content = b""
        total = zlib.crc32(content, zlib.crc32(item.name.encode(errors="surrogateescape"), total))
    return total


def stream_items(
    dataset: DatasetSpec | None,
    shards: Sequence[str],
    *,
    seed: int,
    epoch: int,
    rank: int,
    world_size: int,
    worker: int = 0,
    workers: int = 1,
    shuffle_buffer: int = 1000,
) -> Iterator[Item]:
    """Streams one epoch's share of a dataset, or of webdataset shards, for worker `worker` of process `rank`.

    All workers of all processes together give every picture exactly once an epoch; their shares need not be equally
    long. The order depends on the arguments alone: the shards are shuffled by (seed, epoch), the pictures by a buffer
    of `shuffle_buffer` of them. Shards are local paths, brace patterns ('shards/{000..012}.tar'), globs, and http(s)
    URLs; a sample's label is its 'cls' file, or "label" in its 'json' file. A streamed picture of a parquet file has
    no number, and is named by a digest of its content.

    Raises ColorizerError, at once where the arguments are wrong, there are fewer shards than readers or the dataset
    cannot be loaded, and on the way where a shard is broken or out of reach.
    """
    if bool(dataset) == bool(shards):
        raise ColorizerError("Streaming needs either a dataset or shards, and not both.")
    if dataset:
        items = _stream_dataset(dataset, seed, epoch, rank + worker * world_size, world_size * workers)
    else:
        items = _stream_shards(_my_shards(shards, seed, epoch, rank, world_size, worker, workers))
    return _shuffle(items, shuffle_buffer, np.random.default_rng((seed, epoch, rank, worker)))


def _shuffle(items: Iterable[Item], size: int, random: np.random.Generator) -> Iterator[Item]:
    """The items in an order that is random within a buffer; one of our own, so that no library's update changes it."""
    buffer = []
    for item in items:
        if len(buffer) < size:
            buffer.append(item)
        elif not buffer:
            yield item
        else:
            place = random.integers(size)
            yield buffer[place]
            buffer[place] = item
    yield from (buffer[place] for place in random.permutation(len(buffer)))


# Folders


def _list_folder(root: Path, part: str) -> Iterator[tuple[Path, Item]]:
    """The pictures below a folder (or of one file), in the names' order, each with the tar or folder it is from."""
    if not root.exists():
        raise ColorizerError(f"{root} does not exist; give a folder of pictures.")
    # Absolute, so that a worker with another working directory finds them, and a picture is known by its path.
    root = Path(os.path.abspath(root))
    files = _walk(root) if root.is_dir() else [(root.name, root)]
    for name, path in files:
        folder = name.rpartition("/")[0]
        if path.suffix.lower() in PICTURES:
            yield root, Item(name, _folder_label(name), functools.partial(_read_file, path))
        elif path.suffix.lower() == ".tar":
            yield from ((path, item) for item in _list_tar(path, folder))
        elif any(fnmatch.fnmatchcase(path.name, pattern) for pattern in CIFAR_FILES[part]):
            yield from ((root, item) for item in _list_cifar(path, name))
        elif path.name == MNIST_FILES[part]:
            yield from ((root, item) for item in _list_mnist(path, name))
        elif path.name == MNIST_FILES[part] + ".gz" and not path.with_suffix("").exists():
            yield from ((root, item) for item in _list_mnist(path, name))


def _walk(root: Path) -> list[tuple[str, Path]]:
    """Name (relative to the root, with '/') and path of each file that is not hidden, in the names' order."""

    def refuse(error: OSError) -> None:
        raise error

    files = []
    try:
        for folder, folders, names in os.walk(root, onerror=refuse):
            folders[:] = [name for name in folders if not name.startswith(".")]
            paths = [Path(folder, name) for name in names if not name.startswith(".")]
            files += [(path.relative_to(root).as_posix(), path) for path in paths if path.is_file()]
    except OSError as error:  # without its pictures the training would be another
        raise ColorizerError(
            f"{error.filename} cannot be read ({error.strerror}): make it readable, or move it out of {root}."
        ) from None
    return sorted(files)


def _folder_label(name: str) -> str | None:
    folders = name.split("/")[:-1]
    return "/".join(folders[-2:]) if folders and folders[-1] != "all" else None


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ColorizerError(f"{path} cannot be read: {_reason(error)}.") from error


class _WholeTarInfo(tarfile.TarInfo):
    """Members of a tar that must end as tars do.

    tarfile takes a damaged header, or a file cut off between two members, for the end of the tar, and all pictures
    after it would be missing without a word.
    """

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> tarfile.TarInfo:
        try:
            return super().fromtarfile(tar)
        except tarfile.EOFHeaderError:
            raise  # the mark at the end of every whole tar
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error


# What reading a tar raises, compressed ones included.
_TAR_ERRORS = (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError, http.client.HTTPException)


def _tar_members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (member := tar.next()) is not None:
        yield member
        tar.members.clear()  # tarfile keeps them all: a gigabyte for a million pictures


def _list_tar(path: Path, folder: str) -> list[Item]:
    places = {}
    try:
        with tarfile.open(path, "r:", tarinfo=_WholeTarInfo) as tar:
            for member in _tar_members(tar):
                name = PurePosixPath(folder, member.name.lstrip("/"))
                if member.isreg() and name.suffix.lower() in PICTURES and not _is_hidden(name):
                    places[name.as_posix()] = member.offset_data, member.size  # of two with one name, the later counts
    except _TAR_ERRORS as error:
        raise ColorizerError(f"{path} is not a whole, uncompressed tar file: {_reason(error)}.") from error
    return [
        Item(name, _folder_label(name), functools.partial(_read_range, path, offset, size))
        for name, (offset, size) in sorted(places.items())
    ]


def _is_hidden(name: PurePosixPath) -> bool:
    return any(part.startswith(".") and part != ".." for part in name.parts)


def _read_range(path: Path, offset: int, size: int) -> bytes:
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            content = file.read(size)
    except OSError as error:
        raise ColorizerError(f"{path} cannot be read: {_reason(error)}.") from error
    if len(content) < size:
        raise ColorizerError(f"{path} has become shorter since it was listed; start the training again.")
    return content


# CIFAR-10 and CIFAR-100, binary version: https://www.cs.toronto.edu/~kriz/cifar.html


def _list_cifar(path: Path, name: str) -> list[Item]:
    fine = path.name in ("train.bin", "test.bin")  # CIFAR-100: a coarse label, then a fine one
    kind, count, before, names = (
        ("CIFAR-100", 100, 2, "fine_label_names.txt") if fine else ("CIFAR-10", 10, 1, "batches.meta.txt")
    )
    pixels = int(np.prod(CIFAR_SHAPE))
    size = path.stat().st_size
    if size == 0 or size % (before + pixels):
        raise ColorizerError(
            f"{path} has {size} bytes, and a {kind} file is made of rows of {before + pixels}; download it again."
        )
    labels = np.memmap(path, np.uint8, "r").reshape(-1, before + pixels)[:, before - 1].tolist()
    if max(labels) >= count:
        raise ColorizerError(f"{path} has the label {max(labels)}, and {kind} has {count} classes; download it again.")
    classes = [str(label) for label in range(count)]
    if (path.parent / names).exists():
        classes = (path.parent / names).read_text("utf-8", errors="replace").split()
        if len(classes) != count:
            raise ColorizerError(f"{path.parent / names} names {len(classes)} classes, and {kind} has {count}.")
    return [
        Item(f"{name}#{row}", classes[label], functools.partial(_read_cifar, path, row * (before + pixels) + before))
        for row, label in enumerate(labels)
    ]


def _read_cifar(path: Path, offset: int) -> np.ndarray:
    """sRGB (32, 32, 3) uint8."""
    content = _read_range(path, offset, int(np.prod(CIFAR_SHAPE)))
    return np.ascontiguousarray(np.frombuffer(content, np.uint8).reshape(CIFAR_SHAPE).transpose(1, 2, 0))


# MNIST's idx files, compressed or not


def _list_mnist(path: Path, name: str) -> list[Item]:
    images = _read_idx(path, dimensions=3)
    labels: list[str | None] = [None] * len(images)
    plain = path.with_name(path.name.removesuffix(".gz").replace("images-idx3", "labels-idx1"))
    for labels_path in (plain, plain.with_name(plain.name + ".gz")):
        if labels_path.exists():
            values = _read_idx(labels_path, dimensions=1)
            if len(values) != len(images):
                raise ColorizerError(f"{labels_path} has {len(values)} labels, and {path} has {len(images)} pictures.")
            labels = [str(value) for value in values]
            break
    return [
        Item(f"{name}#{row}", label, functools.partial(_read_mnist, path, row)) for row, label in enumerate(labels)
    ]


@functools.lru_cache(maxsize=4)  # a .gz has to be unpacked from its start, so each process does it once
def _read_idx(path: Path, dimensions: int) -> np.ndarray:
    """The uint8 array of an idx file; its header is a magic number and the sizes, big-endian."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise ColorizerError(f"{path} cannot be read: {_reason(error)}.") from error
    start = 4 + 4 * dimensions
    magic, *sizes = np.frombuffer(content[:start].ljust(start, b"\0"), ">i4").tolist()
    if magic != 0x800 + dimensions:
        raise ColorizerError(f"{path} is not an idx file of uint8 with {dimensions} dimension(s); download it again.")
    if min(sizes) < 0 or len(content) != start + np.prod(sizes, dtype=object):
        raise ColorizerError(f"{path} has {len(content)} bytes, which is not what its header says; download it again.")
    return np.frombuffer(content, np.uint8, offset=start).reshape(sizes)


def _read_mnist(path: Path, row: int) -> np.ndarray:
    """Gray (28, 28) uint8."""
    return _read_idx(path, dimensions=3)[row].copy()


# Datasets of the Hub, or local ones


def _list_dataset(spec: DatasetSpec) -> list[Item]:
    dataset = _load_dataset(spec, streaming=False)
    image_column, label_column = _choose_columns(spec, dataset.features)
    to_label = _label_reader(dataset.features, label_column)
    # Only the labels' column is read here; the other may be gigabytes.
    values = dataset.select_columns([label_column])[:][label_column] if label_column else [None] * len(dataset)
    pictures = _undecoded(dataset.select_columns([image_column]), image_column)
    if not len(pictures):
        raise ColorizerError(f"The split {spec.split} of the dataset {spec.name} holds no pictures.")
    name = Path(spec.name).name if os.path.exists(spec.name) else spec.name  # a local one may have moved
    return [
        Item(f"{name}/{spec.split}#{row}", to_label(value), functools.partial(_read_row, pictures, row))
        for row, value in enumerate(values)
    ]


def _stream_dataset(spec: DatasetSpec, seed: int, epoch: int, reader: int, readers: int) -> Iterator[Item]:
    """Reader `reader`'s share of the dataset. Loads it at once; the pictures come when they are asked for."""
    dataset = _load_dataset(spec, streaming=True)
    if dataset.features is None:
        raise ColorizerError(f"The columns of the dataset {spec.name} are not known before it is read; do not stream.")
    image_column, label_column = _choose_columns(spec, dataset.features)
    to_label = _label_reader(dataset.features, label_column)
    dataset = _undecoded(dataset.select_columns([c for c in (image_column, label_column) if c]), image_column)
    rows = _my_rows(dataset, np.random.default_rng((seed, epoch)), reader, readers)
    return _stream_rows(spec, rows, image_column, label_column, to_label)


def _my_rows(dataset: Any, random: np.random.Generator, reader: int, readers: int) -> Iterator[dict[str, list]]:
    """Reader `reader`'s rows of the streamed dataset, as batches of one, its files in random order.

    As many files as can be dealt out evenly are read by one reader each. The rest are read by all, who take turns at
    their rows. The library's split_dataset_by_node lets all readers read all files as soon as there is such a rest,
    and its shuffle opens ten files at once, in memory for the most part.
    """
    order = random.permutation(dataset.num_shards)
    even = len(order) // readers * readers
    for place, shard in enumerate(order):
        if place < even and place % readers != reader:
            continue
        # iter(), since `for row in dataset` would be split by torch's loader workers once more.
        rows = dataset.shard(dataset.num_shards, int(shard)).iter(batch_size=1)
        yield from rows if place < even else itertools.islice(rows, reader, None, readers)


def _stream_rows(
    spec: DatasetSpec,
    rows: Iterator[dict[str, list]],
    image_column: str,
    label_column: str | None,
    to_label: Callable[[Any], str | None],
) -> Iterator[Item]:
    try:
        for row in rows:
            image = row[image_column][0]
            if image is None:
                continue
            label = to_label(row[label_column][0]) if label_column else None
            name = image["path"] if image["bytes"] is None else hashlib.sha256(image["bytes"]).hexdigest()[:20]
            yield Item(f"{spec.name}/{spec.split}/{name}", label, functools.partial(_read_image, image))
    except Exception as error:  # whatever the library, the Hub and the file format come up with
        raise ColorizerError(f"The dataset {spec.name} cannot be read to its end: {_reason(error)}.") from error


def _load_dataset(spec: DatasetSpec, streaming: bool) -> Any:
    """A datasets.Dataset, or an IterableDataset when streaming."""
    datasets = _import("datasets")
    what: dict[str, Any] = {"path": spec.name, "name": spec.config, "revision": spec.revision}
    if spec.name.endswith(".parquet"):
        if "://" not in spec.name and not glob.glob(spec.name, recursive=True):
            raise ColorizerError(f"There is no file {spec.name}; give a glob that matches .parquet files.")
        what = {"path": "parquet", "data_files": {spec.split.partition("[")[0]: spec.name}}
    try:
        return datasets.load_dataset(**what, split=spec.split, streaming=streaming)
    except Exception as error:  # whatever the library, the Hub and the file format come up with
        wrapped = isinstance(error, datasets.exceptions.DatasetGenerationError) and error.__cause__
        raise ColorizerError(f"The dataset {spec.name} cannot be loaded: {_reason(wrapped or error)}.") from error


def _choose_columns(spec: DatasetSpec, features: Any) -> tuple[str, str | None]:
    """The names of the picture's and of the label's column."""
    datasets = _import("datasets")
    for column in filter(None, (spec.image_column, spec.label_column)):
        if column not in features:
            raise ColorizerError(f"The dataset {spec.name} has no column {column}; it has {', '.join(features)}.")
    images = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    labels = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    if not spec.image_column and len(images) != 1:
        raise ColorizerError(
            f"The dataset {spec.name} has {len(images) or 'no'} columns of pictures; "
            f"set image_column to one of {', '.join(images or features)}."
        )
    return spec.image_column or images[0], spec.label_column or (labels[0] if len(labels) == 1 else None)


def _label_reader(features: Any, column: str | None) -> Callable[[Any], str | None]:
    """From a value of the label's column to the name of the class; -1 is the library's word for none."""
    feature = features[column] if column else None
    if isinstance(feature, _import("datasets").ClassLabel):
        return lambda value: None if value is None or value < 0 else feature.int2str(value)
    return lambda value: None if value is None else str(value)


def _undecoded(dataset: Any, image_column: str) -> Any:
    """The dataset with the pictures' files in place of their pixels; columns of plain bytes become pictures, too."""
    try:
        return dataset.cast_column(image_column, _import("datasets").Image(decode=False))
    except Exception as error:  # Arrow's errors are of many kinds
        raise ColorizerError(f"The column {image_column} does not hold pictures: {_reason(error)}.") from error


def _read_row(dataset: Any, row: int) -> bytes:
    (image,) = dataset[row].values()
    return _read_image(image) if image else b""  # an empty cell is a broken picture


def _read_image(image: dict[str, Any]) -> bytes:
    """The content of the picture file that {"bytes": ..., "path": ...} holds, or else names."""
    if image["bytes"] is not None:
        return image["bytes"]
    import fsspec  # comes with datasets; paths may be hf://..., https://..., zip://...::hf://...

    try:
        with fsspec.open(image["path"], "rb") as file:
            return file.read()
    except Exception as error:  # of any of fsspec's file systems
        raise ColorizerError(f"{image['path']} cannot be read: {_reason(error)}.") from error


# webdataset's tar shards


def _my_shards(
    patterns: Sequence[str], seed: int, epoch: int, rank: int, world_size: int, worker: int, workers: int
) -> list[str]:
    """The shards that worker `worker` of process `rank` reads in this epoch, in its order."""
    shards = list(dict.fromkeys(shard for pattern in patterns for shard in _expand(str(pattern))))
    if len(shards) < world_size * workers:
        most = len(shards) // world_size
        right = f"at most {most} workers a process" if most else f"at most {len(shards)} processes"
        raise ColorizerError(
            f"{len(shards)} shards are too few for {world_size} processes x {workers} workers: "
            f"give at least {world_size * workers} shards, or {right}."
        )
    order = np.random.default_rng((seed, epoch)).permutation(len(shards))
    return [shards[place] for place in order[rank::world_size][worker::workers]]


def _expand(pattern: str) -> list[str]:
    """The URLs and paths that a brace pattern or a glob stands for."""
    _import("webdataset")
    import braceexpand  # webdataset's own

    try:
        expanded = list(braceexpand.braceexpand(pattern, escape=False))  # in Windows' paths, \ is no escape
    except ValueError as error:
        raise ColorizerError(
            f"The braces in {pattern} are not closed; write them like shards/{{000..012}}.tar."
        ) from error
    for shard in expanded:
        if (scheme := _scheme(shard)) == "pipe":
            raise ColorizerError(f"{shard} would run a shell command; give shards as local paths or http(s) URLs.")
        if scheme not in ("", "http", "https"):
            raise ColorizerError(f"{shard} cannot be opened; give shards as local paths or http(s) URLs.")
    found = []
    for shard in expanded:
        literal = _scheme(shard) or os.path.isfile(shard)
        matches = [shard] if literal else sorted(glob.glob(shard, recursive=True))
        if not matches:
            raise ColorizerError(f"There is no shard {shard}; give paths of .tar files, patterns of them, or URLs.")
        found += matches
    return found


def _scheme(shard: str) -> str:
    match = re.match(r"\s*([A-Za-z][A-Za-z0-9+.-]+):", shard)  # two letters and more: C: is a drive
    return match[1].lower() if match else ""


def _stream_shards(shards: list[str]) -> Iterator[Item]:
    group_by_keys = importlib.import_module("webdataset.tariterators").group_by_keys
    for shard in shards:
        pictures = 0
        try:
            for sample in group_by_keys(_shard_files(shard)):
                suffixes = [key for key in sample if f".{key}".endswith(PICTURES)]
                # A sample's name ends at the first dot. What lies beside name.jpg, as name.depth.png and name.png, is
                # a depth or a mask; without it they are pictures whose names have dots.
                for suffix in [key for key in suffixes if f".{key}" in PICTURES][:1] or suffixes:
                    pictures += 1
                    place = Path(shard.partition("?")[0] if _scheme(shard) else shard).name  # it may have moved
                    name = f"{place}/{sample['__key__']}.{suffix}"
                    yield Item(name, _sample_label(sample), functools.partial(_content, sample[suffix]))
        except ColorizerError:
            raise
        except ValueError as error:  # two files of one name, a label that is no JSON or no text
            raise ColorizerError(f"The shard {shard} is not as webdataset's are: {_reason(error)}.") from error
        if not pictures:
            raise ColorizerError(f"The shard {shard} holds no pictures; looked for {' '.join(PICTURES)}.")


def _shard_files(shard: str) -> Iterator[dict[str, Any]]:
    """The files of a shard as webdataset's group_by_keys takes them.

    What a passing failure of the network interrupts is opened again, and goes on after the files already given.
    """
    given = 0
    for wait in (*(HTTP_WAITS if _scheme(shard) else ()), None):
        try:
            with _open_shard(shard) as stream, tarfile.open(fileobj=stream, mode="r|*", tarinfo=_WholeTarInfo) as tar:
                for place, member in enumerate(_tar_members(tar)):
                    if place < given:
                        continue
                    content = tar.extractfile(member).read() if member.isreg() else None
                    given = place + 1
                    if content is not None and not _is_hidden(PurePosixPath(member.name)):
                        yield {"fname": member.name, "data": content, "__url__": shard}
            return
        except _TAR_ERRORS as error:
            final = isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code not in (408, 429)
            if wait is None or final:
                raise ColorizerError(f"The shard {shard} cannot be read to its end: {_reason(error)}.") from error
        time.sleep(wait)


def _open_shard(shard: str) -> BinaryIO:
    if not _scheme(shard):
        return open(shard, "rb")
    request = urllib.request.Request(shard, headers={"User-Agent": "colorizer"})  # some hosts refuse urllib's own
    return urllib.request.urlopen(request, timeout=HTTP_TIMEOUT)


def _sample_label(sample: dict[str, Any]) -> str | None:
    if "cls" in sample:
        return sample["cls"].decode("utf-8").strip() or None
    if "json" in sample:
        fields = json.loads(sample["json"])
        label = fields.get("label") if isinstance(fields, dict) else None
        return None if label is None else str(label)
    return None


def _content(content: bytes) -> bytes:
    return content


# Helpers of several


def _import(library: str) -> ModuleType:
    """A library of the train extra, imported only where it is needed."""
    what = {"datasets": "dataset_name needs", "webdataset": "webdataset shards need"}[library]
    try:
        return importlib.import_module(library)
    except ImportError as error:
        raise ColorizerError(f"{what} the {library} library: pip install {library}") from error


def _reason(error: BaseException) -> str:
    """The first line of a library's error, as the end of a sentence of ours."""
    lines = str(error.args[0] if isinstance(error, KeyError) and error.args else error).strip().splitlines()
    reason = " ".join(lines[0].split()) if lines else type(error).__name__
    return re.sub(r"\.\s+(?=[A-Z])", "; ", reason)[:300].rstrip(". :")
