"""A trained colorizer as one ONNX file, for programs without torch: other languages, phones, browsers."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import os
import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from colorizer import color
from colorizer.errors import ColorizerError
from colorizer.models.base import Colorizer, written_aside
from colorizer.models.embedder import Embedder
from colorizer.pipeline import SOFTER, ColorizationPipeline, balanced, restrained, stretched

LEAST_SIDE = 128  # pixels; some embedders enlarge smaller pictures, which a program without branches cannot decide


def export_onnx(model: Colorizer, path: str | os.PathLike) -> list[str]:
    """Writes the network with its dials, all but the enlarging to the photo's own size, to an ONNX file.

    Its inputs, float32, and what they are in `ColorizationPipeline`:

    - `lightness` (N, 1, H, W): CIE L, 0..100, of a small copy, its short side about the model's working size. H and W
      are multiples of the model's `side_multiple`, 128 or more; those of a model with an `input_size` are that.
    - `hints` (N, 3, H, W), of a model that takes some: a and b that a place is to have, and a mask of 0 and 1; zero
      where the mask is. All zeros: no hints.
    - `temperature` and `restraint`, of a model with a distribution; `balance` (with n hints the pipeline gives
      5 / (5 + n) of it) and `colorfulness`: numbers, shape ().

    Its output `ab` (N, 2, h, w) is in CIE Lab units, on the network's own grid (a quarter of H and W where there is a
    distribution); it is to be enlarged to the photo and set beside the photo's own L. The file's metadata have
    `model`, `dials` (JSON: the model's defaults), `working_size` and `side_multiple`.

    Returns the names of the inputs. ColorizerError for a model that colors nothing or paints pictures of its own, or
    has what torch's exporter does not know, for a path that does not end with .onnx, and without the packages for it.
    """
    path = Path(path)
    if path.suffix.lower() != ".onnx":
        raise ColorizerError(f"{path} is no name for an ONNX file: let it end with .onnx.")
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ColorizerError(f"{error.name} is missing: pip install onnx onnxscript.") from None
    model = copy.deepcopy(model)  # it may be in use, on another device
    pipeline = ColorizationPipeline(model, "cpu")
    if not model.keeps_lightness:
        raise ColorizerError(f"{model.source or model.name} paints pictures of its own, and has no ab to export.")

    pad_by_constants(model)
    program = Program(pipeline)
    height, width = model.input_size or (192, 256)
    pictures = {"lightness": torch.linspace(0, 100, 2 * height * width).reshape(2, 1, height, width)}
    if model.accepts_hints:
        pictures["hints"] = torch.zeros(2, 3, height, width)
    dials = {name: torch.tensor(model.defaults.get(name, 0.0)) for name in program.inputs if name not in pictures}
    sizes = {0: torch.export.Dim("batch")}
    if model.input_size is None:
        multiple = model.side_multiple
        for axis, name in ((2, "rows"), (3, "columns")):
            sizes[axis] = multiple * torch.export.Dim(name, min=LEAST_SIDE // multiple)
    try:
        with _silence():
            exported = torch.onnx.export(
                program,
                (*pictures.values(), *dials.values()),
                dynamo=True,
                dynamic_shapes={"inputs": (*[sizes] * len(pictures), *[{}] * len(dials))},
                input_names=program.inputs,
                output_names=["ab"],
            )
    except torch.onnx.OnnxExporterError as error:
        reason, name = str(error.__cause__ or error).strip().partition("\n")[0], model.source or model.name
        raise ColorizerError(f"This torch cannot write {name} as ONNX: {reason}") from error
    exported.model.metadata_props.update(
        model=model.source or model.name,
        dials=json.dumps({name: round(value.item(), 6) for name, value in dials.items()}),
        working_size=str(model.defaults["working_size"]),
        side_multiple=str(model.side_multiple),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(path) as partial:
        exported.save(partial)
    return program.inputs


class Program(nn.Module):
    """What the file computes; `inputs` are the names of what `forward` takes, in this order."""

    def __init__(self, pipeline: ColorizationPipeline) -> None:
        super().__init__()
        self.pipeline = pipeline
        self.model = model = pipeline.model  # so that its weights are found
        hints = ["hints"] if model.accepts_hints else []
        steered = ["temperature", "restraint"] if model.has_distribution else []
        self.inputs = ["lightness", *hints, *steered, "balance", "colorfulness"]

    def forward(self, *inputs: Tensor) -> Tensor:
        given, model = dict(zip(self.inputs, inputs, strict=True)), self.model
        lightness, hints = given["lightness"], given.get("hints")
        if model.domain == "photos":
            lightness = stretched(lightness)
        if hints is not None:  # they are the colors of the result
            gain = model.defaults["colorfulness"] or 1.0
            limits = hints.new_tensor([color.AB_LIMIT, color.AB_LIMIT, 1])[:, None, None]
            hints = (hints / hints.new_tensor([gain, gain, 1])[:, None, None]).clamp(-limits, limits)
        _, prediction = self.pipeline.ask(lightness, hints)
        if model.has_distribution:
            temperature = given["temperature"]
            ab, softer = (model.decode(prediction, factor * temperature) for factor in (1, SOFTER))
            ab = restrained(ab, softer, given["restraint"])
        else:
            ab = self.pipeline.chroma_of(prediction)
        return given["colorfulness"] * balanced(ab, given["balance"])


def pad_by_constants(model: Colorizer) -> None:
    """Puts constants for what timm's Conv2dSame works out for every picture: the padding "same" of TensorFlow.

    Where the stride divides a picture's side that is always the kernel less the stride. An embedder of pictures of
    any size gets multiples of 32, and no stride leaves an odd side. The exporter's formulas of sides would be so long
    otherwise that it takes ten minutes.
    """
    from timm.layers import Conv2dSame

    for embedder in model.modules():
        if not isinstance(embedder, Embedder) or embedder.size:
            continue
        for parent in list(embedder.modules()):
            for name, child in parent.named_children():
                if isinstance(child, Conv2dSame):
                    setattr(parent, name, ConstantPadding(child))


class ConstantPadding(nn.Module):
    """A convolution with padding "same", of (N, C, H, W) whose H and W its stride divides."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        self.pads = []  # left, right, top, bottom
        for kernel, stride, dilation in zip(conv.kernel_size, conv.stride, conv.dilation, strict=True):
            pad = max(dilation * (kernel - 1) + 1 - stride, 0)
            self.pads = [pad // 2, pad - pad // 2, *self.pads]

    def forward(self, x: Tensor) -> Tensor:
        conv = self.conv
        return F.conv2d(F.pad(x, self.pads), conv.weight, conv.bias, conv.stride, 0, conv.dilation, conv.groups)


@contextlib.contextmanager
def _silence():
    """Without the exporter's marks of progress and its warnings, which mean nothing to who exports a model."""
    level = logging.root.manager.disable
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(level)
