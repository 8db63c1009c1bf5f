"""A trained colorizer as one ONNX file, for programs without torch: other languages, phones, browsers."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import json
import logging
import os
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from colorizer import color
from colorizer.errors import ColorizerError
from colorizer.models.base import Colorizer, written_aside
from colorizer.models.embedder import Embedder
from colorizer.pipeline import SHORTEST_SIDE, SOFTER, ColorizationPipeline, balanced, restrained

EMBEDDERS_LEAST_SIDE = 128  # pixels; some enlarge smaller pictures, and a program without branches cannot decide that
MOST_BYTES = 1.5e9  # above that torch puts the weights into a second file


def check_exportable(path: str | os.PathLike) -> Path:
    """The path. ColorizerError if it is no name for an ONNX file, or the packages that write one are missing."""
    path = Path(path)
    if path.suffix.lower() != ".onnx" or path.is_dir():
        raise ColorizerError(f"{str(path)!r} is no name for an ONNX file: name one that ends with .onnx.")
    for package in ("onnx", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            raise ColorizerError(f"{package} is missing: pip install onnx onnxscript.")
    return path


def export_onnx(model: Colorizer, path: str | os.PathLike) -> list[str]:
    """Writes the network with its dials, all but the guided enlarging to the photo's own size, to an ONNX file.

    Its inputs, float32, and what they are in `ColorizationPipeline`:

    - `lightness` (N, 1, H, W): CIE L, 0..100, of a small copy, its short side about the model's working size, less of
      a small photo (`pipeline.working_shape`). H and W are multiples of `side_multiple`, `least_side` or more.
    - `hints` (N, 3, H, W), of a model that takes some: a and b that a place is to have at the default colorfulness,
      and a mask of 0 and 1; zero where the mask is. All zeros: no hints. How far they reach beyond what the network
      makes of them (`colorizer.reach`) is not in the file.
    - `temperature` and `restraint`, of a model with a distribution; `balance` (with n hints the pipeline gives
      5 / (5 + n) of it) and `colorfulness`: numbers, shape ().

    Its output `ab` (N, 2, h, w) is in CIE Lab units, on the network's own grid: a quarter of H and W in a fusion
    model, H and W themselves in those that predict at that size (which the pipeline first reduces by half). It is to
    be enlarged to the photo and set beside the photo's own L. The file's metadata have `model`, `dials` (JSON: the
    model's defaults), `working_size`, `side_multiple` and `least_side`.

    Returns the names of the inputs. stdout and logging are silent meanwhile, in all threads. ColorizerError for a
    model that colors nothing, paints pictures of its own, is too large or has what torch's exporter does not know, for
    a path that does not end with .onnx, and without the packages for it.
    """
    path = check_exportable(path)
    model = copy.deepcopy(model)  # it may be in use, on another device
    pipeline = ColorizationPipeline(model, "cpu")
    name = model.source or model.name
    if not model.keeps_lightness:
        raise ColorizerError(f"{name} paints pictures of its own, and has no ab to export.")
    if sum(tensor.nbytes for tensor in model.state_dict().values()) > MOST_BYTES:
        raise ColorizerError(f"{name} is too large for an ONNX file: it may have {MOST_BYTES / 1e9:g} GB in float32.")

    embedders = [part for part in model.modules() if isinstance(part, Embedder) and not part.size]
    for embedder in embedders:
        pad_by_constants(embedder)
    program = Program(pipeline)
    pictures = {"lightness": torch.linspace(0, 100, 2 * 192 * 256).reshape(2, 1, 192, 256)}
    if model.accepts_hints:
        pictures["hints"] = torch.zeros(2, 3, 192, 256)
    dials = {dial: torch.tensor(float(model.defaults.get(dial, 0))) for dial in program.inputs if dial not in pictures}
    multiple, least = model.side_multiple, EMBEDDERS_LEAST_SIDE if embedders else SHORTEST_SIDE
    sizes = {0: torch.export.Dim("batch")}
    for axis, dimension in ((2, "rows"), (3, "columns")):
        sizes[axis] = multiple * torch.export.Dim(dimension, min=least // multiple)
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
        reason = str(error.__cause__ or error).strip().partition("\n")[0]
        raise ColorizerError(f"This torch cannot write {name} as ONNX: {reason}") from error
    exported.model.metadata_props.update(
        model=Path(name).name if Path(name).exists() else name,  # a folder's place is nobody else's business
        dials=json.dumps({dial: round(value.item(), 6) for dial, value in dials.items()}),
        working_size=str(model.defaults["working_size"]),
        side_multiple=str(multiple),
        least_side=str(least),
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
        lightness, hints = self.pipeline.as_seen(given["lightness"]), given.get("hints")
        if hints is not None:  # the network reads colors before they are multiplied
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


def pad_by_constants(embedder: Embedder) -> None:
    """Puts constants for what timm's Conv2dSame works out for every picture: the padding "same" of TensorFlow.

    Where the stride divides a picture's sides that is always the kernel less the stride. The exporter's formulas of
    sides would be so long otherwise that it takes ten minutes. An embedder of pictures of any size gets multiples of
    32; which convolutions then never see an odd side is tried with an odd multiple.
    """
    from timm.layers import Conv2dSame

    constant = set()

    def look(conv: nn.Conv2d, inputs: tuple[Tensor]) -> None:
        if not any(side % stride for side, stride in zip(inputs[0].shape[2:], conv.stride, strict=True)):
            constant.add(conv)

    convolutions = [part for part in embedder.modules() if isinstance(part, Conv2dSame)]
    hooks = [conv.register_forward_pre_hook(look) for conv in convolutions]
    with torch.no_grad():
        side = embedder.size or 5 * 32
        embedder.network(torch.zeros(1, 3, side, side))
    for hook in hooks:
        hook.remove()
    for parent in list(embedder.modules()):
        for name, child in parent.named_children():
            if child in constant:
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
