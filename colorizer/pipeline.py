"""A photo in, a photo out, at its own resolution.

    pipe = ColorizationPipeline.from_pretrained()
    pipe("photo.jpg").save("color.jpg")

    coloring = pipe.prepare(Photo.open("photo.jpg"))           # the network runs here
    coloring.render(colorfulness=1.2, temperature=0.4).save("color.jpg")       # and not here
    coloring.with_hints([Hint.from_rgb(320, 200, "#be463c")]).render()
    coloring.with_reference("the-same-place.jpg").render()     # here at the other photo, too

The network sees a small copy of the photo's lightness (its short side is the working size, or less of a small one),
with its levels stretched where they have faded, sharpened where it is soft. It predicts a distribution over ab, mostly
at a quarter of that size. Strong colors are read from it with more caution than pale ones (`restrained`), and a part
of the tint over the whole picture is taken away (`balanced`). A guided filter brings ab to the photo's size along the
edges of the photo's own lightness, which is kept. Everything of the photo's size is computed in horizontal bands, so
that memory stays bounded.

Models that paint whole pictures (`keeps_lightness = False`: those of digits) are the exception: the result is what
they paint, enlarged to the photo's size. White ink can have no color, so a digit's own lightness cannot be kept.
Digits are expected white on black, as MNIST's are; ink on paper is to be inverted first, which nothing here does.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
import numbers
import os
import reprlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageColor
from torch import Tensor
from torch.nn import functional as F

from colorizer import color
from colorizer.dials import (
    BALANCE,
    COLORFULNESS,
    DEFAULT_LIKENESS,
    DEFAULT_REACH,
    GUESSES,
    LIKENESS,
    REACH,
    RESTRAINT,
    TEMPERATURE,
    WORKING_SIZE,
)
from colorizer.errors import ColorizerError
from colorizer.images import Photo
from colorizer.models import Colorizer
from colorizer.reach import MOST_PLACES, described_by, spread, ways
from colorizer.reference import (
    NEIGHBORS,
    Reference,
    colors_again,
    described,
    distances,
    in_bins,
    remembered,
    shown_again,
    with_shares,
)

# The working copy. Encoders of stride 32 need a side of 32. A photo smaller than the working size is enlarged at most
# twice and to the size of the bundled model's training views: that brings things closer to the scale the network
# learned them at, while more only makes a blur that looks like no training photo.
SHORTEST_SIDE, LONGEST_RATIO, MOST_ENLARGED, ENLARGED_TO = 32, 4, 2, 192
# Its sides are rounded up from the middle between two multiples, and from a little below it: of photos of 3:2, whose
# long side is in the middle at 224, many are not quite 3:2 (427 x 640), and all should be seen alike.
ROUNDED_UP_FROM = 0.485

# Levels, see `stretched`.
SPAN = 85  # units of L
TAILS = (5, 995)  # thousandths of the pixels below black, and below white
MOST_STRETCHED = 10  # what spans less than SPAN / MOST_STRETCHED shows nothing but noise

# Sharpness, see `sharpened`.
SHARP = 1.4  # times as steep as after a blur; clean photographs (photos-val): 1.35 (5%), 1.67 (median), 2.01 (95%)
BLUR = 1.0  # of the Gaussian, in pixels of the copy
MOST_SHARPENED = 6  # what would need more shows nothing that fine

# The guided filter, see `guide_maps`.
RADIUS, EPSILON = 1, 49.0
FINER = 4  # the maps' grid against the prediction's: bicubic there, bilinear from there on
GRID = 2  # a prediction that comes at the working size itself is reduced by this first

# Restraint, see `restrained`.
STRONG = 30  # the chroma that gets half of it
SOFTER = 5 / 3  # the temperature for strong colors against that for pale ones: 1 at the bundled model's 0.6

# Other guesses, see `tilt_of`.
HUES = {"warmer": 60, "cooler": 250, "greener": 140, "rosier": 0}  # degrees in the ab plane
TILT = 2.5  # natural logarithm: colors far that way become so much likelier, and those far the other way less likely
FAR, PALE = 30, 20  # Lab units: where most of that is reached; of chroma, for the plainer one

TOLD = 2  # of the places that a reference shows again every so-manieth of a row and of a column is told as a hint
HINT_RADIUS = 2  # of a hint that names none, in pixels of the working copy; the bundled model has learned 0 to 4

# Balance, see `balanced`.
HALF_BALANCED = 5  # hints that leave half of it

BAND_PIXELS = 2**17  # small enough for a band's tensors to stay in the processor's cache, large enough to keep it busy


@dataclass(frozen=True)
class Hint:
    """A color that someone wants at a place.

    x, y: the place in pixels of the upright photo, from its top left corner. a, b: the color in Lab units that it is
    to have at the model's default colorfulness. radius: half the side of the square patch that is certain to have
    this color, in the same pixels; 0 is one pixel, and None two pixels of the small copy that the network sees.
    reach: how much of what is like the place and joined to it has this color, too: 0 (as much as the network makes of
    the hint) to 1 (far beyond one thing); None is 0.5. See `colorizer.reach`.
    """

    x: float
    y: float
    a: float
    b: float
    radius: float | None = None
    reach: float | None = None

    @classmethod
    def from_rgb(
        cls,
        x: float,
        y: float,
        rgb: str | Sequence[float],
        radius: float | None = None,
        reach: float | None = None,
    ) -> Hint:
        """A hint with the hue and the chroma of an sRGB color, and not its lightness.

        The color is (red, green, blue), each 0..255, or a text that Pillow's ImageColor reads, such as "#be463c" or
        "brown". ColorizerError for any other.
        """
        try:
            red, green, blue = ImageColor.getrgb(rgb.strip())[:3] if isinstance(rgb, str) else rgb
            channels = [_checked("A channel", value, 0, 255) for value in (red, green, blue)]
        except (TypeError, ValueError):
            like = "'#3f6fb5' or 'brown'" if isinstance(rgb, str) else "'#3f6fb5' or (63, 111, 181)"
            raise ColorizerError(f"{reprlib.repr(rgb)} is no color: write it like {like}.") from None
        _, a, b = color.rgb_to_lab(torch.tensor(channels).view(3, 1, 1) / 255).flatten().tolist()
        return cls(x, y, a, b, radius, reach)


class ColorizationPipeline:
    """Colors photos with a model.

    Args:
        model: a Colorizer; it is put in eval mode and moved to the device.
        device: where the network runs; None picks CUDA, then MPS, then the CPU, and the CPU, with a warning, where
            the weights do not get onto the other.

    Several threads may use one pipeline at once, except for `to`. ColorizerError for a model that colors nothing (a
    classifier, an autoencoder), and for a device that cannot be used.
    """

    def __init__(self, model: Colorizer, device: str | torch.device | None = None):
        if model.kind != "colorizer":  # it reads the color that a colorizer is to guess
            article = "an" if model.kind[0] in "aeiou" else "a"
            raise ColorizerError(f"{model.source or model.name} is {article} {model.kind}: it colors nothing.")
        self.model = model.eval()
        self._decoder = _decoder_of(model)
        # A regression head may offer its ab as it made it, before forward enlarges it: better for the guided filter.
        self._predicts_on_grid = model.output == "ab" and hasattr(model, "logits") and hasattr(model, "decode")
        self.device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
        try:
            self.to(_best_device() if device is None else device)
        except ColorizerError as error:
            if device is not None:
                raise
            warnings.warn(f"{error} Going on with the CPU.", stacklevel=2)  # a GPU that is full, for example
            self.to("cpu")

    @classmethod
    def from_pretrained(
        cls,
        source: str | os.PathLike | None = None,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        device: str | torch.device | None = None,
    ) -> ColorizationPipeline:
        """A pipeline around `colorizer.load_model(source, revision, token)`: bundled, a folder, or from the Hub."""
        from colorizer.hub import load_model

        return cls(load_model(source, revision=revision, token=token), device)

    def to(self, device: str | torch.device) -> ColorizationPipeline:
        """Moves the model; colorings made before stay good. ColorizerError, and it stays where it is, if it cannot."""
        try:
            wanted = torch.device(device)
            self.model.to(wanted)
        except (RuntimeError, AssertionError) as error:  # the latter where torch was built without CUDA
            self.model.to(self.device)  # a device may be full when a part has been moved
            raise ColorizerError(f"The device {str(device)!r} cannot be used here; 'cpu' always can.") from error
        self.device = wanted
        return self

    def dials(
        self,
        *,
        working_size: int | None = None,
        temperature: float | None = None,
        colorfulness: float | None = None,
        balance: float | None = None,
        restraint: float | None = None,
    ) -> dict[str, float | None]:
        """The dials that a photo is colored at: those given, and the model's defaults where they are None.

        Their meanings are those of `Coloring.render`, and working_size is that of the pipeline's call. The temperature
        of a model without a distribution is None. ColorizerError for one that is out of its range, or means nothing.
        """
        if temperature is not None:
            self._needs_distribution("has no temperature")
        found = {}
        for name, value, limits in (
            ("working_size", working_size, WORKING_SIZE),
            ("temperature", temperature, TEMPERATURE),
            ("colorfulness", colorfulness, COLORFULNESS),
            ("balance", balance, BALANCE),
            ("restraint", restraint, RESTRAINT),
        ):
            value = self.model.defaults.get(name, 0.0) if value is None else value
            found[name] = None if value is None else _checked(name, value, *limits)
        return found | {"working_size": int(found["working_size"])}

    def __call__(
        self,
        image: Image.Image | Photo | str | os.PathLike | Sequence,
        colorfulness: float | None = None,
        temperature: float | None = None,
        working_size: int | None = None,
        hints: Sequence | None = None,
        return_dict: bool = False,
        batch_size: int = 8,
        balance: float | None = None,
        restraint: float | None = None,
        reference: Image.Image | Photo | Reference | str | os.PathLike | None = None,
        likeness: float | None = None,
        guess: str | None = None,
    ):
        """Colors one image or a list of them.

        Args:
            image: a Pillow image, a path or a Photo, or a list of these. Color is reduced to its lightness first.
            colorfulness: factor on the chroma, 0 (gray) to 3.
            temperature: of the distribution over colors, 0.05 (bold) to 2 (soft); for models that predict one.
            working_size: short side, in pixels, of the copy that the network sees, 32 to 2048; of a small photo it
                is less (`working_shape`).
            hints: a list of Hint; for a list of images a list of such lists (or None).
            return_dict: return more than the image.
            batch_size: the most photos in one run of the network.
            balance: share of the tint over the whole picture that is taken away, 0 to 1; see `balanced`.
            restraint: how far strong colors are read at a higher temperature, 0 to 1; see `restrained`.
            reference: another photo, whose colors all of these are led towards; see `Coloring.with_reference`.
            likeness: how far, 0 to 1.
            guess: another guess than the first: "warmer", "cooler", "greener", "rosier" or "plainer"; see `tilt_of`.

        None means the model's own default, no reference, a likeness of 0.5 to one that is given, and the first guess.

        Returns:
            For a Photo a Photo with its depth, alpha and metadata; for a Pillow image or a path an 8-bit Pillow image
            (RGB or RGBA). Its lightness is the photo's own, except from models of digits, which paint a picture of
            their own (see `Coloring.render`). With `return_dict` a dict: `image`; `coloring`, to render again;
            `confidence` (h, w), None for a model without a distribution; `truth`, the color that a color image came
            with, or None. For a list of images a list of these, in the same order.

        Raises:
            ColorizerError, one sentence, for whatever a person can mend.
        """
        several = isinstance(image, (list, tuple))
        images = list(image) if several else [image]
        hints = hints if several or hints is None else [hints]
        colorings = self.prepare(images, working_size, hints, batch_size, reference, likeness)
        results = []
        for index, source in enumerate(images):
            coloring, colorings[index] = colorings[index], None  # the photo may go as soon as it is rendered
            same_kind = (lambda photo: photo) if isinstance(source, Photo) else Photo.to_pil
            dials = {"balance": balance, "restraint": restraint, "guess": guess}
            result = same_kind(coloring.render(colorfulness, temperature, **dials))
            if return_dict:
                result = {
                    "image": result,
                    "coloring": coloring,
                    "confidence": coloring.confidence if self.model.has_distribution else None,
                    "truth": same_kind(coloring.truth) if coloring.truth else None,
                }
            results.append(result)
        return results if several else results[0]

    def prepare(
        self,
        image,
        working_size: int | None = None,
        hints: Sequence | None = None,
        batch_size: int = 8,
        reference: Image.Image | Photo | Reference | str | os.PathLike | None = None,
        likeness: float | None = None,
    ):
        """Runs the network and returns a Coloring, which renders without it; for a list of images a list.

        Arguments and errors are those of the pipeline's call. Photos of one working shape run together.
        """
        if not isinstance(image, (list, tuple)):
            hints = None if hints is None else [hints]
            return self.prepare([image], working_size, hints, batch_size, reference, likeness)[0]
        working_size = self.dials(working_size=working_size)["working_size"]
        led = self._checked_reference(reference, likeness)
        hints = [None] * len(image) if hints is None else hints
        if len(hints) != len(image):
            raise ColorizerError(f"There are {len(image)} images but hints for {len(hints)}; give one list for each.")

        colorings = []
        for source, own_hints in zip(image, hints, strict=True):
            photo = _photo(source)
            plane = LightnessPlane(photo)
            shape = working_shape(
                photo.height, photo.width, working_size, self.model.side_multiple, self.model.input_size
            )
            coloring = Coloring(self, photo, plane, plane.reduced(shape), working_size)
            coloring.hints = self._checked_hints(own_hints, photo)
            coloring.reference, coloring.likeness = led
            colorings.append(coloring)

        groups: dict[torch.Size, list[Coloring]] = {}
        for coloring in colorings:
            groups.setdefault(coloring.lightness.shape, []).append(coloring)
        for group in groups.values():
            for start in range(0, len(group), max(1, batch_size)):
                self._predict(group[start : start + max(1, batch_size)])
        return colorings

    @torch.inference_mode()
    def run_network(
        self, lightness: Tensor, hints: Tensor | None = None, embedding: tuple[Tensor, ...] | None = None
    ) -> tuple[tuple[Tensor, ...] | None, Tensor]:
        """The one step that needs the device, alone so that it can be run elsewhere (ZeroGPU wraps this method).

        Takes CPU tensors as Colorizer.forward does, and returns CPU tensors: the embedding, and the prediction:
        logits (N, K, h, w) of a model with a distribution, else ab (N, 2, h, w) on the head's own grid where the
        model offers that, else what forward returns.
        """
        lightness = lightness.to(self.device)
        hints = None if hints is None else hints.to(self.device)
        embedding = None if embedding is None else tuple(part.to(self.device) for part in embedding)
        embedding, prediction = self.ask(lightness, hints, embedding)
        return None if embedding is None else tuple(part.cpu() for part in embedding), prediction.float().cpu()

    def ask(
        self, lightness: Tensor, hints: Tensor | None = None, embedding: tuple[Tensor, ...] | None = None
    ) -> tuple[tuple[Tensor, ...] | None, Tensor]:
        """What `run_network` returns, of tensors on the network's device and left there."""
        model = self.model
        if embedding is None:
            embedding = model.embed(lightness)
        if model.has_distribution:
            return embedding, model.logits(lightness, hints=hints, embedding=embedding)
        if self._predicts_on_grid:
            return embedding, model.decode(model.logits(lightness, hints=hints, embedding=embedding), None)
        return embedding, model(lightness, hints=hints, embedding=embedding)

    @torch.inference_mode()
    def _predict(self, group: list[Coloring]) -> None:
        """Fills in what the network says of colorings of one working shape; keeps what it has said of them before.

        That is an embedding, and a prediction without hints, from which it is known how far hints reach.
        """
        lightness = self.as_seen(torch.cat([coloring.lightness for coloring in group]))
        embedding, unhinted = (group[0].embedding, group[0].unhinted) if len(group) == 1 else (None, None)
        hinted = any(coloring.hints for coloring in group)
        reaching = any(hint.reach != 0 for coloring in group for hint in coloring.hints)
        if unhinted is None and (reaching or not hinted):
            embedding, unhinted = self._asked(lightness, None, embedding)
        prediction = unhinted
        if hinted:
            hints = torch.stack([coloring._hint_map(coloring.hints) for coloring in group])
            embedding, prediction = self._asked(lightness, hints, embedding)
        for index, coloring in enumerate(group):
            # Clones: a slice would keep the whole batch alive.
            coloring.prediction = prediction[index : index + 1].clone()
            if embedding is not None:
                coloring.embedding = tuple(part[index : index + 1].clone() for part in embedding)
                if self.model.has_distribution:
                    coloring.places = self._describe(coloring.embedding, coloring.lightness)
            if unhinted is not None:
                coloring.unhinted = unhinted[index : index + 1].clone() if coloring.hints else coloring.prediction
            self._settle(coloring)

    def as_seen(self, lightness: Tensor) -> Tensor:
        """Lightness (N, 1, h, w) of small copies, CIE L, as the network sees it."""
        return sharpened(stretched(lightness)) if self.model.domain == "photos" else lightness

    def _leveled(self, lightness: Tensor) -> Tensor:
        """Lightness (N, 1, h, w) of small copies as one is compared with another."""
        return stretched(lightness) if self.model.domain == "photos" else lightness

    def _asked(
        self, lightness: Tensor, hints: Tensor | None, embedding: tuple[Tensor, ...] | None
    ) -> tuple[tuple[Tensor, ...] | None, Tensor]:
        """What `run_network` returns; ColorizerError where that is no prediction, and every pixel would be black."""
        embedding, prediction = self.run_network(lightness, hints, embedding)
        if not prediction.isfinite().all():
            name = self.model.source or self.model.name
            raise ColorizerError(
                f"{name} predicted values that are no numbers: its weights are damaged, or they do not fit "
                f"{self.device.type}; try another model or device."
            )
        return embedding, prediction

    def _filled(self, coloring: Coloring) -> Tensor | None:
        """`spread` of the hints of a coloring (3, h, w), on the grid of its ab; None where none reaches further."""
        reaches = [DEFAULT_REACH if hint.reach is None else hint.reach for hint in coloring.hints]
        if not any(reaches) or not self.model.keeps_lightness:
            return None
        is_distribution = self.model.has_distribution
        expected = coloring.unhinted if is_distribution else self._ab(coloring.unhinted, None, 0)
        grid = expected.shape[-2:]
        scale = min(1, math.sqrt(MOST_PLACES / math.prod(grid)))
        size = tuple(max(1, round(side * scale)) for side in grid)
        patches = [coloring._patch(hint, size) for hint in coloring.hints]
        colors = torch.tensor([self._asked_ab(hint) for hint in coloring.hints], dtype=torch.float32, device="cpu")
        lightness = _resize(self._leveled(coloring.lightness), size)[0, 0]
        expected = described_by(_resize(expected, size), is_distribution)
        scene = self._scene(coloring)
        if scene is not None:  # the colors of things are known, not only expected, and so what is one thing
            known = coloring.found.sureness * _weight_of_places(coloring.likeness)
            scene = described_by(_resize(scene, size), False)
            expected = torch.cat([math.sqrt(1 - known) * expected, math.sqrt(known) * scene])
        return _resize(spread(patches, colors, reaches, lightness, expected)[None], grid)[0]

    def _asked_ab(self, hint: Hint) -> tuple[float, float]:
        """a and b that the network is to predict, as the hint's are those after the default colorfulness."""
        gain = self.model.defaults["colorfulness"] or 1.0
        return tuple(min(max(value / gain, -color.AB_LIMIT), color.AB_LIMIT) for value in (hint.a, hint.b))

    def _ab(self, prediction: Tensor, temperature: float | None, restraint: float, guess: str | None = None) -> Tensor:
        """ab (1, 2, h, w) in Lab units of one photo's prediction, on the grid where the guided filter is fitted."""
        if self.model.has_distribution:
            if guess:
                prediction = prediction + temperature * tilt_of(guess)[:, None, None]
            ab = self._decoder.decode(prediction, temperature).float()
            if restraint:
                ab = restrained(ab, self._decoder.decode(prediction, SOFTER * temperature).float(), restraint)
            return ab
        ab = self.chroma_of(prediction)
        if self._predicts_on_grid:
            return ab
        # Hardly any colorizer makes chroma finer than half of its size; what it repeats to get there blurs the fit.
        height, width = ab.shape[-2:]
        return _resize(ab, (math.ceil(height / GRID), math.ceil(width / GRID)))

    def chroma_of(self, prediction: Tensor) -> Tensor:
        """ab (N, 2, h, w) in Lab units of what a model without a distribution predicts."""
        return color.rgb_to_lab(prediction.clamp(0, 1))[:, 1:] if self.model.output == "rgb" else prediction

    def _needs_distribution(self, otherwise: str) -> None:
        if not self.model.has_distribution:
            raise ColorizerError(
                f"The model {self.model.name} predicts one color, not a distribution: it {otherwise}."
            )

    def _check_guess(self, guess: str | None) -> None:
        if guess is None:
            return
        self._needs_distribution("has no other guess")
        if guess not in GUESSES:
            raise ColorizerError(f"guess is one of {', '.join(GUESSES)}, not {guess!r}; None is the first guess.")

    def _checked_reference(self, reference, likeness: float | None) -> tuple[Reference | None, float]:
        if reference is None:
            if likeness is not None:
                raise ColorizerError("likeness is that to a reference, and there is none: give one or leave it out.")
            return None, 0.0
        self._needs_distribution("takes no reference")
        likeness = _checked("likeness", DEFAULT_LIKENESS if likeness is None else likeness, *LIKENESS)
        return reference if isinstance(reference, Reference) else Reference(_photo(reference, "A reference")), likeness

    def _describe(self, embedding: tuple[Tensor, ...] | None, lightness: Tensor) -> Tensor | None:
        """What the places of one working copy show, as its embedder's maps tell it; see `described`."""
        return described(embedding, self.model.reductions, lightness)

    def _places_of(self, reference: Reference, working_size: int) -> Tensor | None:
        """What the places of a reference show, seen as large as the photo; the network looks at it once."""
        known = reference.known
        if known is None or known[0] is not self.model or known[1] != working_size:
            height, width = reference.lab.shape[-2:]
            shape = working_shape(height, width, working_size, self.model.side_multiple, self.model.input_size)
            lightness = _resize(reference.lab[:, :1].float(), shape)
            embedding, _ = self.run_network(self.as_seen(lightness))
            known = reference.known = self.model, working_size, self._describe(embedding, lightness)
        return known[2]

    @torch.inference_mode()
    def _settle(self, coloring: Coloring) -> None:
        """What follows from the prediction of a coloring: how far its hints reach, and where its reference leads it.

        The network runs for what a reference shows again, once, and again where hints change that.
        """
        likeness, reference = coloring.likeness, coloring.reference
        coloring.led = coloring.refilled = None
        if coloring.found is not None and coloring.found.reference is not reference:
            coloring.found = coloring.told = None
        if likeness and coloring.places is not None and coloring.found is None:
            coloring.found = self._find(coloring, reference)
        found, weight = coloring.found, _weight_of_places(likeness)
        coloring.filled = self._filled(coloring)
        if not likeness:
            return
        logits, temperature = coloring.prediction.float(), self.model.defaults["temperature"]
        if found is not None:
            evidence, again, told = found.evidence, found.again, found.prediction
            if coloring.hints:
                otherwise = self._told_otherwise(coloring, evidence.shape[-2:])
                evidence = evidence * ~otherwise
                if again is not None:
                    again = again & ~otherwise
                    told = self._told_with_hints(coloring, again)
            if told is not None:
                logits = torch.lerp(logits, _resize(told.float(), logits.shape[-2:]), weight * found.sureness)
            if again is not None:
                share = weight * found.sureness * again.repeat_interleave(2, dim=0).repeat_interleave(2, dim=1)
                colors = found.colors / (self.model.defaults["colorfulness"] or 1.0)
                coloring.refilled = _resize(torch.cat([colors * share, share[None]])[None], logits.shape[-2:])[0]
            logits = logits + weight * temperature * _resize(evidence, logits.shape[-2:])
        lightness = _resize(coloring.lightness, logits.shape[-2:])
        coloring.led = with_shares(reference.shares, likeness, logits, lightness, temperature).half()

    def _find(self, coloring: Coloring, reference: Reference) -> Found:
        """What a reference shows of what a photo shows; the network runs again if that is the scene itself."""
        others = self._places_of(reference, coloring.working_size)
        size, other_size = coloring.places.shape[-2:], others.shape[-2:]
        ab, counts = reference.ab_at(other_size)
        distance = distances(coloring.places, others, counts)
        evidence = remembered(distance, in_bins(ab)).T.reshape(1, -1, *size)
        again, nearest, sureness = shown_again(coloring.places, distance, other_size)
        if not (sureness and self.model.keeps_lightness):
            return Found(reference, evidence)
        lab, opacity = reference.lab.float(), reference.opacity.float()
        other = torch.cat([self._leveled(lab[:, :1]), lab[:, 1:], opacity], dim=1)
        colors = colors_again(nearest, other_size, self._leveled(coloring.lightness), other)
        return Found(reference, evidence, sureness, again, colors, self._told_again(coloring, again, colors, []))

    def _told_again(self, coloring: Coloring, again: Tensor, colors: Tensor, hints: Sequence[Hint]) -> Tensor | None:
        """The prediction, told hints and the colors of these places, in half precision; None of one without hints."""
        if not self.model.accepts_hints:
            return None
        rows, columns = again.shape
        down, across = coloring.photo.height / rows, coloring.photo.width / columns
        told = [
            Hint((column + 0.5) * across, (row + 0.5) * down, *colors[:, 2 * row + 1, 2 * column + 1].tolist())
            for row, column in again.nonzero().tolist()
            if row % TOLD == column % TOLD == 0
        ]
        hint_map = coloring._hint_map([*told, *hints])[None]
        return self._asked(self.as_seen(coloring.lightness), hint_map, coloring.embedding)[1].half()

    def _told_with_hints(self, coloring: Coloring, again: Tensor) -> Tensor | None:
        """`_told_again` of these places and a coloring's hints, whose latest answer is kept; None of no places."""
        if not again.any():
            return None
        key = [dataclasses.replace(hint, reach=None) for hint in coloring.hints], again.tolist()
        if coloring.told is None or coloring.told[0] != key:
            coloring.told = key, self._told_again(coloring, again, coloring.found.colors, coloring.hints)
        return coloring.told[1]

    def _scene(self, coloring: Coloring) -> Tensor | None:
        """ab (1, 2, h, w) in Lab units of a scene that the reference shows again, without hints; None of another."""
        found = coloring.found
        if found is None or found.prediction is None:
            return None
        return self._ab(found.prediction.float(), self.model.defaults["temperature"], 0)

    def _told_otherwise(self, coloring: Coloring, size: tuple[int, int]) -> Tensor:
        """Which places of a grid of this size lie near a coloring's hints, or where they reach, also by the scene."""
        otherwise = torch.zeros(size, dtype=torch.bool, device=coloring.lightness.device)
        scene = self._scene(coloring)
        colors = None if scene is None else described_by(_resize(scene, size), False)
        for hint in coloring.hints:
            rows, columns = coloring._patch(hint, size)
            near = (slice(max(0, at.start - NEIGHBORS), at.stop + NEIGHBORS) for at in (rows, columns))
            otherwise[tuple(near)] = True
            if colors is not None:
                unlike = (colors - colors[:, rows, columns].mean((1, 2), keepdim=True)).norm(dim=0)
                reach = DEFAULT_REACH if hint.reach is None else hint.reach
                otherwise |= ways(unlike, rows, columns) < min(2 * reach, 1)  # farther, and it is another thing
        if coloring.filled is not None:
            otherwise |= _resize(coloring.filled[None], size)[0, 2] > 0.5
        return F.max_pool2d(otherwise[None].float(), 3, stride=1, padding=1)[0] > 0  # specks belong to what is around

    def _checked_hints(self, hints: Sequence[Hint] | None, photo: Photo) -> list[Hint]:
        hints = [hints] if isinstance(hints, Hint) else list(() if hints is None else hints)
        if hints and not self.model.accepts_hints:
            raise ColorizerError(f"The model {self.model.name} takes no color hints; leave them out.")
        for hint in hints:
            is_hint = isinstance(hint, Hint)
            values = is_hint and (hint.x, hint.y, hint.a, hint.b, 0 if hint.radius is None else hint.radius)
            if not (is_hint and all(map(_is_number, values))):
                raise ColorizerError(f"Hints are given as Hint(x, y, a, b, radius, reach), in numbers, not {hint!r}.")
            if hint.reach is not None:
                _checked("The reach of a hint", hint.reach, *REACH)
            if not all(map(math.isfinite, values)):
                raise ColorizerError(f"A hint's numbers must be finite, not {hint}.")
            if not (0 <= hint.x < photo.width and 0 <= hint.y < photo.height):
                raise ColorizerError(
                    f"The hint at ({hint.x:g}, {hint.y:g}) lies outside of the photo, "
                    f"which is {photo.width} x {photo.height} pixels."
                )
            if max(abs(hint.a), abs(hint.b)) > 128 or values[-1] < 0:
                raise ColorizerError(
                    f"A hint's a and b lie in -128..128 and its radius is not negative, unlike {hint}."
                )
        return hints


@dataclasses.dataclass(frozen=True)
class Found:
    """What a reference shows of what a photo shows.

    Attributes:
        evidence: (1, K, rows, columns), see `reference.remembered`.
        sureness: that both show one scene, 0 to 1. Where it is 0 the others are None.
        again: (rows, columns), the places that the reference shows again.
        colors: (2, 2 * rows, 2 * columns), ab in Lab units of these, see `reference.colors_again`.
        prediction: by the network, told of these but of no hints, in half precision; None of a model without hints.
    """

    reference: Reference
    evidence: Tensor
    sureness: float = 0.0
    again: Tensor | None = None
    colors: Tensor | None = None
    prediction: Tensor | None = None


class Coloring:
    """A photo whose colors have been predicted; made by ColorizationPipeline.prepare.

    Attributes:
        photo: what came in.
        working_size: that was asked for; the copy itself may be smaller or larger, see `working_shape`.
        hints: the hints that the prediction has heard.
        reference, likeness: the photo whose colors it is led towards, and how far; None and 0 without one.
        found: what the reference shows of this photo; None before it was looked at, and of models that know no places.
        told: the hints and places that the network was told together at last, and what it predicted then.
        led: the prediction, led there, in half precision; None without a likeness.
        refilled: the colors of places that the reference shows again, as `filled` has those of hints, as far as the
            likeness goes and it is sure; None if there are none.
        places: what the photo shows, as the reference's places are compared with it (see `reference.described`).
        lightness: the small copy, (1, 1, h, w), CIE L; the network saw it `stretched` and `sharpened`.
        embedding, prediction: what `run_network` returned, for this photo alone.
        unhinted: the prediction without hints; None where it was not asked for, as no hint reaches anywhere.
        filled: the colors that hints spread, and how much of each place (see `reach.spread`), on the grid of the whole
            prediction's ab; None where none do.
    """

    def __init__(
        self, pipeline: ColorizationPipeline, photo: Photo, plane: LightnessPlane, lightness: Tensor, working_size: int
    ):
        self.photo = photo
        self.working_size = working_size
        self.lightness = lightness
        self.hints: list[Hint] = []
        self.reference: Reference | None = None
        self.likeness = 0.0
        self.found: Found | None = None
        self.told: tuple[tuple, Tensor | None] | None = None
        self.led: Tensor | None = None
        self.refilled: Tensor | None = None
        self.places: Tensor | None = None
        self.embedding: tuple[Tensor, ...] | None = None
        self.prediction: Tensor | None = None
        self.unhinted: Tensor | None = None
        self.filled: Tensor | None = None
        self._pipeline = pipeline
        self._plane = plane
        # The latest of what costs most (of previews the latest two), replaced as a whole so that threads need no lock.
        self._maps: tuple[tuple, Tensor] | None = None
        self._previews: dict[int, tuple[Tensor, np.ndarray | None]] = {}

    @property
    def truth(self) -> Photo | None:
        """The photo with the color that it came with; None if it came in gray."""
        return self.photo if self._plane.had_color else None

    @property
    def same_scene(self) -> float:
        """How sure it is that the reference shows the scene of this photo once more, 0 to 1; 0 without a reference."""
        return self.found.sureness if self.found and self.likeness else 0.0

    @property
    @torch.inference_mode()
    def confidence(self) -> np.ndarray:
        """How sure the model is of the color, float32 (h, w) in 0..1 at working size: 1 - entropy / log K.

        0 is a uniform distribution over the K bins and 1 a single bin. Hints count, a reference and other guesses do
        not. ColorizerError without a distribution.
        """
        if not self._pipeline.model.has_distribution:
            raise ColorizerError(f"The model {self._pipeline.model.name} predicts no distribution, so no confidence.")
        logs = torch.log_softmax(self.prediction, dim=1)
        entropy = -(logs.exp() * logs).sum(dim=1, keepdim=True)
        confidence = (1 - entropy / math.log(self.prediction.shape[1])).clamp(0, 1)
        return _resize(confidence, self.lightness.shape[-2:])[0, 0].numpy()

    def with_hints(self, hints: Sequence[Hint]) -> Coloring:
        """The same photo with these hints in place of any others. The network runs again, but not its embedder.

        It need not run for no hints, nor where nothing but the reach of hints is another, unless that leaves another
        part of what a reference shows again.

        ColorizerError for a model that takes no hints, and for a hint outside of the photo.
        """
        other = self._copy()
        other.hints = self._pipeline._checked_hints(hints, self.photo)
        heard, told = ([dataclasses.replace(hint, reach=None) for hint in some] for some in (self.hints, other.hints))
        if heard == told and self.unhinted is not None:  # but for their reach
            self._pipeline._settle(other)
        else:
            self._pipeline._predict([other])
        return other

    def with_reference(
        self,
        reference: Image.Image | Photo | Reference | str | os.PathLike | None,
        likeness: float | None = None,
    ) -> Coloring:
        """The same photo in the colors of another one, as far as the network finds them likely.

        The network looks at the reference, and at this photo again if that shows the same scene, but not for another
        likeness to the same Reference. See `colorizer.reference` for what is done.

        Args:
            reference: a photo in color, of the same things, place or roll of film, say: a path, a Pillow image, a
                Photo, or a Reference, which is looked at once for many photos. None: no reference any more.
            likeness: how far the colors are led towards those of the reference, 0 (not at all) to 1 (to have as much
                of each); None: 0.5, which does little harm where the reference shows something else.

        ColorizerError for a reference in gray, for a likeness without one, and for a model without a distribution.
        """
        other = self._copy()
        other.reference, other.likeness = self._pipeline._checked_reference(reference, likeness)
        self._pipeline._settle(other)
        return other

    def small(self, max_side: int) -> Coloring:
        """The same for previews of at most max_side pixels a side: many of them are rendered faster.

        Its prediction is reduced to the places that such a picture can tell apart, one for FINER x FINER pixels.
        """
        longest = max(self.photo.height, self.photo.width)
        if max_side < longest:
            self._reduced_to(max_side)  # kept for all that are made of this one
        other, scale = self._copy(), min(1, max_side / longest) / FINER
        height, width = (max(1, math.ceil(side * scale)) for side in (self.photo.height, self.photo.width))
        for name, logits in (("prediction", self.prediction), ("led", self.led)):
            if logits is not None:
                size = min(height, logits.shape[-2]), min(width, logits.shape[-1])
                setattr(other, name, _resize(logits.float(), size))
        other.refilled = self.refilled
        return other

    def _copy(self) -> Coloring:
        """The same, without what was computed for rendering its colors."""
        other = copy.copy(self)
        other.led = other.refilled = other._maps = None
        return other

    @torch.inference_mode()
    def render(
        self,
        colorfulness: float | None = None,
        temperature: float | None = None,
        max_side: int | None = None,
        balance: float | None = None,
        restraint: float | None = None,
        guess: str | None = None,
    ) -> Photo:
        """The photo in color; no network runs.

        Args:
            colorfulness: factor on the chroma, 0 (gray) to 3; None: the model's default.
            temperature: 0.05 (bold) to 2 (soft), for models with a distribution; None: the model's default.
            max_side: for previews: reduce the photo so that no side is longer, in pixels.
            balance: share of the tint over the whole picture that is taken away, 0 to 1 (see `balanced`); None: the
                model's default. With n hints 5 / (5 + n) of that, since they tell what the picture's tint is, and
                with a reference 1 - likeness, since it does too. Nothing for models that paint whole pictures.
            restraint: how far strong colors are read at a higher temperature, 0 to 1 (see `restrained`), for models
                with a distribution; None: the model's default.
            guess: another guess than the first, "warmer", "cooler", "greener", "rosier" or "plainer" (see `tilt_of`),
                for models with a distribution.

        Returns:
            A Photo with RGB pixels of the photo's depth and its lightness (to half a unit of L, what cannot be shown
            loses chroma), its alpha and its metadata. Of a model that paints whole pictures (digits, expected white
            on black) the pixels are what it painted, enlarged bilinearly: the photo's own lightness is not kept, and
            without colorfulness they are gray of the painting's lightness.

        ColorizerError for a dial out of its range or one that means nothing for the model, an unknown guess, and a
        max_side that is no number of pixels.
        """
        pipeline = self._pipeline
        dials = pipeline.dials(
            colorfulness=colorfulness, temperature=temperature, balance=balance, restraint=restraint
        )
        pipeline._check_guess(guess)
        colorfulness = dials["colorfulness"]
        if pipeline.model.keeps_lightness:
            maps = None
            if colorfulness:
                told = HALF_BALANCED / (HALF_BALANCED + len(self.hints)) * (1 - self.likeness)
                balance = dials["balance"] * told
                maps = self._guide_maps(dials["temperature"], dials["restraint"], balance, guess)
            return self._made(max_side, functools.partial(_colored, maps=maps, colorfulness=colorfulness))
        painting = self._painting(colorfulness)
        return self._made(max_side, lambda rows, size, dtype: _enlarged(painting, size, dtype))

    @torch.inference_mode()
    def gray(self, max_side: int | None = None) -> Photo:
        """The photo in its own lightness, without color: what `render(0)` is, except of models of digits.

        max_side as in `render`; also what is returned.
        """
        return self._made(max_side, _colored)

    def _made(self, max_side: int | None, draw: Callable[..., np.ndarray]) -> Photo:
        """The photo with other pixels, draw(rows, size, dtype) (H, W, 3); `rows` gives the lightness of some rows."""
        if max_side is not None and not (isinstance(max_side, numbers.Real) and 1 <= max_side < math.inf):
            raise ColorizerError(f"max_side is a number of pixels, 1 or more, not {max_side}.")
        photo = self.photo
        dtype = photo.pixels.dtype
        if max_side is None or max_side >= max(photo.height, photo.width):
            return photo.replace(draw(self._plane.rows, photo.pixels.shape[:2], dtype))
        lightness, alpha = self._reduced_to(int(max_side))
        pixels = draw(lambda top, bottom: lightness[top:bottom], lightness.shape, dtype)
        return dataclasses.replace(photo, pixels=pixels, alpha=alpha)

    def _painting(self, colorfulness: float) -> Tensor:
        """What a model that paints whole pictures has painted, sRGB (3, h, w), its chroma in Lab scaled."""
        rgb = self.prediction[0].clamp(0, 1)
        if colorfulness == 1:
            return rgb
        lab = color.rgb_to_lab(rgb)
        lab[1:] *= colorfulness
        rgb = color.lab_to_rgb(lab)
        return rgb if colorfulness else rgb[:1].expand(3, -1, -1)  # rounding must not tint a gray

    def _guide_maps(
        self, temperature: float | None, restraint: float, balance: float, guess: str | None = None
    ) -> Tensor:
        """`guide_maps` of the ab of this guess at this temperature, restrained and balanced; the latest are kept."""
        latest, dials = self._maps, (temperature, restraint, balance, guess)
        if latest is None or latest[0] != dials:
            prediction = self.prediction if self.led is None else self.led
            ab = balanced(self._pipeline._ab(prediction, temperature, restraint, guess), balance)
            for filled in (None if guess else self.refilled, self.filled):  # another guess is one at all places
                if filled is not None:
                    filled = _resize(filled[None], ab.shape[-2:])[0]  # that of a preview is smaller
                    ab = ab * (1 - filled[2]) + filled[:2]
            # A row of a prediction at a quarter stands for four of the working copy, also where that ends sooner.
            latest = self._maps = (dials, guide_maps(_resize(self.lightness, ab.shape[-2:]), ab))
        return latest[1]

    def _reduced_to(self, max_side: int) -> tuple[Tensor, np.ndarray | None]:
        """Lightness (H, W) and alpha of a reduced copy for previews; the latest two are kept."""
        previews = self._previews
        if max_side not in previews:
            height, width = self.photo.height, self.photo.width
            scale = max_side / max(height, width)
            size = (max(1, round(height * scale)), max(1, round(width * scale)))
            alpha = self.photo.alpha
            if alpha is not None:
                levels = np.arange(np.iinfo(alpha.dtype).max + 1, dtype=np.float32)
                alpha = _reduced_plane(lambda top, bottom: _looked_up(levels, alpha[top:bottom]), alpha.shape, size)
                alpha = alpha[0, 0].round().numpy().astype(self.photo.alpha.dtype)
            latest = list(previews.items())[-1:]
            previews = self._previews = dict([*latest, (max_side, (self._plane.reduced(size)[0, 0], alpha))])
        return previews[max_side]

    def _hint_map(self, hints: Sequence[Hint]) -> Tensor:
        """Hints as the network reads them: a, b and mask (3, h, w) at working size."""
        size = self.lightness.shape[-2:]
        hint_map = self.lightness.new_zeros(3, *size)
        for hint in hints:
            values = hint_map.new_tensor([*self._pipeline._asked_ab(hint), 1.0])
            hint_map[:, *self._patch(hint, size)] = values[:, None, None]
        return hint_map

    def _patch(self, hint: Hint, size: tuple[int, int]) -> tuple[slice, slice]:
        """Rows and columns, of a grid of this size, of the places of a hint's patch."""
        sides = (hint.y, self.photo.height), (hint.x, self.photo.width)
        return tuple(
            _cells(center, HINT_RADIUS * pixels / seen if hint.radius is None else hint.radius, cells, pixels)
            for (center, pixels), seen, cells in zip(sides, self.lightness.shape[-2:], size, strict=True)
        )


class LightnessPlane:
    """The lightness of a whole photo in one or two bytes a pixel: codes (H, W), and a table of the L of each code.

    For a gray photo the codes are its own pixels, otherwise 16-bit steps of L. Nothing of the photo's size is float.
    """

    def __init__(self, photo: Photo):
        pixels = photo.pixels
        levels = torch.linspace(0, 1, np.iinfo(pixels.dtype).max + 1, device="cpu")
        linear = color.srgb_to_linear(levels)
        self.had_color = pixels.ndim == 3 and not _is_gray(pixels)
        if not self.had_color:
            self.codes = pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels[:, :, 0])
            self.table = color.lightness_from_luminance(linear).numpy()
            return
        self.codes = np.empty(pixels.shape[:2], np.uint16)
        self.table = torch.linspace(0, 100, 2**16, device="cpu").numpy()
        tables = [(weight * linear).numpy() for weight in color.XYZ_FROM_RGB[1]]  # each channel's share of Y
        for top, bottom in _bands(*pixels.shape[:2]):
            shares = (_looked_up(table, pixels[top:bottom, :, i]) for i, table in enumerate(tables))
            lightness = color.lightness_from_luminance(sum(shares))
            self.codes[top:bottom] = _to_levels(lightness / 100, np.uint16)

    def rows(self, top: int, bottom: int) -> Tensor:
        """L (bottom - top, W) of some rows."""
        return _looked_up(self.table, self.codes[top:bottom])

    def reduced(self, size: tuple[int, int]) -> Tensor:
        """L (1, 1, h, w) of a copy of this (height, width); antialiased."""
        return _reduced_plane(self.rows, self.codes.shape, size)


def stretched(lightness: Tensor) -> Tensor:
    """Lightness (N, 1, h, w) of photos, each with its levels stretched, so that it spans SPAN units of L or more.

    Faded prints and underexposed photos use a part of the range, and would be taken for haze or dusk. What spans SPAN
    already comes back as it is, and the change is continuous there. Training can show the same (key levels).
    """
    ranked = lightness.flatten(1).sort(dim=1).values
    last = ranked.shape[1] - 1
    low, high = (ranked[:, (last * tail + 500) // 1000, None, None, None] for tail in TAILS)
    gain = (SPAN / (high - low).clamp(min=1e-6)).clamp(max=MOST_STRETCHED)
    middle, half = (low + high) / 2, gain * (high - low) / 2
    # The middle moves no farther than it takes for both ends to stay within 0..100: a night sky stays dark.
    wide = (middle.clamp(half, 100 - half) + gain * (lightness - middle)).clamp(0, 100)
    return torch.where(gain > 1, wide, lightness)


def sharpened(lightness: Tensor) -> Tensor:
    """Lightness (N, 1, h, w) of photos, each sharpened by an unsharp mask as far as it is softer than SHARP.

    What is out of focus, enlarged or reduced softly would be taken for another kind of picture, with another palette.
    Sharpness is the root of the ratio of the energy of the slopes to that after a Gaussian blur. With L + amount * d,
    where d is L less its blur, both energies are quadratic in the amount, and so is the condition that it is SHARP.
    What is sharp enough already comes back as it is, and the change is continuous there.
    """
    blurred = _blurred(lightness)
    detail = lightness - blurred
    slopes, softer, detailed, softer_detailed = (
        _slopes(image) for image in (lightness, blurred, detail, blurred - _blurred(blurred))
    )

    def surplus(one: Tensor, other: Tensor, softer_one: Tensor, softer_other: Tensor) -> Tensor:
        return (one * other).sum(dim=1) - SHARP**2 * (softer_one * softer_other).sum(dim=1)

    now = -surplus(slopes, slopes, softer, softer)  # what it lacks: positive where it is too soft
    first = surplus(slopes, detailed, softer, softer_detailed)
    second = surplus(detailed, detailed, softer_detailed, softer_detailed)
    # The root of second * amount ** 2 + 2 * first * amount = now; written so, it stands for second = 0, too.
    root = now / (first + (first**2 + second * now).clamp(min=0).sqrt()).clamp(min=1e-9)
    amount = torch.where(now > 0, root, 0).clamp(0, MOST_SHARPENED)[:, None, None, None]
    return torch.where(amount > 0, (lightness + amount * detail).clamp(0, 100), lightness)


def _blurred(image: Tensor) -> Tensor:
    """Images (N, 1, h, w) under a Gaussian of BLUR, with the border's values beyond it."""
    reach = math.ceil(4 * BLUR)
    weights = torch.exp(-(torch.arange(-reach, reach + 1, device=image.device) ** 2) / (2 * BLUR**2)).to(image.dtype)
    row = (weights / weights.sum()).reshape(1, 1, 1, -1)
    padded = F.pad(image, (reach, reach, reach, reach), mode="replicate")
    return F.conv2d(F.conv2d(padded, row), row.transpose(2, 3))


def _slopes(image: Tensor) -> Tensor:
    """Differences over two pixels of images (N, 1, h, w), down and across: (N, any)."""
    down, across = image[:, :, 2:] - image[:, :, :-2], image[..., 2:] - image[..., :-2]
    return torch.cat([down.flatten(1), across.flatten(1)], dim=1)


@functools.cache
def tilt_of(guess: str) -> Tensor:
    """What another guess adds to the logits of each ab bin (K,), in units of the temperature.

    What a distribution leaves open is often one thing for the whole picture: sun or shade, which film. So each guess
    makes one side of the ab plane likelier everywhere, as an exponential tilt does (Esscher 1932), but bounded. With u
    the direction of a hue in HUES and c a color,

        TILT * tanh(c . u / FAR),  and for the plainer one  -TILT * tanh(|c| / PALE)

    A tint would color all there is; this moves what may as well have another color, and leaves lawns green.
    """
    centers = color.ab_bin_centers()
    if guess == "plainer":
        return -TILT * torch.tanh(centers.norm(dim=1) / PALE)
    angle = math.radians(HUES[guess])
    return TILT * torch.tanh(centers @ centers.new_tensor([math.cos(angle), math.sin(angle)]) / FAR)


def restrained(ab: Tensor, softer: Tensor, restraint: float) -> Tensor:
    """ab (N, 2, h, w) in Lab units with its strong colors moved towards `softer`, as a higher temperature gives them.

    At a low temperature a place gets more of its likeliest colors than their probabilities say. Where those are pale
    an error does little harm, where they are strong it shows: red cloth out of gray. With the chroma c of a place,

        ab + restraint * c / (c + STRONG) * (softer - ab)

    so that with a restraint of 1 pale colors are read at the temperature itself, and strong ones nearly at that of
    `softer`, SOFTER times as high.
    """
    chroma = ab.norm(dim=1, keepdim=True)
    return ab + restraint * chroma / (chroma + STRONG) * (softer - ab)


def balanced(ab: Tensor, share: float) -> Tensor:
    """ab (N, 2, h, w) in Lab units with `share` (0..1) of the tint that lies over the whole picture taken away.

    Whether a picture is warm or cool, in sunlight or in shade, lightness hardly tells, and where a network guesses
    wrong it does so everywhere at once. Photographs are gray in the mean more often than not (the gray world,
    Buchsbaum 1980), so what all places of a picture have in common is believed less than what tells them apart. With
    the mean color m, and u = m / |m|,

        ab - share * min(max(ab . u, 0), |m|) * u

    The mean itself taken away (the gray world's way) would turn white and black blue in a warm picture, and a brown
    table green beside a red cup. So no place loses more than `share` of what it has of the tint.
    """
    mean = ab.mean(dim=(2, 3), keepdim=True)
    strength = mean.norm(dim=1, keepdim=True)
    direction = mean / strength.clamp(min=1e-6)
    tint = (ab * direction).sum(dim=1, keepdim=True).clamp(min=0)
    return ab - share * torch.minimum(tint, strength) * direction


def working_shape(
    height: int, width: int, working_size: int, multiple: int, input_size: tuple[int, int] | None = None
) -> tuple[int, int]:
    """(h, w) of the copy that the network sees of a photo of (height, width).

    The short side is the working size and the aspect is kept, but: the long side is at most four times the working
    size (then the short side is smaller), no side is under 32 (very long formats are squeezed), a photo is enlarged
    at most twice and to a short side of at most 192, whatever the model, and then both sides are rounded to multiples
    of `multiple`. Models with an `input_size` get that.
    """
    if input_size is not None:
        return tuple(input_size)
    short, long = min(height, width), max(height, width)
    enlarged = min(MOST_ENLARGED * short, ENLARGED_TO)
    target = max(SHORTEST_SIDE, min(working_size, max(short, enlarged)))
    scale = min(target / short, LONGEST_RATIO * working_size / long)
    steps = (math.floor(side * scale / multiple + 1 - ROUNDED_UP_FROM) for side in (height, width))
    return tuple(max(SHORTEST_SIDE, multiple * count) for count in steps)


# ------------------------------------------------------------------------------------------- the guided filter


def guide_maps(lightness: Tensor, ab: Tensor, radius: int = RADIUS, epsilon: float = EPSILON) -> Tensor:
    """Coefficients of the guided upsampling, fitted on the prediction's own grid.

    He, Sun: Fast Guided Filter (arXiv 1505.00996): in every window ab is a linear function of the guide,
    slope = cov(L, ab) / (var(L) + epsilon); slopes are averaged over the windows that hold a pixel, enlarged, and
    applied to the full-size guide. Three things differ here. The guide is reduced to the resolution of ab before the
    fit, since a sharp guide against blurred colors gives slopes that are too small. The offset is not averaged: the
    line goes through each pixel's own (L, ab), so that

        ab_full = up(ab) + up(slope) * (L_full - up(L)),  kept between up(least ab nearby) and up(greatest ab nearby).

    The filter thus adds only what the small grid could not show, and nothing that the network predicted is smoothed
    away (as the filter's window would do: at this resolution that costs more than the edges gain). And L and ab are
    enlarged bicubically first: a prediction stands for the mean over its place, which bilinear blurs once more. The
    limits, over 3x3 pixels of the grid, keep slopes and cubics from reaching colors that were not predicted there, and
    so from haloes.

    Args:
        lightness: (1, 1, h, w), the guide at the resolution of ab. ab: (1, 2, h, w).
        radius: of the window, in pixels of this grid. epsilon: in L squared; edges well below its root count as flat.

    Returns:
        (9, FINER * h, FINER * w): L, ab, slope of a and b, least a and b, greatest a and b; to be enlarged bilinearly.
    """

    def box(image: Tensor) -> Tensor:  # the mean over the window, at the border over what there is of it
        return F.avg_pool2d(image, 2 * radius + 1, stride=1, padding=radius, count_include_pad=False)

    mean, mean_ab = box(lightness), box(ab)
    covariance = box(lightness * ab) - mean * mean_ab
    variance = (box(lightness * lightness) - mean * mean).clamp(min=0)
    slope = box(covariance / (variance + epsilon))
    greatest = F.max_pool2d(ab, 3, stride=1, padding=1)
    least = -F.max_pool2d(-ab, 3, stride=1, padding=1)
    smooth = F.interpolate(torch.cat([lightness, ab], dim=1), scale_factor=FINER, mode="bicubic")
    others = F.interpolate(torch.cat([slope, least, greatest], dim=1), scale_factor=FINER, mode="bilinear")
    return torch.cat([smooth, others], dim=1)[0]


def upsampled_band(maps: Tensor, top: int, bottom: int, height: int, width: int) -> Tensor:
    """Rows top..bottom (C, bottom - top, width) of maps (C, h, w) enlarged bilinearly to (height, width).

    Every row is computed from its own position, so that the result does not depend on how the bands are cut.
    """
    rows = maps.shape[1]
    middles = torch.arange(top, bottom, dtype=torch.float64, device=maps.device) + 0.5
    place = (middles * rows / height - 0.5).clamp(0, rows - 1)
    above = place.floor().long()
    share = (place - above).float()[:, None]
    first, last = int(above[0]), min(int(above[-1]) + 2, rows)
    wide = F.interpolate(maps[None, :, first:last], size=(last - first, width), mode="bilinear", align_corners=False)[
        0
    ]
    band = maps.new_empty(len(maps), bottom - top, width)
    start = 0
    for row, count in zip(*(part.tolist() for part in above.unique_consecutive(return_counts=True)), strict=True):
        # All rows between two of the grid at once: gathering both neighbors of every row takes four times as long.
        here, there = wide[:, row - first, None], wide[:, min(row + 1, last - 1) - first, None]
        torch.lerp(here, there, share[start : start + count], out=band[:, start : start + count])
        start += count
    return band


def guided_band(maps: Tensor, lightness: Tensor, top: int, height: int) -> Tensor:
    """ab (2, rows, width) by guide_maps' formula, of the rows from `top` on with this lightness (rows, width)."""
    rows, width = lightness.shape
    parts = upsampled_band(maps, top, top + rows, height, width)
    detail = lightness - parts[0]
    return torch.clamp(torch.addcmul(parts[1:3], parts[3:5], detail), parts[5:7], parts[7:9])


def _colored(
    rows: Callable[[int, int], Tensor],
    size: tuple[int, int],
    dtype: np.dtype,
    maps: Tensor | None = None,
    colorfulness: float = 1.0,
) -> np.ndarray:
    """RGB pixels (H, W, 3) from lightness, given by rows, and the maps of the guided filter (None: gray)."""
    height, width = size
    pixels = np.empty((height, width, 3), dtype)
    if maps is not None:  # a small photo may have fewer pixels than the maps
        maps = _resize(maps[None], (min(maps.shape[1], height), min(maps.shape[2], width)))[0]
    for top, bottom in _bands(height, width):
        lightness = rows(top, bottom)
        if maps is None:
            ab = lightness.new_zeros(2, *lightness.shape)
        else:
            ab = colorfulness * guided_band(maps, lightness, top, height)
        rgb = color.lab_to_rgb(torch.cat([lightness[None], ab]))
        if maps is None:  # one channel for all three: rounding must not tint a gray
            rgb = rgb[:1].expand(3, -1, -1)
        pixels[top:bottom] = _to_levels(rgb, dtype).transpose(1, 2, 0)
    return pixels


def _enlarged(rgb: Tensor, size: tuple[int, int], dtype: np.dtype) -> np.ndarray:
    """Pixels (H, W, 3) of sRGB (3, h, w) in 0..1, resized bilinearly, in bands where that is larger."""
    height, width = size
    rgb = _resize(rgb[None], (min(rgb.shape[1], height), min(rgb.shape[2], width)))[0]
    pixels = np.empty((height, width, 3), dtype)
    for top, bottom in _bands(height, width):
        band = upsampled_band(rgb, top, bottom, height, width)
        pixels[top:bottom] = _to_levels(band, dtype).transpose(1, 2, 0)
    return pixels


# -------------------------------------------------------------------------------------------------- small parts


def _bands(height: int, width: int) -> list[tuple[int, int]]:
    """(top, bottom) of the horizontal bands that an image is worked on in."""
    rows = max(1, BAND_PIXELS // width)
    return [(top, min(top + rows, height)) for top in range(0, height, rows)]


def _looked_up(table: np.ndarray, codes: np.ndarray) -> Tensor:
    """table[codes] as a float tensor."""
    return torch.from_numpy(np.take(table, codes))


def _to_levels(values: Tensor, dtype: np.dtype) -> np.ndarray:
    """0..1 to the levels of uint8 or uint16, rounded; the shape is kept."""
    most = np.iinfo(dtype).max
    levels = values.clamp(0, 1).mul(most).add_(0.5)
    return levels.to(torch.uint8).numpy() if dtype == np.uint8 else levels.to(torch.int32).numpy().astype(dtype)


def _is_gray(pixels: np.ndarray) -> bool:
    """Whether the three channels of (H, W, 3) are the same everywhere."""
    for top, bottom in _bands(*pixels.shape[:2]):  # stops at the first band with color
        band = pixels[top:bottom]
        if not (np.array_equal(band[..., 0], band[..., 1]) and np.array_equal(band[..., 0], band[..., 2])):
            return False
    return True


def _resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, C, H, W) to (height, width): bilinear, antialiased where that is smaller."""
    if tuple(image.shape[-2:]) == tuple(size):
        return image
    return F.interpolate(image, size=tuple(size), mode="bilinear", align_corners=False, antialias=True)


def _reduced_plane(rows: Callable[[int, int], Tensor], size: tuple[int, int], target: tuple[int, int]) -> Tensor:
    """A float image (1, 1, h, w) of `target` size, of a plane that is given by rows: across in bands, then down."""
    across = min(target[1], size[1])  # a strip of a few columns is enlarged when it is short
    bands = [_resize(rows(top, bottom)[None, None], (bottom - top, across)) for top, bottom in _bands(*size)]
    return _resize(torch.cat(bands, dim=2), target)


def _weight_of_places(likeness: float) -> float:
    """How much what a reference shows at its places counts, 0 to 1.

    More of it than once would count it against itself, so beyond the middle of the dial it stays.
    """
    return min(1, 2 * likeness)


def _cells(center: float, radius: float, cells: int, pixels: int) -> slice:
    """The cells, of `cells` along a side of `pixels`, whose middles lie within the radius of a pixel; at least one.

    Center and radius are in pixels.
    """
    scale = cells / pixels
    middle, reach = (math.floor(center) + 0.5) * scale, min(radius, pixels) * scale
    own = min(int(middle), cells - 1)
    first = min(own, math.ceil(middle - reach - 0.5))
    last = max(own, math.floor(middle + reach - 0.5))
    return slice(max(0, first), min(cells, last + 1))


def _is_number(value) -> bool:
    """Whether it is a number, also one of numpy's or torch's."""
    try:
        float(value)
        return not isinstance(value, str)
    except (TypeError, ValueError, OverflowError):
        return False


def _photo(source, role: str = "An image") -> Photo:
    if isinstance(source, Photo):
        return source
    if isinstance(source, Image.Image):
        return Photo.from_pil(source)
    if isinstance(source, (str, os.PathLike)):
        return Photo.open(source)
    raise ColorizerError(f"{role} is a path, a Pillow image or a Photo, not {type(source).__name__}.")


def _checked(name: str, value: float, low: float, high: float) -> float:
    """The value as a float; ColorizerError unless it is a number from low to high."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not low <= value <= high:
        raise ColorizerError(f"{name} must be a number from {low:g} to {high:g}, not {value!r}.")
    return float(value)


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _decoder_of(model: Colorizer) -> Colorizer:
    """The model with its color bins on the CPU, for `decode` alone: rendering must not need the network's device.

    A shallow copy: all other weights are shared with the model and move with it.
    """
    decoder = copy.copy(model)
    decoder._modules = {
        name: copy.deepcopy(module).cpu() if isinstance(module, color.AbBins) else module
        for name, module in model._modules.items()
    }
    return decoder
