"""What all tests share: no network beyond loopback, caches of their own, and a tiny model."""

import atexit
import contextlib
import os
import runpy
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

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


# The files that take longest, longest first: `make test` gives each worker a file at a time, and whoever came to one
# of these last would be at it alone.
LONGEST = ("test_page.py", "test_training.py", "test_train.py", "test_app.py", "test_export.py", "test_fsdp.py")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: (*LONGEST, item.path.name).index(item.path.name))


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


@contextlib.contextmanager
def a_new_accelerator():
    """What others found out of this process and their precision does not hold here, nor the other way round."""
    from accelerate.state import AcceleratorState, PartialState

    shared = PartialState._shared_state, AcceleratorState._shared_state
    before = [dict(state) for state in shared]
    for state in shared:
        state.clear()
    try:
        yield
    finally:
        for state, was in zip(shared, before, strict=True):
            state.clear()
            state.update(was)


@contextlib.contextmanager
def runs_in_this_process():
    """What train/arena.py and train/reproduce.py start runs here: a process starts slower than a tiny model trains.

    Without a GPU, also where there is one.
    """
    from colorizer.errors import ColorizerError
    from train import arena, evaluate, runs
    from train.recipe import parse_recipe
    from train.train import Training

    def run(command: list[str]) -> str | None:
        _, script, *words = command
        assert Path(script).is_file()
        try:
            with a_new_accelerator():
                if Path(script).name == "evaluate.py":
                    evaluate.main(words)
                elif code := Training(parse_recipe(words)).fit():
                    return f"it ended with the code {code}."
        except ColorizerError as error:
            return str(error)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELERATE_USE_CPU", "true")
        patch.setattr(torch.accelerator, "is_available", lambda: False)
        for module in (runs, arena):
            patch.setattr(module, "run", run)
        yield


@pytest.fixture
def as_script(monkeypatch, capsys, tmp_path):
    """Runs a script to its end as `python script words ...` does in another folder, but for the start of a process."""

    def run(script: Path, *words) -> SimpleNamespace:
        monkeypatch.setattr(sys, "argv", [str(script), *map(str, words)])
        monkeypatch.setattr(sys, "path", [str(script.parent), *sys.path])
        monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
        monkeypatch.chdir(tmp_path)
        code = None
        try:
            with a_new_accelerator():
                runpy.run_path(str(script), run_name="__main__")
        except SystemExit as leave:
            code = leave.code
        out, err = capsys.readouterr()
        return SimpleNamespace(returncode=code or 0, stdout=out, stderr=err)

    return run


@pytest.fixture
def signals_as_before():
    """A training in this process takes SIGINT and SIGTERM for itself."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
