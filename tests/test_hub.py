"""Models from folders: a round trip that is exact, and one sentence for everything that is not a model."""

import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from colorizer import ColorizationPipeline, hub
from colorizer.errors import ColorizerError
from colorizer.models import Colorizer, create_model, list_models

TINY = {"embedder": "test_efficientnet", "embedding": "maps", "width": 4, "decoder_widths": (8, 8, 8)}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A tiny model that has seen some pictures, so that its statistics are not those of a new one, and its folder."""
    torch.manual_seed(0)
    model = create_model("fusion", **TINY).train()
    model(torch.rand(2, 1, 64, 64) * 100)
    folder = tmp_path_factory.mktemp("tiny")
    model.eval().save_pretrained(folder)
    return model, folder


@pytest.fixture
def folder(saved, tmp_path):
    """A copy of the folder, to break."""
    return shutil.copytree(saved[1], tmp_path / "broken")


def refusal(source, **kwargs) -> str:
    """What load_model says against a source: one sentence."""
    with pytest.raises(ColorizerError) as error:
        hub.load_model(source, **kwargs)
    sentence = str(error.value)
    assert "\n" not in sentence and sentence.endswith(".") and len(sentence) < 400
    return sentence


def edit_config(folder, **changes):
    """Sets keys of config.json; None removes one."""
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


def edit_weights(folder, change):
    """Rewrites model.safetensors after `change` has edited the dictionary of tensors."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


# --------------------------------------------------------------------------------------------------------- good ones


def test_round_trip(saved):
    model, folder = saved
    loaded = hub.load_model(folder)
    assert loaded.source == str(folder) and not loaded.training
    assert loaded.config == model.config and loaded.defaults == model.defaults
    on_disk = load_file(folder / "model.safetensors")
    expected = model.state_dict()
    for name, tensor in loaded.state_dict().items():
        if not tensor.is_floating_point():
            assert tensor.dtype == expected[name].dtype and torch.equal(tensor, expected[name])
            continue
        assert tensor.dtype == torch.float32 and tensor.device.type == "cpu"
        exact = name.endswith(("running_mean", "running_var"))
        assert on_disk[name].dtype == (torch.float32 if exact else torch.float16)
        assert torch.equal(tensor, expected[name] if exact else expected[name].half().float())
    assert torch.equal(loaded.bins.centers, model.bins.centers)
    lightness = torch.rand(1, 1, 70, 90) * 100
    with torch.no_grad():
        assert (loaded(lightness) - model(lightness)).abs().max() < 0.1


@pytest.mark.parametrize("embedder", ["test_vit_relpos", "test_maxvit"])
def test_tables_that_are_not_saved_are_right(tmp_path, embedder):
    """Buffers that no file holds are computed as in a model that was built the usual way."""
    model = create_model("fusion", **TINY | {"embedder": embedder, "embedding": "pooled", "embedder_size": 160})
    model.save_pretrained(tmp_path)
    loaded = dict(hub.load_model(tmp_path).named_buffers())
    tables = {name: b for name, b in model.named_buffers() if name not in model.state_dict()}
    assert any("relative" in name for name in tables)
    assert all(torch.equal(loaded[name], table) for name, table in tables.items())


@pytest.mark.parametrize("name", list_models())
def test_every_model_can_be_checked_without_memory(name):
    with torch.device("meta"):
        model = create_model(name)
    assert all(parameter.is_meta for parameter in model.parameters())


def test_loading_draws_no_random_numbers(saved):
    """Building draws no random weights, and a seeded program gets the same numbers after loading as before."""
    torch.manual_seed(1)
    expected = torch.rand(4)
    torch.manual_seed(1)
    hub.load_model(saved[1])
    assert torch.equal(torch.rand(4), expected)


def test_bundled_name_then_folder_then_hub(saved, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "WEIGHTS", tmp_path / "weights")
    monkeypatch.setattr(hub, "DEFAULT_MODEL", "tiny")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(saved[1], tmp_path / "tiny")
    assert hub.load_model("tiny").source == "tiny"  # a folder here
    shutil.copytree(saved[1], tmp_path / "weights/tiny")
    assert hub.bundled_models() == ["tiny"]
    assert hub.load_model().source == hub.load_model("tiny").source == "tiny (bundled)"
    (tmp_path / "user").mkdir()
    folder.rename(tmp_path / "user/repo")
    assert hub.load_model("user/repo").source == "user/repo"  # a folder comes before the Hub
    assert hub.load_model(tmp_path / "user/repo").source == str(tmp_path / "user/repo")


def test_from_pretrained_of_a_class(saved):
    loaded = Colorizer.from_pretrained(saved[1])
    assert type(loaded) is type(saved[0]) and not loaded.training


def test_saving_again_gives_the_same_files(saved, tmp_path):
    hub.load_model(saved[1]).save_pretrained(tmp_path)
    for file in ("config.json", "model.safetensors", "README.md"):
        assert (tmp_path / file).read_bytes() == (saved[1] / file).read_bytes()


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_a_full_disk_leaves_the_old_model(saved, tmp_path, monkeypatch, file):
    """Also where one of another architecture was to take its place."""
    shutil.copytree(saved[1], tmp_path, dirs_exist_ok=True)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(path, *args, **options):
        if isinstance(args[0], bytes) == (file == "model.safetensors"):
            raise OSError(28, "No space left on device")
        return real[type(args[0])](path, *args, **options)

    real = {bytes: Path.write_bytes, str: Path.write_text}
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        patch.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match="No space left"):
            create_model("lab_cnn", width=4).save_pretrained(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    create_model("lab_cnn", width=4).save_pretrained(tmp_path)
    assert hub.load_model(tmp_path).name == "lab_cnn"


def test_importing_hub_is_cheap():
    code = "import sys, colorizer.hub; print(*{'torch', 'timm', 'huggingface_hub', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


# ------------------------------------------------------------------------------------------------ no model at all


def test_no_such_source(tmp_path, folder):
    assert "no bundled model" in refusal("nonsense")
    assert "no bundled model" in refusal("too/many/slashes")
    assert "no bundled model" in refusal("user/re po")
    assert "no bundled model" in refusal("hf-hub:user/repo")
    assert "no bundled model" in refusal(tmp_path / "missing")
    assert "is a file" in refusal(folder / "model.safetensors")
    assert "Hub repository only" in refusal(folder, revision="main")
    with pytest.raises(ColorizerError, match="There is no model 'xxx"):
        hub.load_model("x" * 256)  # more than a file system takes


def test_an_empty_name(folder, monkeypatch):
    """Of a variable that is not set: not the model in the folder that one happens to be in."""
    monkeypatch.chdir(folder)
    assert "is empty" in refusal("")
    with pytest.raises(ColorizerError, match="is empty"):
        hub.push("", "user/repo", token="hf_test")
    assert hub.load_model(".").source == "."


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_file_that_may_not_be_read(folder, file, monkeypatch):
    def only_others(path, *args, **kwargs):  # root, as whom tests may run, may read anything
        if path.name == file:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return open(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", only_others)
    assert refusal(folder) == f"{folder}: {file} cannot be read (Permission denied)."


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_missing_file(folder, file):
    (folder / file).unlink()
    assert f"{folder} is no colorizer: it has no {file}" in refusal(folder)


def test_a_pickle_is_never_opened(folder):
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    assert "it has no model.safetensors" in refusal(folder)


@pytest.mark.parametrize(
    "content, says",
    [
        (b"", "no valid JSON"),
        (b"{", "no valid JSON"),
        (b"\xff\xfe", "no valid JSON"),
        (b"[" * 100_000, "no valid JSON"),
        (b"[]", "is no colorizer"),
        (b'{"architectures": ["BertModel"]}', "is no colorizer"),
        (b" " * 1_000_001, "config.json has 1.0 MB"),
    ],
)
def test_config_that_is_none(folder, content, says):
    (folder / "config.json").write_bytes(content)
    assert says in refusal(folder)


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"format": 2}, "newer colorizer (format 2): update colorizer"),
        ({"format": "1"}, "format"),
        ({"format": True}, "format"),
        ({"format": 0}, "format"),
        ({"model": "resnet50"}, "no model 'resnet50'"),
        ({"model": ["fusion"]}, "must be a name"),
        ({"layers": 3}, "'layers', which a fusion model does not take"),
        ({"self": 3}, "'self', which a fusion model does not take"),
        ({"pretrained": True}, "pretrained"),
        ({"width": 100_000}, "width in config.json is 100000"),
        ({"width": float("inf")}, "width in config.json is inf"),
        ({"width": float("nan")}, "width in config.json is nan"),
        ({"width": 10**400}, "width in config.json is 1000"),
        ({"width": {"a": 1}}, "width in config.json"),
        ({"width": [[1]]}, "width in config.json"),
        ({"width": -4}, "no model can be built"),
        ({"width": "wide"}, "no model can be built"),
        *(({"embedder_size": size}, "embedder_size must be a whole number") for size in (-5, 0, True, "x", 33.5)),
        ({"decoder_widths": [8, 8]}, "no model can be built"),
        ({"decoder_widths": [8] * 1000}, "decoder_widths"),
        ({"head": "magic"}, "head must be"),
        ({"head": ["x" * 200] * 1000}, "head must be"),
        ({"embedder": "x" * 1000}, "embedder in config.json"),
        ({"defaults": {}}, "defaults"),
        ({"defaults": {"working_size": 256, "temperature": 1.0, "colorfulness": 1.0, "x": 1}}, "defaults"),
        ({"defaults": {"working_size": 10**9, "temperature": 1.0, "colorfulness": 1.0}}, "working_size"),
        ({"defaults": {"working_size": 256.5, "temperature": 1.0, "colorfulness": 1.0}}, "working_size"),
        ({"defaults": {"working_size": 256, "temperature": 0, "colorfulness": 1.0}}, "temperature"),
        ({"defaults": {"working_size": 256, "temperature": float("nan"), "colorfulness": 1.0}}, "temperature"),
        ({"defaults": {"working_size": 256, "temperature": None, "colorfulness": 1.0}}, "must be a number"),
        ({"defaults": {"working_size": 256, "temperature": 1.0, "colorfulness": "high"}}, "colorfulness"),
        ({"defaults": {"working_size": 256, "temperature": 1.0, "colorfulness": 1.0, "balance": 2}}, "balance"),
        ({"defaults": {"working_size": 256, "temperature": 1.0, "colorfulness": 1.0, "restraint": -1}}, "restraint"),
    ],
)
def test_config_that_is_wrong(folder, changes, says):
    edit_config(folder, **changes)
    sentence = refusal(folder)
    assert says in sentence and str(folder) in sentence


@pytest.mark.parametrize("more", [{"balance": 0.3}, {"restraint": 0.5}, {"balance": 0.3, "restraint": 0.5}])
def test_balance_and_restraint_may_be_defaults(more, folder):
    dials = {"working_size": 256, "temperature": 1.0, "colorfulness": 1.0} | more
    edit_config(folder, defaults=dials)
    assert hub.load_model(folder).defaults == dials


@pytest.mark.parametrize(
    "embedder",
    [
        "hf-hub:user/repo",
        "hf_hub:user/repo",
        "local-dir:/tmp",
        "../model",
        "/tmp/model",
        "resnet18.a1_in1k",
        "resnet_none",
        "",
        7,
        [1],
        True,
    ],
)
def test_embedder_must_be_a_plain_architecture(folder, embedder):
    edit_config(folder, embedder=embedder)
    assert "timm architecture" in refusal(folder)


# ------------------------------------------------------------------------------------------------- wrong weights


def test_other_shapes_are_refused_before_memory_is_taken(folder):
    edit_config(folder, width=4096)  # 2.7 TB of weights, if it were built
    sentence = refusal(folder)
    assert "has the shape (4, 4, 3, 3) and should have (4096, 4, 3, 3)" in sentence


def test_other_model(folder):
    edit_config(folder, skips=False, norm="none")
    assert "lacks" in refusal(folder)


def test_missing_tensor(folder):
    edit_weights(folder, lambda tensors: tensors.pop("head.1.bias"))
    assert "lacks the tensor 'head.1.bias'" in refusal(folder)


def test_unexpected_tensors(folder):
    edit_weights(folder, lambda tensors: tensors.update(a=torch.ones(1), b=torch.ones(1)))
    assert "has 2 tensors ('a' first) unknown to the model fusion" in refusal(folder)


def test_wrong_shape(folder):
    edit_weights(folder, lambda tensors: tensors.update({"head.1.bias": torch.ones(3)}))
    assert "head.1.bias in model.safetensors has the shape (3,)" in refusal(folder)


@pytest.mark.parametrize(
    "name, dtype", [("head.1.bias", torch.int64), ("encoder.0.0.1.num_batches_tracked", torch.half)]
)
def test_wrong_type(folder, name, dtype):
    edit_weights(folder, lambda tensors: tensors.update({name: tensors[name].to(dtype)}))
    assert f"{name} in model.safetensors has the type" in refusal(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_numbers(folder, value):
    edit_weights(folder, lambda tensors: tensors["head.1.bias"].fill_(value))
    assert "no numbers" in refusal(folder)


def test_float32_and_bfloat16_are_read_too(folder, saved):
    edit_weights(folder, lambda tensors: tensors.update({"head.1.bias": tensors["head.1.bias"].float()}))
    edit_weights(folder, lambda tensors: tensors.update({"head.1.weight": tensors["head.1.weight"].bfloat16()}))
    assert {tensor.dtype for tensor in hub.load_model(folder).parameters()} == {torch.float32}


@pytest.mark.parametrize(
    "content, says",
    [
        (b"", "damaged or cut short"),
        (b"<!DOCTYPE html><html></html>", "is a web page, not weights"),
        (b"\n <html></html>", "is a web page, not weights"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS pointer"),
        (b"PK\x03\x04" + bytes(2000), "is no safetensors file"),
        (b"\x80\x02}q\x00." * 20, "is no safetensors file"),
        ((2**40).to_bytes(8, "little") + b"{}", "is no safetensors file"),
        ((10).to_bytes(8, "little") + b"{" * 10, "damaged or cut short"),
    ],
)
def test_file_that_is_no_safetensors(folder, content, says):
    (folder / "model.safetensors").write_bytes(content)
    assert says in refusal(folder)


def test_weights_whose_header_begins_like_a_web_page(folder):
    """A header of 80,928 bytes: the file begins with a space and a <."""
    path = folder / "model.safetensors"
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = content[8:end].ljust(80_928)
    path.write_bytes(len(header).to_bytes(8, "little") + header + content[end:])
    assert path.read_bytes().startswith(b" <") and hub.load_model(folder)


@pytest.mark.parametrize("size", [5, 1000, -1])
def test_truncated_weights(folder, size):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    assert "cut short" in refusal(folder)


def test_file_over_the_limit(folder, monkeypatch):
    monkeypatch.setitem(hub.FILES, "model.safetensors", 100_000)
    assert "model.safetensors has 0." in refusal(folder)


# --------------------------------------------------------------------------------------------- before it is pushed


def test_push_refuses_before_it_asks_the_hub(folder, tmp_path):
    for name in ("repo", "a/b/c", "user/re po", ""):
        with pytest.raises(ColorizerError, match="looks like 'user/repo'"):
            hub.push(folder, name, token="hf_test")
    with pytest.raises(ColorizerError, match="no folder"):
        hub.push(tmp_path / "missing", "user/repo", token="hf_test")
    with pytest.raises(ColorizerError, match="no folder xxx"):
        hub.push("x" * 256, "user/repo", token="hf_test")
    with pytest.raises(ColorizerError, match="no file .*sheet.jpg to push along"):
        hub.push(folder, "user/repo", token="hf_test", extra_files=[tmp_path / "sheet.jpg"])
    edit_config(folder, width=8)
    with pytest.raises(ColorizerError, match="has the shape"):
        hub.push(folder, "user/repo", token="hf_test")


def test_model_card(saved):
    import yaml

    card = hub.model_card(saved[0], "user/repo")
    # It names no license: what a model was trained on, which only its owner knows, has a say in that.
    front_matter = yaml.safe_load(card.split("---")[1])
    assert front_matter == {
        "pipeline_tag": "image-to-image",
        "tags": ["image-colorization"],
        "library_name": "colorizer",
    }
    assert 'ColorizationPipeline.from_pretrained("user/repo")' in card


@pytest.mark.parametrize("name", hub.bundled_models())
def test_model_card_promises_what_the_model_does(name):
    """Its own code runs, and colors what it is said to color."""
    model = hub.load_model(name)
    card = hub.model_card(model, name)
    assert ("image-colorization" in card) == (model.kind == "colorizer")
    assert ("photographs" in card) == (model.kind == "colorizer" and model.domain == "photos")
    assert ("digits" in card) == (model.domain == "digits")
    code = card.split("```python\n")[1].split("```")[0].replace('"photo.jpg"', "photo").replace(".save(", ".resize(")
    given = {"photo": Image.new("L", (28, 28)), "rgb": torch.zeros(1, 3, 32, 32)}
    exec(code.replace('"photo.color.jpg"', "(8, 8)"), given)


@pytest.mark.parametrize("token", ["", " \n", "hf_a b", "hf_\u00e9", "hf_a\nb"])
def test_a_text_that_is_no_token(token, saved):
    """Said at once: the client would say that the Hub cannot be reached."""
    for act in (
        lambda: hub.load_model("user/repo", token=token),
        lambda: hub.push(saved[1], "user/repo", token=token),
        lambda: hub.check_token("user/repo", token),
    ):
        with pytest.raises(ColorizerError, match="^The token is empty or no token"):
            act()


def test_a_model_that_needs_no_token_asks_for_none(saved):
    assert hub.load_model(saved[1], token="").source == str(saved[1])


def test_a_pipeline_asks_for_the_revision_with_the_token(saved):
    with pytest.raises(ColorizerError, match=r"^A revision \('dev'\) means"):
        ColorizationPipeline.from_pretrained(saved[1], revision="dev")
    with pytest.raises(ColorizerError, match="^The token is empty or no token"):
        ColorizationPipeline.from_pretrained("user/repo", token="hf_a b")


def test_an_empty_revision(saved):
    for act in (lambda: hub.load_model("user/repo", revision=" "), lambda: hub.push(saved[1], "a/b", revision="")):
        with pytest.raises(ColorizerError, match="^The revision is empty"):
            act()
