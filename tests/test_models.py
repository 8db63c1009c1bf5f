import json

import pytest
import safetensors
import torch
from torch import nn

from colorizer.color import lab_to_rgb, rgb_to_lab
from colorizer.drawing import draw_digits
from colorizer.errors import ColorizerError
from colorizer.hub import load_model
from colorizer.models import create_model, list_models, mnist, model_class
from colorizer.models.base import resize
from colorizer.models.fusion import AttentionBlock, AttentionFusion, FilmFusion
from colorizer.pipeline import ColorizationPipeline
from tests.conftest import TINY

# Settings that make each registered model small enough for a test.
SMALL = {
    "fusion": TINY,
    "fusion_paper": {"embedder": "resnet18"},
    "eccv16": {"width": 8},
    "unet": {"encoder": "test_convnext", "decoder_widths": [16, 12, 8]},
    "alpha": {"width": 32},
    "beta": {"width": 8},
    "lab_cnn": {"width": 8},
    "plain_autoencoder": {"width": 8},
    "cifar_autoencoder": {"widths": [8, 16], "latent": 8},
    "two_stage": {"widths": [8, 16], "latent": 8},
    "mnist_single": {},
    "mnist_linear": {},
    "mnist_cnn": {"width": 4},
    "mnist_cnn_bn": {"width": 4},
}
LEARNING_RATE = {
    "fusion": 3e-3,
    "fusion_paper": 1e-3,
    "eccv16": 3e-3,
    "unet": 3e-3,
    "mnist_single": 1e-3,
    "mnist_linear": 1e-3,
    "alpha": 1e-3,
}
ANY_SIZE = [name for name in list_models() if model_class(name).input_size is None]
OPTIONS = [
    {"embedding": "pooled"},
    {"embedding": "logits"},
    {"embedding": "maps"},
    {"skips": False},
    {"head": "regression"},
    {"hints": False},
    {"norm": "none"},
    {"fusion": "film"},
    {"fusion": "film", "norm": "none", "embedding": "pooled"},
    {"fusion": "attention"},
    {"embedder_size": 64, "embedding": "pooled"},
    {"embedder": "mobilenetv3_small_050", "embedding": "pooled"},  # pooled features wider than its feature maps
    {"embedder": "mambaout_femto"},  # whose maps have the channels last
    {"second_embedder": "test_convnext"},  # of other strides
    {"second_embedder": "test_convnext", "embedding": "logits", "fusion": "film"},
    {"embedder": "resnet16"},
    {"attention_blocks": 2},
    {"attention_blocks": 1, "embedding": "pooled", "norm": "none"},
    {"attention_blocks": 1, "attention_for_hints": True},
    {"second_embedder": "test_efficientnet", "second_embedder_scale": 1.5},
]


def small(name, **options):
    return create_model(name, **SMALL[name] | options)


def picture(size=32, batch=2):
    """Smooth lightness, and ab that follows from it."""
    lightness = resize(torch.rand(batch, 1, 4, 4) * 100, (size, size))
    return lightness, torch.cat([lightness * 0.6 - 30, 30 - lightness * 0.6], dim=1)


def task(model):
    """Lightness, and what this model should make of it: ab or RGB, of its own size."""
    lightness, ab = picture(model.input_size[0] if model.input_size else 32)
    return lightness, ab if model.output == "ab" else lab_to_rgb(torch.cat([lightness, ab], dim=1))


def layout(module):
    """Convolutions as (channels, stride), upsamplings as 'up', and the names of what else has no parameters."""
    parts = []
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            assert layer.kernel_size == (3, 3) and layer.padding == (1, 1)
            parts.append((layer.out_channels, layer.stride[0]))
        elif isinstance(layer, nn.Upsample):
            assert layer.scale_factor == 2
            parts.append("up")
        elif not isinstance(layer, nn.Sequential):
            parts.append(type(layer).__name__)
    return parts


def with_relu(*convolutions):
    """What layout says of convolutions, given as channels or (channels, stride), with ReLU after each."""
    return [part for c in convolutions for part in (c if isinstance(c, tuple) else (c, 1), "ReLU")]


def test_every_model_has_a_small_version():
    assert set(list_models()) == set(SMALL)


@pytest.mark.parametrize("name", list_models())
def test_overfits_one_batch(name):
    torch.manual_seed(0)
    model = small(name).train()
    lightness, target = task(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE.get(name, 1e-2))
    losses = []
    for _ in range(30):
        predicted = model(lightness)
        assert predicted.shape == target.shape
        loss = (predicted - target).square().mean()
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
    lightness, target = task(model)
    with torch.no_grad():
        assert model(lightness).shape == target.shape
        difference = (loaded(lightness) - model(lightness)).abs().max()
        assert difference < (0.5 if model.output == "ab" else 0.01)  # float16 on disk
    with safetensors.safe_open(tmp_path / "model.safetensors", "pt") as file:
        kinds = {key: file.get_tensor(key).dtype for key in file.keys()}
    assert all(kind == torch.float32 for key, kind in kinds.items() if key.endswith("running_var"))
    assert all(kind == torch.float16 for key, kind in kinds.items() if key.endswith("weight"))


@pytest.mark.parametrize("name", ANY_SIZE)
@pytest.mark.parametrize("size", [(32, 32), (33, 47), (7, 130)])
def test_odd_sizes(name, size):
    model = small(name).eval()
    with torch.no_grad():
        predicted = model(torch.rand(1, 1, *size) * 100)
    assert predicted.shape == (1, 2 if model.output == "ab" else 3, *size)
    if model.output == "rgb":
        assert 0 <= predicted.min() and predicted.max() <= 1


@pytest.mark.parametrize("name", sorted(set(list_models()) - {"fusion", "fusion_paper"}))
def test_the_smaller_models_take_no_hints(name):
    model = small(name)
    lightness, _ = task(model)
    assert not model.accepts_hints and model.has_distribution == (name == "eccv16")
    assert (model.defaults["temperature"] is not None) == model.has_distribution
    with pytest.raises(ColorizerError, match="hints"):
        model(lightness, hints=torch.zeros(2, 3, *lightness.shape[-2:]))


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


def test_a_config_without_fusion_builds_what_it_always_did():
    """Weights saved before there was a choice fit by name and shape, and the first random ones are the same."""
    torch.manual_seed(0)
    before = small("fusion")
    torch.manual_seed(0)
    named = small("fusion", fusion="concat")
    assert before.config == named.config
    came_later = ["second_embedder", "attention_blocks", "second_embedder_scale", "attention_for_hints"]
    assert list(before.config)[-5:] == ["fusion", *came_later]
    for (name, ours), (other, theirs) in zip(before.state_dict().items(), named.state_dict().items(), strict=True):
        assert name == other and torch.equal(ours, theirs)
    names = {name.partition(".")[2] for name, _ in before.fusion.named_parameters()}
    assert names == {"of_map.weight", "of_vector.weight", "norm.weight", "norm.bias"}


def test_film_scales_and_shifts_each_channel():
    fuse = FilmFusion(3, 5, 4, "none")
    x, vector = torch.rand(2, 3, 6, 6), torch.rand(2, 5)
    gamma, beta = fuse.of_vector(vector).split(4, dim=1)
    mapped = fuse.of_map(x)
    for channel in range(4):
        expected = mapped[1, channel] * (1 + gamma[1, channel]) + beta[1, channel]
        assert torch.allclose(fuse(x, vector)[1, channel], expected.clamp(min=0), atol=1e-6)


def test_attention_is_told_by_every_place_alike():
    """The places that are asked have no order; what they hold matters."""
    fuse = AttentionFusion(3, 5, 8, "none")
    x, asked = torch.rand(2, 3, 6, 7), torch.rand(2, 5, 2, 3)
    told = fuse(x, asked)
    assert told.shape == (2, 8, 6, 7)
    assert torch.allclose(fuse(x, asked.flip(2, 3)), told, atol=1e-5)
    assert (fuse(x, 1 - asked) - told).abs().max() > 1e-3


def test_attention_for_hints_leaves_pictures_without_them_alone():
    """Also where they are in one batch with others, which are colored as with attention for all."""
    plain = small("fusion", hints=True).eval()
    ours = small("fusion", hints=True, attention_blocks=1, attention_for_hints=True).eval()
    always = small("fusion", hints=True, attention_blocks=1).eval()
    for parameter in ours.attention.parameters():
        torch.nn.init.normal_(parameter)
    ours.load_state_dict(ours.state_dict() | plain.state_dict())
    always.load_state_dict(ours.state_dict())
    lightness, _ = picture(64)
    hints = torch.zeros(2, 3, 64, 64)
    with torch.no_grad():
        without = plain(lightness)
        assert torch.equal(ours(lightness), without) and torch.equal(ours(lightness, hints), without)
        hints[1, 2, 8, 8] = 1  # of gray: it is the mask that counts
        with_them = ours(lightness, hints)
        assert torch.equal(with_them[0], without[0])
        assert torch.allclose(with_them[1], always(lightness, hints)[1], atol=1e-4)
        assert (with_them[1] - plain(lightness, hints)[1]).abs().max() > 0.01


def test_the_places_of_a_map_ask_each_other():
    """All of them, wherever they lie; and at first without effect."""
    attention = AttentionBlock(8)
    x = torch.rand(2, 8, 6, 7)
    assert torch.equal(attention(x), x)
    for last in (attention.block.attn.proj, attention.block.mlp.fc2):
        torch.nn.init.normal_(last.weight)
    told = attention(x)
    assert told.shape == x.shape
    assert torch.allclose(attention(x.flip(2, 3)), told.flip(2, 3), atol=1e-5)
    x[0, :, 0, 0] += torch.rand(8)
    moved = (attention(x) - told).abs().amax(1)
    assert (moved[0] > 0).all() and (moved[1] == 0).all()


@pytest.mark.parametrize("fusion", ["concat", "film", "attention"])
def test_what_the_embedder_says_matters(fusion):
    model = small("fusion", fusion=fusion).eval()
    lightness, _ = picture(64)
    with torch.no_grad():
        vector, *maps = model.embed(lightness)
        other = (vector + 1, *maps[:-1], maps[-1] + 1)
        assert (model.logits(lightness, None, other) - model.logits(lightness)).abs().max() > 1e-4


def test_the_fusion_model_compiles_into_one_graph(tiny_model):
    """Small pictures too, for which the embedder's least side is tried first."""
    lightness, _ = picture(64)
    torch.compiler.reset()
    with torch.no_grad():
        compiled = torch.compile(tiny_model, backend="eager", fullgraph=True)(lightness)
        assert torch.allclose(compiled, tiny_model(lightness), atol=1e-4)


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


def test_a_narrow_paper_keeps_the_proportions():
    wide, narrow = (create_model("fusion_paper", embedder="resnet18", width=width) for width in (64, 16))
    for part in ("encoder", "decoder"):
        wide_layers, narrow_layers = (
            [layer for layer in getattr(model, part).modules() if isinstance(layer, nn.Conv2d)]
            for model in (wide, narrow)
        )
        for w, n in zip(wide_layers, narrow_layers, strict=True):
            assert n.out_channels == (2 if w.out_channels == 2 else w.out_channels // 4) and n.stride == w.stride
    with pytest.raises(ColorizerError, match="width must be a whole number, 2 or more"):
        create_model("fusion_paper", width=1)


def test_eccv16_layout():
    """Zhang et al.'s: blocks of VGG with the strides of the first three, dilated in the fifth and sixth; 32.2 M."""
    model = create_model("eccv16")
    layers = [
        (conv.out_channels, conv.stride[0], conv.dilation[0])
        for conv in model.encoder.modules()
        if isinstance(conv, nn.Conv2d)
    ]
    assert layers == [
        (64, 1, 1), (64, 2, 1), (128, 1, 1), (128, 2, 1), (256, 1, 1), (256, 1, 1), (256, 2, 1),
        *[(512, 1, 1)] * 3, *[(512, 1, 2)] * 6, *[(512, 1, 1)] * 3,
    ]  # fmt: skip
    assert [sum(isinstance(layer, nn.BatchNorm2d) for layer in block) for block in model.encoder] == [1] * 7
    # The paper's list of bins has 313 and ours fewer: each is a row of the last layer, and a bias.
    parameters = sum(p.numel() for p in model.parameters()) + (313 - len(model.bins)) * (256 + 1)
    assert parameters == 32_235_385
    assert model.defaults == {"working_size": 256, "temperature": 0.38, "colorfulness": 1.0}


@pytest.mark.parametrize("name", ["fusion", "eccv16", "unet"])
def test_heads_speak_on_a_quarter_of_the_size(name):
    model = small(name).eval()
    with torch.no_grad():
        lightness = torch.rand(1, 1, 37, 50) * 100
        logits = model.logits(lightness)
        ab = model.decode(logits)
        assert logits.shape[-2:] == ab.shape[-2:] == (10, 13) and ab.abs().max() <= 110
        assert torch.equal(model.enlarge(ab, (37, 50)), model(lightness))
    if not model.has_distribution:
        with pytest.raises(ColorizerError, match="no temperature"):
            model.decode(logits, 0.5)


def test_unet_sees_all_maps_of_its_encoder():
    model = small("unet")
    model(torch.rand(2, 1, 64, 64) * 100).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())
    for encoder in ("hf-hub:somebody/something", "no_such_net"):
        with pytest.raises(ColorizerError, match="The encoder must be a plain timm architecture"):
            create_model("unet", encoder=encoder)
    with pytest.raises(ColorizerError, match="three numbers"):
        create_model("unet", encoder="test_convnext", decoder_widths=[8, 8])


def test_the_second_embedder_sees_the_picture_larger():
    """By its scale, in sides that are multiples of 32; the first sees it as it is."""
    model = small("fusion", second_embedder="test_efficientnet", second_embedder_scale=1.5).eval()
    seen = {}
    for name in ("embedder", "second_embedder"):
        getattr(model, name).network.register_forward_pre_hook(
            lambda _, given, name=name: seen.update({name: given[0]})
        )
    ramp = torch.linspace(0, 100, 160).expand(1, 1, 64, 160)
    with torch.no_grad():
        vector, *maps = model.embed(ramp)
        logits = model.logits(ramp, embedding=(vector, *maps))
    assert seen["embedder"].shape[-2:] == (64, 160) and seen["second_embedder"].shape[-2:] == (96, 256)
    grays = [seen[name].mean((0, 1, 2)) for name in ("embedder", "second_embedder")]
    assert all((gray.diff() > -1e-5).all() for gray in grays)  # the same ramp, no part of it
    assert len(maps) == len(model.reductions) and logits.shape[-2:] == (16, 40)


@pytest.mark.parametrize(
    "config, words",
    [
        ({"embedder": "hf-hub:somebody/something"}, "plain timm architecture"),
        ({"embedder": "no_such_net"}, "plain timm architecture"),
        ({"embedding": "soul"}, "logits, pooled, maps"),
        ({"head": "tail"}, "'bins' or 'regression'"),
        ({"norm": "layer"}, "'batch' or 'none'"),
        ({"fusion": "cold"}, "fusion must be one of concat, film, attention, not 'cold'"),
        ({"fusion": ["film"]}, "fusion must be one of"),
        ({"second_embedder": "hf-hub:somebody/something"}, "plain timm architecture"),
        ({"second_embedder": ["resnet18"]}, "plain timm architecture"),
        ({"second_embedder": "test_convnext", "fusion": "attention"}, "the maps of one embedder"),
        ({"width": "16"}, "width must be a whole number, 1 or more, not '16'"),
        ({"decoder_widths": 224}, "decoder_widths must be three numbers .*, not 224"),
        ({"decoder_widths": [16, 0, 8]}, "decoder_widths must be a whole number, 1 or more, not 0"),
        ({"fusion": "attention", "embedding": "pooled"}, "embedding must be 'maps', not 'pooled'"),
        ({"fusion": "attention", "decoder_widths": [16, 12, 6]}, "multiples of 4"),
        ({"decoder_widths": [1, 2]}, "three numbers"),
        ({"attention_blocks": -1}, "attention_blocks must be a whole number, 0 or more, not -1"),
        ({"attention_blocks": 4096}, "attention_blocks must be 64 at most, not 4096"),
        ({"skips": "no"}, "skips must be true or false, not 'no'"),
        ({"hints": "false"}, "hints must be true or false, not 'false'"),
        ({"attention_blocks": 1, "decoder_widths": [18, 12, 8]}, "must be a multiple of 4, not 18"),
        ({"attention_blocks": 1, "attention_for_hints": "yes"}, "must be true or false, not 'yes'"),
        ({"attention_for_hints": True}, "needs attention_blocks and hints"),
        ({"attention_blocks": 1, "attention_for_hints": True, "hints": False}, "needs attention_blocks and hints"),
        ({"second_embedder": "test_convnext", "second_embedder_scale": 3}, "from 1.25 to 2, not 3"),
        ({"second_embedder": "test_convnext", "second_embedder_scale": "2"}, "from 1.25 to 2, not '2'"),
        ({"second_embedder": "test_convnext", "second_embedder_scale": 1.1}, "from 1.25 to 2, not 1.1"),
        ({"second_embedder_scale": 1.5}, "needs a second_embedder, embedding 'maps'"),
        ({"second_embedder": "test_convnext", "second_embedder_scale": 2, "embedding": "logits"}, "embedding 'maps'"),
        ({"second_embedder": "test_convnext", "second_embedder_scale": 2, "embedder_size": 64}, "no embedder_size"),
    ],
)
def test_bad_options_are_one_sentence(config, words):
    with pytest.raises(ColorizerError, match=words):
        small("fusion", **config)


def test_unknown_model_names_those_there_are():
    with pytest.raises(ColorizerError, match="fusion_paper"):
        create_model("fission")


# ------------------------------------------------------------------------------------------ those that led here


def test_an_autoencoder_is_no_colorizer():
    model = create_model("color_autoencoder", widths=[8, 16], latent=8).eval()
    assert model.kind == "autoencoder" and "color_autoencoder" not in list_models()
    with torch.no_grad():
        assert model(torch.rand(1, 3, 33, 47)).shape == (1, 3, 33, 47)
    with pytest.raises(ColorizerError, match="autoencoder"):
        ColorizationPipeline(model, "cpu")


def test_two_stage_has_the_autoencoders_decoder():
    first, second = create_model("color_autoencoder"), create_model("two_stage")
    second.decoder.load_state_dict(first.decoder.state_dict(), strict=True)


def test_lab_cnn_layout():
    model = create_model("lab_cnn")
    assert layout(model.encoder) == with_relu((64, 2), 128, (128, 2), 256, (256, 2), 512, 512, 256)
    assert layout(model.decoder) == [
        *with_relu(128),
        "up",
        *with_relu(64),
        "up",
        *with_relu(32, 16),
        (2, 1),
        "LeakyReLU",
        "up",
    ]
    assert model.decoder[-2].negative_slope == 0.01


def test_alpha_and_beta_layouts():
    """Those of Wallner's article."""
    alpha, beta = create_model("alpha"), create_model("beta")
    assert layout(alpha.encoder) == with_relu((8, 2), 8, 16, (16, 2), 32, (32, 2))
    assert layout(alpha.decoder) == ["up", *with_relu(32), "up", *with_relu(16), "up", (2, 1), "Tanh"]
    assert layout(beta.encoder) == with_relu(64, (64, 2), 128, (128, 2), 256, (256, 2), 512, 256, 128)
    assert layout(beta.decoder) == ["up", *with_relu(64), "up", *with_relu(32), (2, 1), "Tanh", "up"]


def test_linear_models_are_linear_layers_only():
    for name, sizes in (("mnist_single", [784, 2352]), ("mnist_linear", [784, 512, 2352])):
        layers = [layer for layer in create_model(name).modules() if list(layer.parameters(recurse=False))]
        assert all(isinstance(layer, nn.Linear) for layer in layers)
        assert [layers[0].in_features, *(layer.out_features for layer in layers)] == sizes


def test_only_one_of_the_convolutional_painters_normalizes():
    norms = {
        name: sum(isinstance(layer, nn.BatchNorm2d) for layer in create_model(name).modules())
        for name in ("mnist_cnn", "mnist_cnn_bn")
    }
    assert norms == {"mnist_cnn": 0, "mnist_cnn_bn": 7}


def test_the_thumbnails_code_is_smaller_than_the_thumbnail():
    model = create_model("cifar_autoencoder").eval()
    gray = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        code = model.encoder(gray)
    assert code.shape == (1, 32, 4, 4) and code.numel() == gray.numel() / 2


def test_digits_are_painted_in_ten_hues_of_one_lightness():
    lab = rgb_to_lab(mnist.palette()[:, :, None, None])[:, :, 0, 0]
    assert (lab[:, 0] - mnist.LIGHTNESS).abs().max() < 0.1
    assert (lab[:, 1:].norm(dim=1) - mnist.CHROMA).abs().max() < 0.1
    hues = torch.atan2(lab[:, 2], lab[:, 1]).rad2deg()[list(mnist.CIRCLE)]
    steps = (hues.roll(-1) - hues) % 360
    assert (steps - 36).abs().max() < 0.5


def test_painting_accuracy_counts_the_ink():
    gray = torch.from_numpy(draw_digits([3, 3, 7, 0])).float()[:, None] / 255
    digit = torch.tensor([3, 3, 7, 0])
    right, wrong = mnist.paint(gray, digit), mnist.paint(gray, (digit + 1) % 10)
    assert torch.equal(mnist.painting_accuracy(right, gray, digit), torch.ones(4))
    assert torch.equal(mnist.painting_accuracy(wrong, gray, digit), torch.zeros(4))
    ink = gray > mnist.INK
    assert torch.equal(mnist.painting_accuracy(torch.where(ink, right, wrong), gray, digit), torch.ones(4))
    left = torch.where(torch.arange(28) < 14, right, wrong)
    expected = (ink[..., :14].flatten(1).sum(1) / ink.flatten(1).sum(1)).tolist()
    assert mnist.painting_accuracy(left, gray, digit).tolist() == pytest.approx(expected)
    assert mnist.painting_accuracy(right * 0, gray * 0, digit).tolist() == [0, 0, 0, 0]  # no ink
