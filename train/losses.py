"""What a colorizer is trained to do."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from colorizer.color import AbBins


class RebalancedCrossEntropy(nn.Module):
    """Cross-entropy on soft-encoded ab bins, rare colors weighted up (Zhang et al. 2016, arXiv:1603.08511).

    A place's weight is that of the bin nearest to its color: 1 / ((1 - m) p + m / K), scaled so that the mean weight
    over the data set is 1. `prior` (K,) is p, the share of each bin in the data; `mix` is m: 0.5 in the paper, and 1
    switches rebalancing off.
    """

    def __init__(self, prior: Tensor, mix: float) -> None:
        super().__init__()
        weights = 1 / ((1 - mix) * prior + mix / len(prior))
        self.register_buffer("weights", weights / (prior * weights).sum())

    def forward(self, logits: Tensor, ab: Tensor, bins: AbBins) -> Tensor:
        """Loss of logits (N, K, h, w) for ab (N, 2, H, W) in Lab units, which is averaged down to h x w."""
        target = functional.adaptive_avg_pool2d(ab, logits.shape[-2:])
        index, share = bins.encode(target)
        log_probability = functional.log_softmax(logits.float(), dim=1)
        loss = -(log_probability.gather(1, index) * share).sum(1)
        weight = self.weights[index[:, 0]]
        return (loss * weight).sum() / weight.sum()


@torch.no_grad()
def bin_prior(batches, bins: AbBins) -> Tensor:
    """The share (K,) of each bin, smoothed by soft-encoding, in an iterable of ab batches (N, 2, H, W)."""
    total = torch.zeros(len(bins), dtype=torch.float64)
    for ab in batches:
        index, share = bins.encode(ab)
        total += torch.bincount(index.flatten().cpu(), share.flatten().double().cpu(), minlength=len(bins))
    return (total / total.sum()).float()
