"""The classifier that judges recolored photographs: a model like the others, but none that colors."""

import json

import pytest
import torch

from colorizer.errors import ColorizerError
from colorizer.hub import load_model, model_card
from colorizer.models import create_model, list_models
from colorizer.pipeline import ColorizationPipeline

CLASSES = ["pets/cats", "pets/dogs", "scenes/sea"]


@pytest.fixture(scope="module")
def classifier():
    torch.manual_seed(0)
    return create_model("classifier", classes=CLASSES, size=64).eval()


@torch.no_grad()
def test_classifies_pictures_of_any_size(classifier):
    for size in ((64, 64), (33, 150), (200, 90)):
        assert classifier(torch.rand(2, 3, *size)).shape == (2, 3)
    flat = torch.full((1, 3, 64, 64), 0.7)
    assert torch.allclose(classifier(flat), classifier(torch.full((1, 3, 90, 41), 0.7)), atol=1e-5)


@torch.no_grad()
def test_its_network_sees_colors_as_timm_scales_them(classifier):
    seen = []
    handle = classifier.network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    classifier(torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1).expand(1, 3, 64, 64))
    handle.remove()
    assert seen[0].abs().max() < 1e-5  # the mean of ImageNet


@torch.no_grad()
def test_learns_colors():
    torch.manual_seed(0)
    model = create_model("classifier", classes=["s/red", "s/blue"], size=32).train()
    rgb = 0.3 * torch.rand(8, 3, 32, 32)
    label = torch.arange(8) % 2
    rgb[label == 0, 0] += 0.5
    rgb[label == 1, 2] += 0.5
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(8):
        with torch.enable_grad():
            loss = torch.nn.functional.cross_entropy(model(rgb), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.3


@torch.no_grad()
def test_saves_and_loads_strictly(classifier, tmp_path):
    classifier.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model"] == "classifier" and config["classes"] == CLASSES and config["size"] == 64
    loaded = load_model(tmp_path)
    assert type(loaded) is type(classifier) and loaded.classes == CLASSES and not loaded.training
    rgb = torch.rand(2, 3, 70, 90)
    assert (loaded(rgb) - classifier(rgb)).abs().max() < 0.05  # float16 on disk
    (tmp_path / "config.json").write_text(json.dumps(config | {"classes": CLASSES[:2]}))
    with pytest.raises(ColorizerError, match="has the shape"):
        load_model(tmp_path)


def test_a_thousand_classes_load(tmp_path):
    model = create_model("classifier", classes=[f"imagenet/n{i:08}" for i in range(1000)], size=32)
    model.save_pretrained(tmp_path)
    assert len(load_model(tmp_path).classes) == 1000
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"classes": [*model.classes, "one/more"]}))
    with pytest.raises(ColorizerError, match="classes in config.json"):
        load_model(tmp_path)


def test_colors_nothing(classifier, tmp_path):
    assert "classifier" not in list_models()
    classifier.save_pretrained(tmp_path)
    with pytest.raises(ColorizerError, match=f"{tmp_path} is a classifier: it colors nothing"):
        ColorizationPipeline.from_pretrained(tmp_path)
    card = model_card(classifier, "user/judge")
    assert "image-classification" in card and "--classifier user/judge" in card and "- pets/dogs" in card


@pytest.mark.parametrize(
    "config, words",
    [
        ({"classes": ["a/b"]}, "two or more names"),
        ({"classes": ["a/b", "a/b"]}, "all different"),
        ({"classes": 5}, "two or more names"),
        ({"classes": ["a/b", 3]}, "two or more names"),
        ({"classes": CLASSES, "size": 8}, "32 or more"),
        ({"classes": CLASSES, "size": 64.5}, "32 or more"),
        ({"classes": CLASSES, "network": "hf-hub:somebody/something"}, "The network must be a plain timm"),
        ({"classes": CLASSES, "network": "vit_tiny_patch16_224"}, "size must be 224"),
    ],
)
def test_what_cannot_be_built(config, words):
    with pytest.raises(ColorizerError, match=words):
        create_model("classifier", **config)
