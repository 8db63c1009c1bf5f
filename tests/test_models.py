import json

import pytest
import safetensors
import torch

from colorizer.errors import ColorizerError
from colorizer.hub import load_model
from colorizer.models import create_model, list_models
from colorizer.models.base import resize
from tests.conftest import TINY

# Settings that make each registered model small enough for a test.
SMALL = {"fusion": TINY, "fusion_paper": {"embedder": "resnet18"}}
LEARNING_RATE = {"fusion": 3e-3, "fusion_paper": 1e-3}
OPTIONS = [
    {"embedding": "pooled"},
    {"embedding": "logits"},
    {"embedding": "maps"},
    {"skips": False},
    {"head": "regression"},
    {"hints": False},
    {"norm": "none"},
    {"embedder_size": 64, "embedding": "pooled"},
    {"embedder": "mobilenetv3_small_050", "embedding": "pooled"},  # pooled features wider than its feature maps
]


def small(name, **options):
    return create_model(name, **SMALL[name] | options)


def picture(size=32, batch=2):
    """Smooth lightness, and ab that follows from it."""
    lightness = resize(torch.rand(batch, 1, 4, 4) * 100, (size, size))
    return lightness, torch.cat([lightness * 0.6 - 30, 30 - lightness * 0.6], dim=1)


def test_every_model_has_a_small_version():
    assert set(list_models()) == set(SMALL)


@pytest.mark.parametrize("name", list_models())
def test_overfits_one_batch(name):
    torch.manual_seed(0)
    model = small(name).train()
    lightness, ab = picture()
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE[name])
    losses = []
    for _ in range(30):
        predicted = model(lightness)
        loss = (predicted - ab).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("name", list_models())
def test_saves_and_loads_strictly(name, tmp_path):
    model = small(name).eval()
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model"] == name and config["format"] == 1 and config["defaults"] == model.defaults
    loaded = load_model(str(tmp_path))
    assert type(loaded) is type(model) and loaded.config == model.config and not loaded.training
    lightness, _ = picture()
    with torch.no_grad():
        assert (loaded(lightness) - model(lightness)).abs().max() < 0.5  # float16 on disk
    with safetensors.safe_open(tmp_path / "model.safetensors", "pt") as file:
        kinds = {key: file.get_tensor(key).dtype for key in file.keys()}
    assert all(kind == torch.float32 for key, kind in kinds.items() if key.endswith("running_var"))
    assert all(kind == torch.float16 for key, kind in kinds.items() if key.endswith("weight"))


@pytest.mark.parametrize("name", list_models())
@pytest.mark.parametrize("size", [(32, 32), (33, 47), (7, 130)])
def test_odd_sizes(name, size):
    model = small(name).eval()
    with torch.no_grad():
        assert model(torch.rand(1, 1, *size) * 100).shape == (1, 2, *size)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_options_of_fusion(options):
    model = small("fusion", **options).eval()
    lightness, _ = picture(64)
    with torch.no_grad():
        ab = model(lightness)
        assert ab.shape == (2, 2, 64, 64) and ab.isfinite().all()
        again = model(lightness, embedding=model.embed(lightness))
    assert torch.equal(ab, again)
    assert model.has_distribution == (options.get("head") != "regression")
    assert model.accepts_hints == options.get("hints", True)


def test_no_hints_equal_empty_hints_and_hints_matter(tiny_model):
    lightness, _ = picture(64)
    hints = torch.zeros(2, 3, 64, 64)
    with torch.no_grad():
        without, empty = tiny_model(lightness), tiny_model(lightness, hints)
        hints[:, :, 20:30, 20:30] = torch.tensor([60.0, 50.0, 1.0])[:, None, None]
        given = tiny_model(lightness, hints)
    assert torch.equal(without, empty)
    assert (given - empty).abs().max() > 1e-4


def test_the_embedder_sees_gray_rgb_as_timm_scales_it(tiny_model):
    seen = []
    handle = tiny_model.embedder.network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        tiny_model.embed(torch.tensor([0.0, 53.585, 100.0]).reshape(1, 1, 1, 3))
    handle.remove()
    mean, std = (torch.tensor(v)[:, None] for v in (tiny_model.embedder.mean, tiny_model.embedder.std))
    gray = seen[0][0, :, 0, :3] * std + mean
    assert torch.allclose(gray, torch.tensor([[0.0, 0.5021, 1.0]]).expand(3, 3), atol=2e-3)  # L 53.585 is 128/255


def test_paper_layout():
    """Layer by layer and in parameters, as published: 6.57 M outside the embedder."""
    model = create_model("fusion_paper")
    shapes = []
    for layer in [*model.encoder, model.fusion, *model.decoder]:
        layer.register_forward_hook(lambda module, inputs, out: shapes.append(tuple(out.shape[1:])))
    embedding = (torch.zeros(1, model.embedder.channels),)
    with torch.no_grad():
        assert model(torch.rand(1, 1, 224, 224) * 100, embedding=embedding).shape == (1, 2, 224, 224)
    encoder = [(64, 112), (128, 112), (128, 56), (256, 56), (256, 28), (512, 28), (512, 28), (256, 28)]
    decoder = [(128, 28), (128, 56), (64, 56), (64, 56), (64, 112), (32, 112), (2, 112), (2, 112), (2, 224)]
    assert [shape[:2] for shape in shapes] == [*encoder, (256, 28), *decoder]
    outside = sum(p.numel() for name, p in model.named_parameters() if not name.startswith("embedder"))
    # The paper's embedder has 1001 classes, timm's 1000: one column of the fusion layer less.
    assert outside + 256 == 6_574_050


@pytest.mark.parametrize(
    "config, words",
    [
        ({"embedder": "hf-hub:somebody/something"}, "plain timm architecture"),
        ({"embedder": "no_such_net"}, "plain timm architecture"),
        ({"embedding": "soul"}, "logits, pooled, maps"),
        ({"head": "tail"}, "'bins' or 'regression'"),
        ({"norm": "layer"}, "'batch' or 'none'"),
        ({"decoder_widths": [1, 2]}, "three numbers"),
    ],
)
def test_bad_options_are_one_sentence(config, words):
    with pytest.raises(ColorizerError, match=words):
        small("fusion", **config)


def test_unknown_model_names_those_there_are():
    with pytest.raises(ColorizerError, match="fusion_paper"):
        create_model("fission")
