"""What all tests share: no network beyond loopback, caches of their own, and a tiny model."""

import atexit
import os
import shutil
import signal
import tempfile

# Before any library reads them.
os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HOME": tempfile.mkdtemp(prefix="colorizer-tests-"),
    "GRADIO_ANALYTICS_ENABLED": "False",
    "NO_PROXY": "127.0.0.1,localhost",
    "no_proxy": "127.0.0.1,localhost",
}
os.environ.pop("HF_TOKEN", None)
os.environ.pop("HUGGING_FACE_HUB_TOKEN", None)
os.environ.pop("HF_TOKEN_PATH", None)
os.environ.pop("HF_ENDPOINT", None)
if "PYTEST_XDIST_WORKER" in os.environ:  # there are others: threads of more than the cores wait for each other
    os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch

atexit.register(shutil.rmtree, os.environ["HF_HOME"], ignore_errors=True)

# Small enough to be built and trained in a moment, with every part that the flagship has.
TINY = {"embedder": "test_resnet", "embedding": "maps", "width": 4, "decoder_widths": [16, 12, 8]}


@pytest.fixture(scope="session")
def tiny_model():
    """A fusion model with random weights, the same in every run."""
    from colorizer.models import create_model

    torch.manual_seed(0)
    return create_model("fusion", **TINY).eval()


@pytest.fixture(scope="session")
def tiny_folder(tiny_model, tmp_path_factory):
    """The same, as a model folder."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny_model.save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Crops of scikit-image's photographs, as source/class/name.png."""
    from PIL import Image
    from skimage import data

    folder = tmp_path_factory.mktemp("photos")
    for name in ("astronaut", "chelsea", "coffee"):
        image = getattr(data, name)()
        (folder / "skimage" / name).mkdir(parents=True)
        for i in range(8):
            crop = image[20 * i : 20 * i + 120, 25 * i : 25 * i + 150]
            Image.fromarray(crop).save(folder / "skimage" / name / f"{i}.png")
    return folder


@pytest.fixture
def signals_as_before():
    """A training in this process takes SIGINT and SIGTERM for itself."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
