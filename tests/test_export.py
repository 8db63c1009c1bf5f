"""Models as ONNX files, run by onnxruntime, against the pipeline."""

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from skimage import data, transform

from colorizer import ColorizationPipeline, Hint, Photo, cli, create_model, load_model
from colorizer.export import export_onnx
from colorizer.pipeline import balanced
from tests.conftest import TINY

# What the exporter takes a minute for, few of them: bins, hints and attention for hints are the bundled model's.
MODELS = {
    "regression, with a vector of pictures of one size": (
        "fusion",
        {**TINY, "head": "regression", "embedding": "pooled"},
    ),
    "attention, and a second embedder that sees more": (
        "fusion",
        {**TINY, "attention_blocks": 1, "second_embedder": "test_efficientnet", "second_embedder_scale": 1.5},
    ),
    "plain": ("lab_cnn", {"width": 4}),
    "thumbnails": ("two_stage", {}),
}


def photo_of(pixels: np.ndarray) -> Photo:
    return Photo.from_pil(Image.fromarray(pixels))


def session_of(path: Path) -> tuple[onnxruntime.InferenceSession, dict[str, np.ndarray]]:
    """The file in onnxruntime, and its dials as it is fed with them."""
    session = onnxruntime.InferenceSession(path)
    dials = json.loads(session.get_modelmeta().custom_metadata_map["dials"])
    return session, {name: np.array(value, np.float32) for name, value in dials.items()}


def ab_of(pipe: ColorizationPipeline, coloring, **dials) -> torch.Tensor:
    """What the pipeline makes of a coloring before the guided filter."""
    dials = pipe.dials(**dials)
    model = pipe.model
    if model.has_distribution:
        ab = pipe._ab(coloring.prediction, dials["temperature"], dials["restraint"])
    else:
        ab = pipe.chroma_of(coloring.prediction)
    return dials["colorfulness"] * balanced(ab, dials["balance"])


@pytest.mark.parametrize("kind", MODELS)
def test_a_model_gives_what_the_pipeline_does(kind, tmp_path):
    name, config = MODELS[kind]
    model = create_model(name, **config)
    model.defaults["colorfulness"] = 1  # a whole number is none of another kind
    for block in getattr(model, "attention", ()):  # which begins without a say
        torch.nn.init.normal_(block.block.attn.proj.weight)
    path = tmp_path / "made/model.onnx"
    inputs = export_onnx(model, path)
    session, feeds = session_of(path)
    assert [each.name for each in session.get_inputs()] == inputs == ["lightness", *inputs[1:]]
    assert ("hints" in inputs) == model.accepts_hints and ("temperature" in inputs) == model.has_distribution
    assert [file.name for file in path.parent.iterdir()] == ["model.onnx"]
    pipe = ColorizationPipeline(model, "cpu")
    faded = (100 + data.coffee()[:, :400] * 0.2).astype(np.uint8)
    least = int(session.get_modelmeta().custom_metadata_map["least_side"])
    hinted = [Hint(100, 200, 30, 60)] if model.accepts_hints else []
    for count, pixels, size, hints in (
        (1, data.astronaut(), 160, []),
        (1, data.astronaut(), 160, hinted),
        (3, faded, least, []),
    ):
        coloring = pipe.prepare(photo_of(pixels), working_size=size, hints=hints)
        lightness = coloring.lightness.numpy().repeat(count, 0)
        feeds["lightness"] = lightness
        if model.accepts_hints:
            feeds["hints"] = np.zeros((count, 3, *lightness.shape[2:]), np.float32)
            if hints:
                feeds["hints"] = coloring._hint_map(coloring.hints)[None].numpy()
        (got,) = session.run(["ab"], feeds)
        wanted = ab_of(pipe, coloring).numpy().repeat(count, 0)
        assert got.shape == wanted.shape and np.abs(wanted).max() > 0.1
        assert np.abs(got - wanted).max() < 0.01


@pytest.fixture(scope="module")
def bundled(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("bundled") / "colorizer.onnx"
    assert cli.main(["export", str(path)]) == 0
    return path


def test_the_bundled_model_with_dials_and_hints(bundled):
    session, feeds = session_of(bundled)
    facts = session.get_modelmeta().custom_metadata_map
    pipe = ColorizationPipeline(load_model(), "cpu")
    defaults = pipe.dials()
    assert int(facts["working_size"]) == defaults["working_size"] and "fusion_compact" in facts["model"]
    assert all(defaults[name] == pytest.approx(float(value)) for name, value in feeds.items())
    photo = photo_of(data.astronaut())
    hint = Hint(100, 400, 30, 60)
    dials = {"temperature": 0.3, "restraint": 0.5, "balance": 0.4, "colorfulness": 0.9}
    for hints, changes in (([], {}), ([hint], dials)):
        coloring = pipe.prepare(photo, hints=hints)
        feeds |= {name: np.array(value, np.float32) for name, value in changes.items()}
        feeds["lightness"] = coloring.lightness.numpy()
        given = coloring._hint_map(coloring.hints)[
            None
        ].numpy()  # as the network reads them: the file takes the result's colors
        given[:, :2] *= pipe.model.defaults["colorfulness"]
        feeds["hints"] = given
        (got,) = session.run(["ab"], feeds)
        wanted = ab_of(pipe, coloring, **changes).numpy()
        assert np.abs(wanted).max() > 20
        assert np.abs(got - wanted).max() < 0.05


def test_the_example_of_the_readme(bundled, tmp_path, monkeypatch):
    text = (Path(__file__).parent.parent / "README.md").read_text()
    (example,) = (code for code in re.findall(r"```python\n(.*?)```", text, re.S) if "onnxruntime" in code)
    (tmp_path / "colorizer.onnx").symlink_to(bundled)
    picture = data.coffee()
    Image.fromarray(picture).save(tmp_path / "photo.jpg", quality=95)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})
    got = np.asarray(Image.open("color.png")).astype(int)
    ours = np.asarray(ColorizationPipeline.from_pretrained(device="cpu")(tmp_path / "photo.jpg")).astype(int)
    gray = np.asarray(Image.open("photo.jpg").convert("L"))[..., None].astype(int)
    assert got.shape == picture.shape
    assert np.abs(got - ours).mean() < 4 < np.abs(got - gray).mean() / 3  # bilinear here, guided there
    assert transform.rescale(np.abs(got - ours).mean(2), 1 / 16, anti_aliasing=True).max() < 20


def test_misuse_of_export(tmp_path, capsys, monkeypatch):
    def told(*argv) -> str:
        try:
            code = cli.main(["export", *map(str, argv)])
        except SystemExit as leave:
            code = leave.code
        out, err = capsys.readouterr()
        assert (code, out, err.count("\n")) == (2, "", 1)
        return err

    there = tmp_path / "there.onnx"
    there.write_bytes(b"mine")
    assert "--overwrite" in told(there)
    assert there.read_bytes() == b"mine"
    assert ".onnx" in told(tmp_path / "model.bin")
    assert "no-such-model" in told(tmp_path / "model.onnx", "--model", "no-such-model")
    assert "paints pictures of its own" in told(tmp_path / "model.onnx", "--model", "mnist_linear")
    assert "colors nothing" in told(tmp_path / "model.onnx", "--model", "color_autoencoder")
    assert "FILE.onnx" in told()
    assert ".onnx" in told("")
    find = importlib.util.find_spec
    for missing in ("onnx", "onnxscript"):
        with monkeypatch.context() as patch:
            patch.setattr(importlib.util, "find_spec", lambda name, gone=missing: None if name == gone else find(name))
            assert f"{missing} is missing: pip install" in told(tmp_path / "model.onnx", "--model", "me/mine")
    (tmp_path / "folder.onnx").mkdir()
    assert "folder.onnx" in told(tmp_path / "folder.onnx", "--overwrite")
    assert {file.name for file in tmp_path.iterdir()} == {"there.onnx", "folder.onnx"}
