"""What every colorizer has in common, and the registry of them."""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from huggingface_hub import HfApi, ModelCard, PyTorchModelHubMixin
from safetensors.torch import save
from torch import Tensor, nn

from colorizer.color import AbBins
from colorizer.errors import ColorizerError

FORMAT = 1  # of config.json; raised when a file's meaning changes
MOST_LEVELS = 6  # of an encoder: pictures are padded to a multiple of 2 ** levels

_MODELS: dict[str, type[Colorizer]] = {}


def register_model(name: str):
    """Class decorator: makes the class known to create_model under `name`."""

    def add(cls: type[Colorizer]) -> type[Colorizer]:
        cls.name = name
        _MODELS[name] = cls
        return cls

    return add


def model_class(name: str) -> type[Colorizer]:
    """The class registered as `name`; ColorizerError, with the names there are, if there is none."""
    if name not in _MODELS:
        raise ColorizerError(f"There is no model {name!r}; there are {', '.join(sorted(_MODELS))}.")
    return _MODELS[name]


def create_model(name: str, **config) -> Colorizer:
    """Builds the model registered as `name` with random weights. `config` are its constructor's arguments.

    ColorizerError for a name that is not registered.
    """
    return model_class(name)(**config)


def list_models(domain: str | None = None) -> list[str]:
    """Names of the registered colorizers, of one domain ('photos', 'thumbnails', 'digits') or of all."""
    return sorted(name for name, cls in _MODELS.items() if cls.kind == "colorizer" and domain in (None, cls.domain))


class Colorizer(nn.Module, PyTorchModelHubMixin):
    """A network that colors lightness.

    Subclasses set the class attributes, and define either `forward`, or `logits` and `decode` when their head is a
    distribution over the ab bins. A model that holds an `embedder` also defines `embed`, and, where that gives feature
    maps, `reductions`: of each map, how many pixels a side one of its places stands for.

    Attributes:
        config: the constructor's arguments, JSON-able; written to config.json.
        defaults: the dials that the pipeline uses unless told otherwise: working_size (pixels of the short side),
            temperature (None without a distribution), colorfulness (factor on the chroma), and where it is not 0
            balance (share of the tint over the whole picture that is taken away, see `pipeline.balanced`) and
            restraint (how far strong colors are read at a higher temperature, see `pipeline.restrained`).
        source: where the weights came from, for people; None for a model with random weights.
    """

    name: str = ""
    output = "ab"  # "ab": Lab units; "rgb": sRGB in 0..1
    domain = "photos"  # "photos", "thumbnails" or "digits"
    kind = "colorizer"  # "colorizer"; "autoencoder" for one that reads color; "classifier"
    input_size: tuple[int, int] | None = None  # the one (height, width) that the network takes; None: any
    side_multiple = 4  # the pipeline's copies have sides that are multiples of this
    accepts_hints = False
    keeps_lightness = True  # False: the model paints whole pictures, and the photo's own lightness is not kept
    reductions: Sequence[int] = ()  # of feature maps in the embedding
    ab_unit = 127.0  # what ab is divided by where the mean squared error compares it; of a regression to ab
    source: str | None = None

    def __init_subclass__(cls, **kwargs) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            cls.__init__ = _remember_arguments(cls.__init__)

    def __init__(self) -> None:
        super().__init__()
        self.defaults = {"working_size": 256, "temperature": None, "colorfulness": 1.0}

    @property
    def has_distribution(self) -> bool:
        """Whether the head is a distribution over the ab bins: then a temperature means something."""
        return False

    def embed(self, lightness: Tensor) -> tuple[Tensor, ...] | None:
        """What the embedder says of lightness (N, 1, H, W); to be handed back as `embedding`. None without one."""
        return None

    def refuse_hints(self, hints: Tensor | None) -> None:
        """ColorizerError unless there are none: for the models that take none."""
        if hints is not None:
            raise ColorizerError(f"{self.name} takes no color hints; a fusion model trained with hints=True does.")

    def forward(self, lightness: Tensor, hints: Tensor | None = None, embedding: tuple[Tensor, ...] | None = None):
        """Colors lightness.

        Args:
            lightness: (N, 1, H, W), CIE L in 0..100, any H and W unless `input_size` is set.
            hints: (N, 3, H, W): a, b in Lab units, and a mask of 0 and 1; zero where the mask is. None: no hints.
            embedding: of the same lightness, from `embed`; computed if None.

        Returns:
            ab (N, 2, H, W) in Lab units, or sRGB (N, 3, H, W) in 0..1, as `output` says.
        """
        raise NotImplementedError

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path=None, *, revision=None, token=None) -> Colorizer:
        """A trained model, in eval mode, from a bundled name, a folder or a Hub repository; read strictly.

        The arguments and the errors are those of `colorizer.hub.load_model`; ColorizerError when the weights are of
        another class than this one.
        """
        from colorizer.hub import load_model  # hub builds on models; at import time the arrow must run one way

        model = load_model(pretrained_model_name_or_path, revision=revision, token=token)
        if not isinstance(model, cls):
            raise ColorizerError(
                f"{model.source} is a {model.name!r} model and not {cls.name!r}; "
                "colorizer.load_model takes any of them."
            )
        return model

    def save_pretrained(
        self,
        save_directory: str | Path,
        *,
        repo_id: str | None = None,
        push_to_hub: bool = False,
        model_card_kwargs: dict | None = None,
        config: dict | None = None,
        **push_to_hub_kwargs,
    ) -> str | None:
        """The mixin's save_pretrained, which would remove an old config.json before the new model is written: a full
        disk would leave neither. `config` is not read: the model's own is the one to keep."""
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        self._save_pretrained(folder)
        if not (folder / "README.md").exists():
            self.generate_model_card(**model_card_kwargs or {}).save(folder / "README.md")
        if push_to_hub:
            card = {"model_card_kwargs": model_card_kwargs} if model_card_kwargs else {}
            return self.push_to_hub(repo_id or folder.name, **card, **push_to_hub_kwargs)
        return None

    def push_to_hub(
        self, repo_id: str, *, branch=None, private=None, token=None, ignore_patterns=None, **kwargs
    ) -> str:
        """The mixin's push_to_hub, with its arguments; it makes the branch, if one is named, and a card of ours.

        As with `colorizer.hub.push`, which does the same for a folder too and tells what went wrong in a sentence,
        nothing private goes to a public repository (ColorizerError), and a card that a person has written stays.
        """
        from colorizer.hub import has_own_card, make_repo

        repo_id = make_repo(HfApi(token=token), repo_id, private, branch, "the model is as it was").repo_id
        ignored = [ignore_patterns] if isinstance(ignore_patterns, str) else list(ignore_patterns or [])
        if has_own_card(repo_id, branch, token):
            ignored.append("README.md")
        kwargs.setdefault("model_card_kwargs", {"repo_id": repo_id})
        return super().push_to_hub(
            repo_id, branch=branch, private=private, token=token, ignore_patterns=ignored, **kwargs
        )

    def generate_model_card(self, repo_id: str | None = None) -> ModelCard:
        """What the mixin's save_pretrained writes to README.md where there is none."""
        from colorizer.hub import model_card

        return ModelCard(model_card(self, repo_id))

    def to_config(self) -> dict:
        """The content of config.json."""
        return {"format": FORMAT, "model": self.name, **self.config, "defaults": self.defaults}

    def _save_pretrained(self, save_directory: Path) -> None:
        """Writes model.safetensors (float16; batch-norm statistics float32) and config.json, renamed when whole."""
        state = self.state_dict()
        statistics = ("running_mean", "running_var")
        tensors = {
            name: (tensor.half() if tensor.is_floating_point() and not name.endswith(statistics) else tensor)
            .detach()
            .cpu()
            .contiguous()
            for name, tensor in state.items()
        }
        # Both are whole before either is renamed: one of another model would not fit the other.
        with (
            written_aside(save_directory / "model.safetensors") as weights,
            written_aside(save_directory / "config.json") as config,
        ):
            weights.write_bytes(save(tensors, metadata={"format": "pt"}))
            config.write_text(json.dumps(self.to_config(), indent=2) + "\n")


class GrayToRgb(Colorizer):
    """A colorizer that paints RGB by its `encoder` and `decoder` alone.

    Attributes:
        multiple: what the sides of a picture are padded to multiples of.
    """

    output = "rgb"
    multiple = 8
    encoder: nn.Module
    decoder: nn.Module

    def forward(self, lightness: Tensor, hints: Tensor | None = None, embedding: None = None) -> Tensor:
        self.refuse_hints(hints)
        height, width = lightness.shape[-2:]
        rgb = self.decoder(self.encoder(pad_to_multiple(lightness / 100, self.multiple)))
        return rgb[..., :height, :width]


class QuarterGridColorizer(Colorizer):
    """A colorizer whose head speaks on a grid of a quarter of the picture's size. Subclasses define `logits`.

    Attributes:
        bins: of a head that is a distribution over them; None of one that gives ab itself.
    """

    bins: AbBins | None

    @property
    def has_distribution(self) -> bool:
        return self.bins is not None

    def logits(
        self, lightness: Tensor, hints: Tensor | None = None, embedding: tuple[Tensor, ...] | None = None
    ) -> Tensor:
        """Scores of the ab bins (N, K, ceil(H/4), ceil(W/4)); of a regression head, ab in Lab units at that size."""
        raise NotImplementedError

    def decode(self, logits: Tensor, temperature: float | None = None) -> Tensor:
        """ab (N, 2, h, w) in Lab units of logits (N, K, h, w), by the annealed mean; None: the default temperature."""
        if self.bins is None:
            if temperature is not None:
                raise ColorizerError("A model with a regression head has no temperature; leave it out.")
            return logits
        return self.bins.decode(logits, self.defaults["temperature"] if temperature is None else temperature)

    def forward(
        self, lightness: Tensor, hints: Tensor | None = None, embedding: tuple[Tensor, ...] | None = None
    ) -> Tensor:
        ab = self.decode(self.logits(lightness, hints, embedding))
        return self.enlarge(ab, lightness.shape[-2:])

    def enlarge(self, ab: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
        """Brings ab (N, 2, ceil(H/4), ceil(W/4)), as `decode` gives it, to the picture's size (H, W)."""
        # A row of logits stands for four rows of the picture, also where the last ones are padding.
        ab = resize(ab, (ab.shape[-2] * 4, ab.shape[-1] * 4))
        return ab[..., : size[0], : size[1]]


@contextlib.contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside `path`, and renames it to that when the block ends well."""
    partial = path.with_name(f".{secrets.token_hex(8)}.partial")  # of nobody else who writes the same at this time
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _remember_arguments(init):
    """Wraps a constructor so that `self.config` holds its arguments, defaults included, as JSON-able values."""
    signature = inspect.signature(init)

    @functools.wraps(init)
    def wrapper(self, *args, **kwargs):
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        init(self, *args, **kwargs)
        self.config = {k: list(v) if isinstance(v, tuple) else v for k, v in list(bound.arguments.items())[1:]}

    return wrapper


def check_counts(least: int = 1, **counts: int) -> None:
    """ColorizerError unless each of these arguments, channels mostly, is a whole number from `least` up."""
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int) or count < least:
            raise ColorizerError(f"{name} must be a whole number, {least} or more, not {count!r}.")


def check_widths(widths: Sequence[int]) -> None:
    """ColorizerError unless these are 1 to MOST_LEVELS numbers of channels, each of a level at half the size."""
    if not isinstance(widths, (list, tuple)) or not 1 <= len(widths) <= MOST_LEVELS:
        raise ColorizerError(f"widths must be a list of 1 to {MOST_LEVELS} numbers, not {widths!r}.")
    for width in widths:
        check_counts(widths=width)


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Pads (N, C, H, W) on the right and below, repeating the edge, until H and W are multiples of `multiple`."""
    height, width = image.shape[-2:]
    return nn.functional.pad(image, (0, -width % multiple, 0, -height % multiple), mode="replicate")


def resize(image: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """Bilinear resize of (N, C, H, W) to (height, width)."""
    if image.shape[-2:] == tuple(size):
        return image
    return nn.functional.interpolate(image, size=tuple(size), mode="bilinear", align_corners=False)
