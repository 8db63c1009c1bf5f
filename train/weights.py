"""New models, and the trained weights that parts begin with: embedder, decoder, the perceptual loss's network.

They come from timm (`pretrained`), from a safetensors file of timm's, or from a folder with a model of this project:
a classifier's network, or another colorizer's embedder. Nothing falls back to random weights.
"""

from __future__ import annotations

import os
from pathlib import Path

import timm
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from colorizer.errors import ColorizerError
from colorizer.hub import load_model
from colorizer.models import Colorizer, create_model
from colorizer.models.embedder import SHORTENED, Embedder, check_embedder_name, create_network


def new_model(name: str, config: dict) -> Colorizer:
    """The registered model `name` with random weights; ColorizerError, in one sentence, if it cannot be built so."""
    try:
        return create_model(name, **config)
    except ColorizerError:
        raise
    except Exception as error:  # a constructor may fail in any way on what it was not made for
        raise ColorizerError(f"The model {name} cannot be built so: {_line(error)}.") from None


def load_embedder_weights(embedder: Embedder, name: str, weights: str) -> None:
    """Fills the embedder, a timm network called `name`, with trained weights.

    Raises ColorizerError, in one sentence, when they cannot be had or belong to another network.
    """
    options = {"maps": {"features_only": True}, "pooled": {"num_classes": 0}, "logits": {}}[embedder.embedding]
    _fill(embedder.network, name, weights, options)


def load_decoder_weights(model: Colorizer, source: str) -> None:
    """Gives the model the decoder of the one in the folder `source` (or a bundled or Hub one).

    Raises ColorizerError, in one sentence, when either has none or they differ.
    """
    giver = load_model(source)
    if not all(isinstance(getattr(each, "decoder", None), nn.Module) for each in (model, giver)):
        raise ColorizerError(f"decoder_weights needs two models with a decoder, unlike {model.name} and {giver.name}.")
    state = giver.decoder.state_dict()
    misfit = _misfit(model.decoder, state)
    if misfit or state.keys() != model.decoder.state_dict().keys():
        raise ColorizerError(f"The decoder of {source} is not that of the recipe's model: {misfit or 'it has more'}.")
    model.decoder.load_state_dict(state)


def trained_features(name: str, weights: str) -> tuple[nn.Module, tuple, tuple]:
    """A timm network that gives its feature maps, with trained weights, and the mean and std of its input."""
    check_embedder_name(name, "perceptual network")
    if weights == "none":
        raise ColorizerError("A perceptual loss needs trained weights: perceptual_weights cannot be none.")
    try:
        network = create_network(name, features_only=True, pretrained=False)
    except (RuntimeError, AttributeError) as error:
        raise ColorizerError(f"{name} gives no feature maps: {error}.") from None
    _fill(network, name, weights, {"features_only": True})
    config = timm.data.resolve_model_data_config(network)
    return network, config["mean"], config["std"]


def _fill(network: nn.Module, name: str, weights: str, options: dict) -> None:
    """Loads trained weights into a network that timm built as `name` with these options."""
    if weights == "pretrained":
        state = _pretrained(name, options)
    else:
        state = _read(weights)
        if _misfit(network, state):
            # Some of timm's networks have other names for the same tensors when they give features; timm translates,
            # but without a word about what it does not find, so that has to be checked before.
            whole = create_network(name, pretrained=False)
            head = whole.pretrained_cfg.get("classifier", "")
            misfit = _misfit(whole, state, head if options else "")
            if misfit:
                raise ColorizerError(f"The weights of {weights} are not those of {name}: {misfit}.")
            try:
                overlay = {"state_dict": dict(state)}
                state = create_network(name, pretrained=True, pretrained_cfg_overlay=overlay, **options).state_dict()
            except RuntimeError as error:
                raise ColorizerError(f"The weights of {weights} are not those of {name}: {_line(error)}.") from None
    # What the state has besides (a classifier's last layer) is left.
    network.load_state_dict({key: state[key] for key in network.state_dict()})


def _pretrained(name: str, options: dict) -> dict[str, Tensor]:
    if name in SHORTENED:
        raise ColorizerError(f"timm has no weights of {name}: give a safetensors file or a model's folder.")
    try:
        return create_network(name, pretrained=True, **options).state_dict()
    except Exception as error:  # timm, huggingface_hub, its HTTP library and torch raise their own
        raise ColorizerError(
            f"The pretrained weights of {name} cannot be had ({type(error).__name__}: {_line(error)}): connect to the "
            "Hub once, or give a safetensors file instead of `pretrained`."
        ) from None


def _read(weights: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of the network in a model's folder."""
    path = Path(os.path.expanduser(weights))  # pathlib's would raise a RuntimeError for another's ~
    if path.is_dir():
        model = load_model(str(path))
        network = model if model.kind == "classifier" else getattr(model, "embedder", None)
        if network is None:
            raise ColorizerError(f"{weights} has no embedder whose weights could be taken.")
        return network.network.state_dict()
    if not path.is_file():
        raise ColorizerError(
            f"There are no weights {weights!r}: give pretrained, a safetensors file, or a model's folder."
        )
    if path.suffix != ".safetensors":
        raise ColorizerError(f"{weights} must be a safetensors file: others can hold code and are not opened.")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ColorizerError(f"{weights} cannot be read ({_line(error)}).") from None


def _misfit(network: nn.Module, state: dict[str, Tensor], but: str = "") -> str | None:
    """The first tensor of the network that the state lacks or has in another shape; those of the module `but` pass."""
    for key, tensor in network.state_dict().items():
        if but and key.startswith(f"{but}."):
            continue
        if key not in state:
            return f"{key} is missing"
        if state[key].shape != tensor.shape:
            return f"{key} has the shape {tuple(state[key].shape)} and not {tuple(tensor.shape)}"
    return None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".")
