"""Where pictures come from: real folders, tar files, CIFAR and MNIST files, parquet files and shards, made here."""

import errno
import gzip
import http.server
import io
import json
import os
import pickle
import re
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from colorizer.errors import ColorizerError
from train import sources
from train.sources import DatasetSpec, list_items, stream_items


def picture(number: int, format: str = "PNG") -> bytes:
    """A picture file that no other number gives."""
    pixels = np.random.default_rng(number).integers(0, 256, (16, 20, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format)
    return file.getvalue()


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def write_tar(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def one_sentence(error: pytest.ExceptionInfo) -> str:
    text = str(error.value)
    assert "\n" not in text and "Traceback" not in text
    assert len(re.findall(r"\.(?= [A-Z])", text)) == 0, text
    return text


def refuse(match: str, function, *args, **options) -> str:
    """The sentence with which the call is refused."""
    with pytest.raises(ColorizerError, match=match) as error:
        result = function(*args, **options)
        if not isinstance(result, list):
            list(result)
    return one_sentence(error)


# Folders


def test_folder_in_names_order_with_labels(tmp_path):
    files = {
        "root.PNG": None,
        "cats/b.jpg": "cats",
        "cats/a.JPEG": "cats",
        "pets/dogs/x.webp": "pets/dogs",
        "deep/pets/dogs/y.tiff": "pets/dogs",
        "pets/all/z.tif": None,
        "all/w.bmp": None,
    }
    for number, name in enumerate(files):
        write(tmp_path / name, b"%d" % number)
    for other in ("notes.txt", ".hidden.png", ".cache/thumbnail.png", "cats/._a.jpg"):
        write(tmp_path / other, b"no picture")
    items = list_items([tmp_path])
    assert [item.name for item in items] == sorted(files)
    assert {item.name: item.label for item in items} == files
    assert {item.name: item.read() for item in items} == {name: b"%d" % i for i, name in enumerate(files)}


def test_installed_photos():
    items = {item.name: item for item in list_items([Path(skimage.__file__).parent / "data"])}
    pixels = np.asarray(Image.open(io.BytesIO(items["coffee.png"].read())))
    assert np.array_equal(pixels, skimage.data.coffee()) and items["coffee.png"].label is None


def test_links_to_files_are_followed(tmp_path):
    target = write(tmp_path / "elsewhere/real.png", b"here")
    (tmp_path / "root").mkdir()
    (tmp_path / "root/link.png").symlink_to(target)
    (tmp_path / "root/dangling.png").symlink_to(tmp_path / "gone.png")
    (item,) = list_items([tmp_path / "root"])
    assert (item.name, item.read()) == ("link.png", b"here")


def test_a_folder_and_a_link_to_it_are_one(tmp_path):
    write(tmp_path / "photos/a.png", b"a")
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    assert [item.name for item in list_items([tmp_path / "link"])] == ["a.png"]
    with pytest.raises(ColorizerError, match="a.png of .*link is listed already"):
        list_items([tmp_path / "photos", tmp_path / "link"])


@pytest.mark.parametrize("call", ["os.scandir", "pathlib.Path.is_file"])
def test_a_folder_that_cannot_be_read_is_told(tmp_path, monkeypatch, call):
    """Without its pictures the training would be another."""
    write(tmp_path / "a.png", b"a")
    closed = write(tmp_path / "closed/b.png", b"b").parent
    owner, name = (os, "scandir") if call == "os.scandir" else (Path, "is_file")
    real = getattr(owner, name)

    def refuse(path, *args):
        if closed in (Path(path), Path(path).parent):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *args)

    monkeypatch.setattr(owner, name, refuse)
    with pytest.raises(ColorizerError, match="closed.* cannot be read .Permission denied.: make it readable, or move"):
        list_items([tmp_path])


def test_one_file_is_a_source(tmp_path):
    tar = write_tar(tmp_path / "a.tar", {"s/c/1.png": b"1"})
    alone = write(tmp_path / "alone.png", b"2")
    assert [(i.name, i.label, i.read()) for i in list_items([tar, alone])] == [
        ("s/c/1.png", "s/c", b"1"),
        ("alone.png", None, b"2"),
    ]


def test_relative_folders_survive_a_change_of_directory(tmp_path, monkeypatch):
    write(tmp_path / "pictures/a.png", b"a")
    monkeypatch.chdir(tmp_path)
    (item,) = list_items(["pictures"])
    monkeypatch.chdir("/")
    assert item.read() == b"a"


def test_tar_members(tmp_path):
    files = {f"photos/dogs/{n}.jpg": picture(n, "JPEG") for n in range(20)}
    other = {"./photos/all/x.PNG": b"x", "photos/._dogs/1.jpg": b"mac", "photos/readme.txt": b"no"}
    write_tar(tmp_path / "sub/photos.tar", files | other)
    items = list_items([tmp_path])
    assert {item.name: item.read() for item in items} == {f"sub/{n}": c for n, c in files.items()} | {
        "sub/photos/all/x.PNG": b"x"
    }
    assert [item.name for item in items] == sorted(item.name for item in items)
    assert {item.label for item in items} == {"photos/dogs", None}


def test_tar_is_not_read_into_memory(tmp_path):
    import tracemalloc

    write_tar(tmp_path / "large.tar", {f"{n}.png": bytes(4_000_000) for n in range(5)})
    tracemalloc.start()
    items = list_items([tmp_path])
    assert len(items) == 5 and tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_later_member_of_one_name_counts(tmp_path):
    write_tar(tmp_path / "a.tar", {"1.png": b"old"})
    write_tar(tmp_path / "a.tar", {"1.png": b"new"}, "a")
    (item,) = list_items([tmp_path])
    assert item.read() == b"new"


@pytest.mark.parametrize("damage", ["cut in a picture", "cut between", "header", "empty", "compressed", "no tar"])
def test_broken_tar(tmp_path, damage):
    path = write_tar(tmp_path / "b.tar", {f"{n}.png": bytes(512) for n in range(4)})
    whole = path.read_bytes()
    path.write_bytes(
        {
            "cut in a picture": whole[: 3 * 1024 + 700],
            "cut between": whole[: 3 * 1024],
            "header": whole[:2048] + b"\xff" * 512 + whole[2560:],
            "empty": b"",
            "compressed": gzip.compress(whole),
            "no tar": b"<html>not found</html>" * 100,
        }[damage]
    )
    assert "b.tar" in refuse("not a whole", list_items, [tmp_path])


def test_tar_cut_after_listing(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"1.png": bytes(5000)})
    (item,) = list_items([tmp_path])
    path.write_bytes(path.read_bytes()[:2000])
    refuse("a.tar has become shorter", item.read)
    path.unlink()
    refuse("a.tar cannot be read", item.read)


def test_namesakes_get_names_of_their_own(tmp_path):
    for folder in ("one/data", "two/data", "three"):
        write(tmp_path / folder / "cats/a.png", folder.encode())
        write_tar(tmp_path / folder / "x.tar", {"cats/a.png": b"tar " + folder.encode()})
    items = list_items([tmp_path / "one/data", tmp_path / "two/data", tmp_path / "three"])
    assert len(items) == len({item.name for item in items}) == len({item.read() for item in items}) == 6
    assert items[0].name == "cats/a.png" and {item.label for item in items} == {"cats"}


def test_folder_errors(tmp_path):
    refuse("nowhere does not exist", list_items, [tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    text = refuse("empty holds no pictures", list_items, [tmp_path / "empty"])
    assert ".webp" in text and ".tar" in text and "data_batch" in text and "idx3" in text
    write(tmp_path / "full/sub/a.png", b"")
    refuse("listed already", list_items, [tmp_path / "full", tmp_path / "full"])
    refuse("listed already", list_items, [tmp_path / "full", tmp_path / "full/sub"])
    refuse("'train' or 'test'", list_items, [tmp_path / "full"], part="val")
    assert list_items([]) == []


# CIFAR and MNIST in their own formats


def write_cifar(path: Path, labels: np.ndarray, seed: int) -> np.ndarray:
    """Rows of labels and planes; the pictures (N, 32, 32, 3)."""
    pixels = np.random.default_rng(seed).integers(0, 256, (len(labels), 32, 32, 3), dtype=np.uint8)
    rows = np.concatenate([labels, pixels.transpose(0, 3, 1, 2).reshape(len(labels), -1)], axis=1)
    write(path, rows.astype(np.uint8).tobytes())
    return pixels


CIFAR10 = "airplane automobile bird cat deer dog frog horse ship truck".split()


@pytest.mark.parametrize("names", [True, False])
def test_cifar10(tmp_path, names):
    labels = np.array([[3], [0], [9]])
    first = write_cifar(tmp_path / "data_batch_1.bin", labels, 1)
    second = write_cifar(tmp_path / "data_batch_2.bin", labels[::-1], 2)
    test = write_cifar(tmp_path / "test_batch.bin", labels[:1], 3)
    if names:
        write(tmp_path / "batches.meta.txt", "\n".join([*CIFAR10, "", ""]).encode())
    items = list_items([tmp_path])
    assert [item.name for item in items] == [f"data_batch_{b}.bin#{n}" for b in (1, 2) for n in range(3)]
    assert [item.label for item in items[:3]] == (["cat", "airplane", "truck"] if names else ["3", "0", "9"])
    arrays = [item.read() for item in items]
    assert arrays[0].shape == (32, 32, 3) and arrays[0].dtype == np.uint8
    assert np.array_equal(arrays, [*first, *second])
    (item,) = list_items([tmp_path], part="test")
    assert item.name == "test_batch.bin#0" and np.array_equal(item.read(), test[0])


def test_cifar100(tmp_path):
    folder = tmp_path / "cifar-100-binary"  # found below the folder given, as pictures are
    pixels = write_cifar(folder / "train.bin", np.array([[19, 99], [0, 7]]), 1)
    write_cifar(folder / "test.bin", np.array([[1, 1]]), 2)
    write(folder / "fine_label_names.txt", "\n".join(f"fine{n}" for n in range(100)).encode())
    items = list_items([tmp_path])
    assert [(i.name, i.label) for i in items] == [
        ("cifar-100-binary/train.bin#0", "fine99"),
        ("cifar-100-binary/train.bin#1", "fine7"),
    ]
    assert np.array_equal([item.read() for item in items], pixels)


def test_cifar_errors(tmp_path):
    path = tmp_path / "data_batch_1.bin"
    for size in (0, 3072, 3073 * 2 + 1):
        write(path, bytes(size))
        refuse(f"data_batch_1.bin has {size} bytes", list_items, [tmp_path])
    write_cifar(path, np.array([[10]]), 1)
    refuse("label 10", list_items, [tmp_path])
    write_cifar(path, np.array([[9]]), 1)
    write(tmp_path / "batches.meta.txt", b"cat\ndog\n")
    refuse("names 2 classes", list_items, [tmp_path])
    path.unlink()
    refuse("holds no pictures", list_items, [tmp_path])


def idx(array: np.ndarray) -> bytes:
    return np.array([0x800 + array.ndim, *array.shape], ">i4").tobytes() + array.astype(np.uint8).tobytes()


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_mnist(tmp_path, ending):
    pack = gzip.compress if ending else bytes
    digits = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)
    labels = np.array([7, 0, 9, 1, 7])
    write(tmp_path / f"train-images-idx3-ubyte{ending}", pack(idx(digits)))
    write(tmp_path / f"train-labels-idx1-ubyte{ending}", pack(idx(labels)))
    write(tmp_path / f"t10k-images-idx3-ubyte{ending}", pack(idx(digits[:2])))
    items = list_items([tmp_path])
    assert [item.label for item in items] == ["7", "0", "9", "1", "7"]
    assert np.array_equal([item.read() for item in items], digits) and items[0].read().dtype == np.uint8
    assert items[2].name == f"train-images-idx3-ubyte{ending}#2"
    assert [item.label for item in list_items([tmp_path], part="test")] == [None, None]
    write(tmp_path / "train-images-idx3-ubyte", idx(digits))  # unpacked beside its .gz: not twice
    assert len(list_items([tmp_path])) == 5


@pytest.mark.parametrize(
    "damage, match",
    [
        ({"images": b""}, "not an idx file"),
        ({"images": idx(np.zeros(9))}, "not an idx file"),
        ({"images": idx(np.zeros((3, 28, 28)))[:-1]}, "not what its header says"),
        ({"images": gzip.compress(idx(np.zeros((3, 28, 28))))[:-9], "ending": ".gz"}, "cannot be read"),
        ({"images": b"no gzip", "ending": ".gz"}, "cannot be read"),
        ({"labels": idx(np.zeros(4))}, "4 labels, and .* 3 pictures"),
        ({"labels": idx(np.zeros((3, 1, 1)))}, "not an idx file"),
    ],
)
def test_mnist_errors(tmp_path, damage, match):
    ending = damage.get("ending", "")
    write(tmp_path / f"train-images-idx3-ubyte{ending}", damage.get("images", idx(np.zeros((3, 28, 28)))))
    write(tmp_path / "train-labels-idx1-ubyte", damage.get("labels", idx(np.zeros(3))))
    refuse(match, list_items, [tmp_path])


# Datasets


@pytest.fixture(scope="module")
def parquet(tmp_path_factory):
    """Five parquet files of 7 pictures with classes, beside a second split's."""
    import datasets

    datasets.disable_progress_bars()
    folder = tmp_path_factory.mktemp("parquet")
    features = datasets.Features(
        {
            "picture": datasets.Image(),
            "kind": datasets.ClassLabel(names=["cat", "dog"]),
            "caption": datasets.Value("string"),
        }
    )
    for shard in range(5):
        numbers = range(shard * 7, shard * 7 + 7)
        rows = {
            "picture": [{"bytes": picture(n), "path": f"{n}.png"} for n in numbers],
            "kind": [n % 2 for n in numbers],
            "caption": [f"picture {n}" for n in numbers],
        }
        datasets.Dataset.from_dict(rows, features).to_parquet(folder / f"train-{shard}.parquet")
    rows = {"picture": [{"bytes": picture(99), "path": None}], "kind": [-1], "caption": ["last"]}
    datasets.Dataset.from_dict(rows, features).to_parquet(folder / "test-0.parquet")
    return folder


def test_a_local_dataset_may_move(parquet, monkeypatch):
    """What a run is resumed by are the pictures' names."""
    names = [item.name for item in list_items(dataset=DatasetSpec(str(parquet)))]
    monkeypatch.chdir(parquet.parent)
    assert [item.name for item in list_items(dataset=DatasetSpec(parquet.name))] == names


def test_dataset_of_parquet_files(parquet):
    items = list_items(dataset=DatasetSpec(str(parquet)))
    assert [item.read() for item in items] == [picture(n) for n in range(35)]
    assert [item.label for item in items] == ["cat", "dog"] * 17 + ["cat"]
    assert len({item.name for item in items}) == 35 and items[17].name.endswith("train#17")
    (item,) = list_items(dataset=DatasetSpec(str(parquet), split="test"))
    assert (item.read(), item.label) == (picture(99), None)


def test_dataset_by_glob_and_column(parquet):
    spec = DatasetSpec(str(parquet / "train-[13].parquet"), image_column="picture", label_column="caption")
    items = list_items(dataset=spec)
    assert [item.read() for item in items] == [picture(n) for n in (*range(7, 14), *range(21, 28))]
    assert items[0].label == "picture 7"


def test_dataset_of_a_folder(tmp_path):
    for number, kind in enumerate(["cat", "dog", "cat"]):
        write(tmp_path / kind / f"{number}.png", picture(number))
    spec = DatasetSpec(str(tmp_path))
    expected = {(picture(0), "cat"), (picture(1), "dog"), (picture(2), "cat")}
    assert {(item.read(), item.label) for item in list_items(dataset=spec)} == expected
    streamed = list(stream_items(spec, (), seed=0, epoch=0, rank=0, world_size=1))
    assert {(item.read(), item.label) for item in streamed} == expected
    assert len({item.name for item in streamed}) == 3


def test_columns_without_features(tmp_path):
    """Files that other tools wrote: bytes and numbers, and nothing that says they are pictures and classes."""
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.table({"image": [picture(0), None, picture(2)], "label": [5, 6, None], "other": ["a", "b", "c"]})
    parquet.write_table(table, tmp_path / "0.parquet")
    spec = DatasetSpec(str(tmp_path), image_column="image", label_column="label")
    assert [(i.read(), i.label) for i in list_items(dataset=spec)] == [
        (picture(0), "5"),
        (b"", "6"),
        (picture(2), None),
    ]
    streamed = stream_items(spec, (), seed=0, epoch=0, rank=0, world_size=1)
    assert {(i.read(), i.label) for i in streamed} == {(picture(0), "5"), (picture(2), None)}
    refuse(
        "no columns of pictures; set image_column to one of image, label, other",
        list_items,
        dataset=DatasetSpec(str(tmp_path)),
    )
    for function in (list_items, lambda dataset: stream_items(dataset, (), seed=0, epoch=0, rank=0, world_size=1)):
        refuse(
            "does not hold pictures|read to its end",
            function,
            dataset=DatasetSpec(str(tmp_path), image_column="label"),
        )


def test_several_columns_to_choose_from(tmp_path):
    import datasets

    features = datasets.Features(
        {n: datasets.Image() for n in ("photo", "mask")} | {n: datasets.ClassLabel(2) for n in ("coarse", "fine")}
    )
    rows = {"photo": [{"bytes": picture(1), "path": None}], "mask": [None], "coarse": [0], "fine": [1]}
    datasets.Dataset.from_dict(rows, features).to_parquet(tmp_path / "0.parquet")
    refuse(
        "2 columns of pictures; set image_column to one of photo, mask", list_items, dataset=DatasetSpec(str(tmp_path))
    )
    (item,) = list_items(dataset=DatasetSpec(str(tmp_path), image_column="photo"))
    assert item.label is None
    (item,) = list_items(dataset=DatasetSpec(str(tmp_path), image_column="photo", label_column="fine"))
    assert item.label == "1"


@pytest.mark.parametrize("streaming", [False, True])
def test_dataset_errors(parquet, tmp_path, streaming):
    def load(name, **fields):
        spec = DatasetSpec(str(name), **fields)
        if streaming:
            return stream_items(spec, (), seed=0, epoch=0, rank=0, world_size=1)
        return list_items(dataset=spec)

    assert "train" in refuse("cannot be loaded.*nope", load, parquet, split="nope")
    refuse("no column nope; it has picture, kind, caption", load, parquet, image_column="nope")
    refuse("no column nope; it has picture, kind, caption", load, parquet, label_column="nope")
    refuse("default", load, parquet, config="nope")
    refuse("nobody/nothing cannot be loaded", load, "nobody/nothing")  # there is no network
    refuse("nowhere cannot be loaded", load, tmp_path / "nowhere")
    refuse(r"no file .*x-\*.parquet", load, tmp_path / "x-*.parquet")
    write(tmp_path / "broken/0.parquet", b"PAR1" + bytes(50))
    refuse("broken cannot be loaded", load, tmp_path / "broken")
    damaged = bytearray((parquet / "train-0.parquet").read_bytes())
    damaged[4:3000] = bytes(2996)
    write(tmp_path / "damaged/0.parquet", bytes(damaged))
    refuse("damaged cannot be (loaded|read to its end): (?!An error occurred)", load, tmp_path / "damaged")


@pytest.mark.parametrize(
    "library, what", [("datasets", "dataset_name needs"), ("webdataset", "webdataset shards need")]
)
def test_missing_library(monkeypatch, library, what):
    monkeypatch.setitem(sys.modules, library, None)
    source = (DatasetSpec("x"), ()) if library == "datasets" else (None, ["x.tar"])
    text = refuse(what, stream_items, *source, seed=0, epoch=0, rank=0, world_size=1)
    assert text == f"{what} the {library} library: pip install {library}"


def test_libraries_are_imported_only_where_they_are_needed(tmp_path):
    write(tmp_path / "a.png", b"")
    script = (
        "import sys; from train.sources import list_items; assert len(list_items([sys.argv[1]])) == 1; "
        "print([name for name in ('datasets', 'webdataset', 'pyarrow', 'torch') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "[]"


ROOT = Path(__file__).parents[1]


# Shards


def write_shards(folder: Path, shards: int, pictures: int) -> list[str]:
    """Shards of samples with classes, by webdataset itself."""
    import webdataset

    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        with webdataset.TarWriter(str(folder / f"{shard:03d}.tar")) as tar:
            for n in range(shard * pictures, (shard + 1) * pictures):
                tar.write({"__key__": f"s/{n:04d}", "png": picture(n), "cls": n % 3, "txt": "a caption"})
    return [str(folder / f"{shard:03d}.tar") for shard in range(shards)]


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Five shards of 7 pictures."""
    return write_shards(tmp_path_factory.mktemp("shards"), 5, 7)


def stream(shards, **options):
    return stream_items(None, shards, **({"seed": 0, "epoch": 0, "rank": 0, "world_size": 1} | options))


def test_shards(shards):
    items = list(stream(shards))
    assert {(item.read(), item.label) for item in items} == {(picture(n), str(n % 3)) for n in range(35)}
    # Without the folder: the names seed the pictures' views, and the shards may have moved when a run is resumed.
    assert {item.name for item in items} == {f"{Path(shards[n // 7]).name}/s/{n:04d}.png" for n in range(35)}


@pytest.mark.parametrize(
    "names, wanted",
    [
        (["www.a.com_1.png", "www.a.com_2.png", "b.png"], ["www.a.com_1.png", "www.a.com_2.png", "b.png"]),
        (["000.depth.png", "000.png", "000.cls"], ["000.png"]),
        (["000.jpg", "000.png", "000.cls"], ["000.jpg"]),
    ],
)
def test_pictures_of_a_sample(tmp_path, names, wanted):
    """webdataset ends a sample's name at the first dot: what follows may be a name's rest, or say what is no photo."""
    shard = write_tar(tmp_path / "0.tar", {name: name.encode() for name in names})
    found = {Path(item.name).name: item.read().decode() for item in stream([str(shard)])}
    assert found == {name: name for name in wanted}


def test_shard_patterns(shards, monkeypatch):
    folder = Path(shards[0]).parent
    monkeypatch.chdir(folder)
    names = lambda *patterns: {Path(i.name).name for i in stream(patterns)}  # noqa: E731
    assert names("{000..004}.tar") == names("*.tar") == names(f"{folder}/00[0-4].tar") == names(*shards)
    assert names("00{0,3}.tar") == {f"{n:04d}.png" for n in (*range(7), *range(21, 28))}
    assert len(list(stream(["000.tar", "*.tar"]))) == 35  # no shard twice


def test_samples(tmp_path):
    files = {
        "plain.jpg": b"1",
        "upper.JPG": b"2",
        "upper.CLS": b"bird\n",
        "json.webp": b"3",
        "json.json": json.dumps({"label": 4}).encode(),
        "none.png": b"4",
        "none.json": json.dumps({"caption": "no label"}).encode(),
        "none2.bmp": b"5",
        "none2.json": b"[1, 2]",
        "two.dots.tiff": b"6",
        "text.txt": b"no picture",
        "a/._mac.jpg": b"no picture",
    }
    path = write_tar(tmp_path / "a.tgz", files, "w:gz")
    expected = {(b"1", None), (b"2", "bird"), (b"3", "4"), (b"4", None), (b"5", None), (b"6", None)}
    assert {(item.read(), item.label) for item in stream([str(path)])} == expected


def test_shard_errors(tmp_path, shards):
    refuse("shell command", stream, ["pipe:touch " + str(tmp_path / "ran")])
    refuse("shell command", stream, [shards[0], "{a,pipe:touch}.tar"])
    assert not (tmp_path / "ran").exists()
    refuse("s3://bucket/a.tar cannot be opened", stream, ["s3://bucket/a.tar"])
    refuse("no shard .*nope.tar", stream, [str(tmp_path / "nope.tar")])
    refuse("no shard", stream, [str(tmp_path / "*.tar")])
    refuse("braces", stream, ["shards/{000..012.tar"])
    refuse("either a dataset or shards", stream, [])
    refuse("either a dataset or shards", stream_items, DatasetSpec("x"), shards, seed=0, epoch=0, rank=0, world_size=1)
    text = refuse("5 shards are too few for 2 processes x 3 workers", stream, shards, world_size=2, workers=3)
    assert "at least 6 shards" in text and "at most 2 workers" in text
    assert "at most 5 processes" in refuse("8 processes", stream, shards, world_size=8)
    for name, files, match in [
        ("words", {"a.txt": b"x"}, "holds no pictures"),
        ("twins", {"a.png": b"1", "a.PNG": b"2"}, "duplicate file name"),
        ("json", {"a.png": b"1", "a.json": b"{"}, "not as webdataset's are"),
        ("cls", {"a.png": b"1", "a.cls": b"\xff\xfe"}, "not as webdataset's are"),
    ]:
        path = write_tar(tmp_path / f"{name}.tar", files)
        assert path.name in refuse(match, stream, [shards[0], str(path)])


@pytest.mark.parametrize("damage", ["cut in a picture", "cut between", "header", "no tar"])
def test_broken_shard_is_not_skipped(tmp_path, shards, damage):
    path = write_tar(tmp_path / "b.tar", {f"{n}.png": bytes(512) for n in range(4)})
    whole = path.read_bytes()
    path.write_bytes(
        {
            "cut in a picture": whole[: 3 * 1024 + 700],
            "cut between": whole[: 3 * 1024],
            "header": whole[:2048] + b"\xff" * 512 + whole[2560:],
            "no tar": b"<html>not found</html>" * 100,
        }[damage]
    )
    assert "b.tar" in refuse("cannot be read to its end", stream, [shards[0], str(path)])


class Server:
    """Serves a folder on loopback; `faults` holds what the next requests get in place of the file."""

    def __init__(self, folder: Path):
        server = self
        self.faults, self.requests = [], []

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *args):
                super().__init__(*args, directory=str(folder))

            def do_GET(self):
                server.requests.append(self.path)
                fault = server.faults.pop(0) if server.faults else None
                if fault == "cut":
                    content = (folder / self.path.partition("?")[0].lstrip("/")).read_bytes()
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content[: len(content) // 2])
                    self.close_connection = True
                elif fault:
                    self.send_error(fault)
                else:
                    super().do_GET()

            def log_message(self, *args):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def __enter__(self):
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def server(shards, monkeypatch):
    monkeypatch.setattr(sources, "HTTP_WAITS", (0.0, 0.0))
    with Server(Path(shards[0]).parent) as server:
        yield server


def test_shards_over_http(server):
    items = list(stream([server.url + "/{000..004}.tar?key=secret"]))
    assert sorted(item.read() for item in items) == sorted(picture(n) for n in range(35))
    assert len(server.requests) == 5 and "000.tar/s/0000.png" in {item.name for item in items}


def test_passing_failures_of_the_network_lose_and_repeat_nothing(server):
    server.faults = [503, "cut"]
    items = list(stream([f"{server.url}/000.tar"]))
    assert sorted(item.read() for item in items) == sorted(picture(n) for n in range(7))
    assert len(server.requests) == 3


def test_lasting_failures_of_the_network(server):
    refuse("nope.tar cannot be read.*404", stream, [server.url + "/nope.tar"])
    assert len(server.requests) == 1  # the file will not come by asking again
    server.faults = ["cut"] * 3
    refuse("000.tar cannot be read to its end", stream, [server.url + "/000.tar"])
    assert len(server.requests) == 4


def test_nothing_listens(monkeypatch, shards):
    monkeypatch.setattr(sources, "HTTP_WAITS", (0.0, 0.0))
    with Server(Path(shards[0]).parent) as closed:
        pass
    assert closed.url in refuse("cannot be read", stream, [closed.url + "/000.tar"])


# Both streams


@pytest.fixture(params=["dataset, 5 files", "dataset, 4 files", "dataset, 1 file", "shards"])
def source(request, parquet, shards):
    """(dataset, shards) and the number of pictures; 4 files are split by file, 5 and 1 by picture."""
    if request.param == "shards":
        return (None, shards), 35
    files, count = {"5": ("*", 35), "4": ("[0-3]", 28), "1": ("2", 7)}[request.param.split()[1]]
    return (DatasetSpec(str(parquet / f"train-{files}.parquet")), ()), count


def test_ranks_and_workers_share_an_epoch(source):
    source, count = source
    shares = [
        [item.read() for item in stream_items(*source, seed=3, epoch=2, rank=r, world_size=2, worker=w, workers=2)]
        for r in range(2)
        for w in range(2)
    ]
    assert all(shares)
    seen = [content for share in shares for content in share]
    assert len(seen) == count and len(set(seen)) == count


def test_order_depends_on_seed_and_epoch_alone(source):
    source, count = source

    def order(**options):
        options = {"seed": 0, "epoch": 0, "rank": 0, "world_size": 1, "shuffle_buffer": 10} | options
        return [item.name for item in stream_items(*source, **options)]

    first = order()
    assert first == order() and len(set(first)) == count
    for other in (order(seed=1), order(epoch=1), order(seed=1, epoch=1)):
        assert other != first and sorted(other) == sorted(first)
    assert order(seed=1) != order(epoch=1)
    assert order(shuffle_buffer=0) == order(shuffle_buffer=0) and len(order(shuffle_buffer=0)) == count


def test_a_buffer_mixes(shards):
    in_order = [item.name for item in stream(shards[:1], shuffle_buffer=1)]
    assert in_order == sorted(in_order)
    assert [item.name for item in stream(shards[:1], shuffle_buffer=7)] != in_order


class Streamed(torch.utils.data.IterableDataset):
    def __init__(self, source):
        self.source = source

    def __iter__(self):
        info = torch.utils.data.get_worker_info()
        items = stream_items(
            *self.source, seed=0, epoch=0, rank=0, world_size=1, worker=info.id, workers=info.num_workers
        )
        yield from (item.read() for item in items)


def test_loader_workers(source):
    """In torch's workers, where datasets would split a stream by itself once more."""
    source, count = source
    loader = torch.utils.data.DataLoader(Streamed(source), batch_size=None, num_workers=2)
    seen = list(loader)
    assert len(seen) == count and len(set(seen)) == count


def test_items_can_be_pickled(tmp_path, parquet, shards):
    write(tmp_path / "a.png", picture(0))
    write_tar(tmp_path / "b.tar", {"c/b.png": picture(1)})
    write_cifar(tmp_path / "data_batch_1.bin", np.array([[1]]), 1)
    write(tmp_path / "train-images-idx3-ubyte", idx(np.ones((1, 28, 28))))
    dataset = DatasetSpec(str(parquet))
    items = [*list_items([tmp_path], dataset), *stream(shards)]
    items += stream_items(dataset, (), seed=0, epoch=0, rank=0, world_size=1)
    assert len(items) == 4 + 3 * 35
    for item in items:
        copy = pickle.loads(pickle.dumps(item))
        assert (copy.name, copy.label) == (item.name, item.label) and np.array_equal(copy.read(), item.read())
    assert len({item.name for item in items}) == len(items)
