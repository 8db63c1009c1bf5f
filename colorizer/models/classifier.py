"""A small classifier of color photographs: the judge of whether recolored ones still show what they are."""

from __future__ import annotations

from torch import Tensor, nn

from colorizer.errors import ColorizerError
from colorizer.models.base import Colorizer, register_model
from colorizer.models.embedder import check_embedder_name, create_network

SMALLEST = 32  # pixels; the stride of most networks


@register_model("classifier")
class Classifier(Colorizer):
    """Any timm network over the classes of a folder of photographs. It colors nothing, and the pipeline refuses it.

    Zhang et al. 2016 (arXiv:1603.08511) judge colorizers so: photographs whose color was lost and guessed again are
    recognized less often than the real ones, and more often than gray ones if the colors tell something.

    Args:
        classes: their names, 'source/class' as train/data.py calls them; at least two, all different.
        network: a plain timm architecture. Built without a download.
        size: side in pixels of the square that a picture is resized to, whatever its aspect.

    Raises:
        ColorizerError: an argument that is none of these, or a size that the network does not take.
    """

    kind = "classifier"

    def __init__(self, classes: list[str], network: str = "resnet18", size: int = 128) -> None:
        super().__init__()
        import timm  # heavy, and needed only by models that have a network of it

        check_embedder_name(network, "network")
        named = isinstance(classes, (list, tuple)) and all(isinstance(name, str) for name in classes)
        if not named or len(set(classes)) < max(2, len(classes)):
            raise ColorizerError("classes must be two or more names, all different.")
        if isinstance(size, bool) or not isinstance(size, int) or size < SMALLEST:
            raise ColorizerError(f"size must be a number of pixels, {SMALLEST} or more, not {size!r}.")
        self.classes = list(classes)
        self.size = size
        self.network = create_network(network, pretrained=False, num_classes=len(classes))
        config = timm.data.resolve_model_data_config(self.network)
        if self.network.pretrained_cfg.get("fixed_input_size") and size != config["input_size"][-1]:
            raise ColorizerError(f"{network} takes pictures of one size: size must be {config['input_size'][-1]}.")
        self.mean, self.std = config["mean"], config["std"]

    def forward(self, rgb: Tensor) -> Tensor:
        """Logits (N, len(classes)) of sRGB (N, 3, H, W) in 0..1, of any H and W."""
        square = (self.size, self.size)
        if rgb.shape[-2:] != square:
            rgb = nn.functional.interpolate(rgb, size=square, mode="bilinear", align_corners=False, antialias=True)
        mean, std = (rgb.new_tensor(value)[:, None, None] for value in (self.mean, self.std))
        return self.network((rgb - mean) / std)
