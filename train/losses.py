"""What a colorizer is trained to do: the objectives that a recipe names, each with its source."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from colorizer.color import AB_LIMIT, AbBins, lab_to_rgb
from colorizer.metrics import colorfulness
from train.data import NO_LABEL
from train.weights import trained_features


class RebalancedCrossEntropy(nn.Module):
    """Cross-entropy on soft-encoded ab bins, rare colors weighted up (Zhang et al. 2016, arXiv:1603.08511).

    A place's weight is that of the bin nearest to its color: 1 / ((1 - m) p + m / K), scaled so that the mean weight
    under p is 1 (over the data's places it is near that, since p is smoothed). `prior` (K,) is p, the share of each
    bin in the data; `mix` is m: 0.5 in the paper, and 1 switches rebalancing off.

    Of a photo that can have many colors the truth is one draw. A teacher says what all of them are worth: where there
    is one, its distribution takes `teacher_share` of the target (Hinton et al. 2015, arXiv:1503.02531, at temperature
    1). The place's weight stays the true color's, whose mean is the one that a rebalanced teacher was trained with.
    Of a drawn document there is nothing to be taught: gray is all that it may be.
    """

    def __init__(self, prior: Tensor, mix: float, teacher_share: float = 0.0) -> None:
        super().__init__()
        self.teacher_share = teacher_share
        weights = 1 / ((1 - mix) * prior + mix / len(prior))
        self.register_buffer("weights", weights / (prior * weights).sum())

    def forward(
        self,
        logits: Tensor,
        ab: Tensor,
        bins: AbBins,
        taught: Tensor | None = None,
        drawn: Tensor | None = None,
    ) -> Tensor:
        """Loss of logits (N, K, h, w) for ab (N, 2, H, W) in Lab units, which is averaged down to h x w, and for the
        teacher's probabilities `taught` (N, K, h, w), if any, but of the views that are `drawn` (N,) documents.

        The mean over all places, whatever their weights are: so it is the same in one batch or in parts.
        """
        target = functional.adaptive_avg_pool2d(ab, logits.shape[-2:])
        index, share = bins.encode(target)
        log_probability = functional.log_softmax(logits.float(), dim=1)
        loss = -(log_probability.gather(1, index) * share).sum(1)
        if taught is not None:
            taught_loss = -(log_probability * taught).sum(1)
            if drawn is not None:
                taught_loss = torch.where(drawn[:, None, None], loss, taught_loss)
            loss = torch.lerp(loss, taught_loss, self.teacher_share)
        return (loss * self.weights[index[:, 0]]).mean()


@torch.no_grad()
def bin_prior(batches, bins: AbBins) -> Tensor:
    """The share (K,) of each bin, smoothed by soft-encoding, in an iterable of ab batches (N, 2, H, W)."""
    total = torch.zeros(len(bins), dtype=torch.float64)
    for ab in batches:
        index, share = bins.encode(ab)
        total += torch.bincount(index.flatten().cpu(), share.flatten().double().cpu(), minlength=len(bins))
    return (total / total.sum()).float()


class PerceptualLoss(nn.Module):
    """Mean absolute difference of a network's features of two pictures (after Johnson et al. 2016, arXiv:1603.08155).

    Args:
        name, weights: a timm architecture, and its weights: "pretrained", or a file or folder (train/weights.py).

    Each level's difference is divided by the level's mean absolute feature, so that all levels count alike.
    """

    def __init__(self, name: str, weights: str) -> None:
        super().__init__()
        self.network, self.mean, self.std = trained_features(name, weights)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> PerceptualLoss:
        return super().train(False)

    def forward(self, rgb: Tensor, truth: Tensor) -> Tensor:
        """Loss of sRGB (N, 3, H, W) in 0..1 against the truth."""
        mean, std = (rgb.new_tensor(v)[:, None, None] for v in (self.mean, self.std))
        with torch.no_grad():
            wanted = self.network((truth - mean) / std)
        got = self.network((rgb - mean) / std)
        return sum(
            functional.l1_loss(g.float(), w.float()) / w.float().abs().mean().clamp(min=1e-6)
            for g, w in zip(got, wanted, strict=True)
        ) / len(got)


class PatchCritic(nn.Module):
    """A PatchGAN critic (Isola et al. 2017, arXiv:1611.07004) with spectral norm (Miyato et al. 2018,
    arXiv:1802.05957): scores each patch, of 62 pixels a side, as real (high) or as colored (low)."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        widths = [3, width, 2 * width, 4 * width, 4 * width]
        layers: list[nn.Module] = []
        for stage, (inputs, outputs) in enumerate(zip(widths, widths[1:], strict=False)):
            layers += [spectral_norm(nn.Conv2d(inputs, outputs, 4, 2 if stage < 3 else 1, 1)), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, spectral_norm(nn.Conv2d(widths[-1], 1, 3, 1, 1)))

    def forward(self, lightness: Tensor, ab: Tensor) -> Tensor:
        """Scores (N, 1, h, w) of lightness (N, 1, H, W) and ab (N, 2, H, W), in Lab units."""
        return self.layers(torch.cat([lightness / 50 - 1, ab / AB_LIMIT], dim=1))


def critic_loss(real: Tensor, colored: Tensor) -> Tensor:
    """The critic's hinge loss (Miyato et al. 2018)."""
    return functional.relu(1 - real).mean() + functional.relu(1 + colored).mean()


def squared_error(out: dict[str, Tensor], truth: dict[str, Tensor], ab_unit: float) -> Tensor:
    """Mean squared error (N,) of each picture: of RGB in 0..1 where the model paints it, else of ab / ab_unit."""
    if "rgb" in out:
        return (out["rgb"].float() - truth["rgb"]).square().flatten(1).mean(1)
    return ((out["ab"].float() - truth["ab"]) / ab_unit).square().flatten(1).mean(1)


class Objective(nn.Module):
    """The weighted sum of the objectives that a recipe names, but for the critic's word (train.py adds that).

    Args:
        weights: of each objective by name; those of weight 0 are left out.
        ab_unit: what ab is divided by in the squared error.
        prior: share (K,) of each bin in the data, where the cross-entropy is among them.
        labeled_share: share of the pictures that have a class.
        others: the recipe's rebalancing_mix, teacher_share, perceptual_network and perceptual_weights.
    """

    def __init__(
        self,
        weights: dict[str, float],
        ab_unit: float = 127.0,
        prior: Tensor | None = None,
        labeled_share: float = 1.0,
        rebalancing_mix: float = 1.0,
        teacher_share: float = 0.0,
        perceptual_network: str = "vgg16",
        perceptual_weights: str = "pretrained",
    ) -> None:
        super().__init__()
        self.terms = {name: weight for name, weight in weights.items() if weight and name != "adversarial"}
        self.ab_unit = ab_unit
        self.labeled_share = labeled_share
        if "rebalanced_cross_entropy" in self.terms:
            self.cross_entropy = RebalancedCrossEntropy(prior, rebalancing_mix, teacher_share)
        if "perceptual" in self.terms:
            self.perceptual = PerceptualLoss(perceptual_network, perceptual_weights)

    def forward(self, out: dict[str, Tensor], truth: dict[str, Tensor], bins: AbBins | None = None):
        """The loss, and each objective's value (unweighted) by name.

        Args:
            out: what the trainee's forward gives: "rgb" of models that paint RGB; "ab", "logits", "class_logits".
            truth: what Training.see gives: "rgb" (N, 3, H, W) in 0..1; "lightness" (N, 1, H, W) and "ab"
                (N, 2, H, W) in Lab units, for models that give ab; "label" (N,), NO_LABEL where there is none;
                "taught" (N, K, h, w), what Training.ask_teachers gives, where there are any; and "drawn" (N,), which
                views are documents, or None.
            bins: of the model, where it has a distribution.
        """
        values = {}
        rgb = out["rgb"].float() if "rgb" in out else None
        if rgb is None and {"perceptual", "colorfulness"} & self.terms.keys():
            rgb = lab_to_rgb(torch.cat([truth["lightness"], out["ab"].float()], dim=1), gamut="clip")
        for name in self.terms:
            if name == "mse":  # on RGB in 0..1, or on ab in the model's unit: 127 in Deep Koalarization
                values[name] = squared_error(out, truth, self.ab_unit).mean()
            elif name == "l1" and "rgb" in out:
                values[name] = functional.l1_loss(rgb, truth["rgb"])
            elif name == "l1":  # DDColor's pixel loss (arXiv:2212.11613), here on ab in units of 110
                values[name] = functional.l1_loss(out["ab"].float() / AB_LIMIT, truth["ab"] / AB_LIMIT)
            elif name == "smooth_l1" and "rgb" in out:
                values[name] = functional.smooth_l1_loss(rgb, truth["rgb"], beta=1 / AB_LIMIT)
            elif name == "smooth_l1":  # Zhang et al. 2017 (arXiv:1705.02999): squared below one Lab unit, then linear
                ab, wanted = out["ab"].float() / AB_LIMIT, truth["ab"] / AB_LIMIT
                values[name] = functional.smooth_l1_loss(ab, wanted, beta=1 / AB_LIMIT)
            elif name == "rebalanced_cross_entropy":
                values[name] = self.cross_entropy(
                    out["logits"], truth["ab"], bins, truth.get("taught"), truth.get("drawn")
                )
            elif name == "chroma":  # the error of RGB without its part in brightness, as far as the truth is bright
                error, brightness = rgb - truth["rgb"], truth["rgb"].mean(1, keepdim=True)
                values[name] = ((error - error.mean(1, keepdim=True)).square() * brightness).mean()
            elif name == "perceptual":
                values[name] = self.perceptual(rgb, truth["rgb"])
            elif name == "colorfulness":  # DDColor (arXiv:2212.11613): 1 - CF / 100
                lacking, drawn = 1 - colorfulness(rgb) / 100, truth.get("drawn")
                values[name] = (lacking if drawn is None else lacking.masked_fill(drawn, 0)).mean()  # which stay gray
            elif name == "labels":  # Iizuka et al. 2016; pictures without a class count nothing
                label = truth["label"]
                sums = functional.cross_entropy(
                    out["class_logits"].float(), label, ignore_index=NO_LABEL, reduction="sum"
                )
                values[name] = sums / (len(label) * self.labeled_share)
        total = sum(self.terms[name] * value for name, value in values.items())
        return total, {name: value.detach() for name, value in values.items()}
