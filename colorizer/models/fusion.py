"""The fusion colorizer: an autoencoder on lightness, fused with what a timm network sees in the same picture.

After Deep Koalarization (Baldassarre, Gonzalez Morin and Rodes-Guirao 2017, arXiv:1712.03400), with options that later
work made worth having: a head that is a distribution over the ab bins (Zhang et al. 2016, arXiv:1603.08511), skip
connections and color hints (Zhang et al. 2017, arXiv:1705.02999), and an embedding that keeps its place.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from colorizer.color import AB_LIMIT, AbBins
from colorizer.errors import ColorizerError
from colorizer.models.base import QuarterGridColorizer, check_counts, pad_to_multiple, register_model, resize
from colorizer.models.embedder import Embedder, map_indices

STRIDES = (2, 4, 8, 16)  # of the encoder's stages
HEADS = 4  # of the attention
MOST_BLOCKS = 64  # of the attention; thousands, as a config may ask for, would take minutes to build


@register_model("fusion")
class FusionColorizer(QuarterGridColorizer):
    """Encoder, embedder, fusion, decoder, head.

    Args:
        embedder: any timm architecture, e.g. "inception_resnet_v2" or "resnet18". Built without a download.
        embedding: what is taken from it: "logits" (the paper), "pooled" features, or "maps": its feature maps too,
            each fused where the decoder has its resolution, so that the colors know what is where.
        embedder_size: side in pixels of the square that the embedder sees; None: its own size for a vector, and the
            picture's own size for maps.
        width: channels of the encoder's first stage; each stage doubles them.
        decoder_widths: channels of the decoder at strides 16, 8 and 4.
        skips: whether the decoder also sees the encoder's stages at strides 8 and 4.
        head: "bins" (a distribution over the ab bins) or "regression" (ab through a tanh, the paper).
        hints: whether the encoder takes color hints beside the lightness.
        norm: "batch" or "none".
        fusion: how the decoder is told what the embedder sees: "concat" (the paper's), "film", by a scale and a shift
            of each channel, or "attention", by which each place asks the places of the embedder's coarsest map; that
            needs the embedding "maps".
        second_embedder: another one beside the first, whose vector and maps are told to the decoder together with the
            first's. So one can learn along with the colors while the other keeps what it knew of pictures before.
        attention_blocks: how many transformer blocks follow the decoder's first stage, by which all places of the
            picture ask each other.
        attention_for_hints: whether they are asked for pictures with hints alone, which they carry to other places;
            the others are colored as without them.
        second_embedder_scale: how much larger than the picture the second embedder sees it, 1 or from 1.25 to 2, as
            one that was trained on larger pictures wants it (embedder.py); needs the embedding "maps".

    Attributes:
        dropout: while training, leaves out channels of what the embedders tell (Tompson et al. 2015, arXiv:1411.4280),
            none unless its `p` is set: that is the trainer's business (`embedding_dropout`).

    Raises:
        ColorizerError: an option that is none of these.
    """

    # What is padded on the way to the coarsest maps is taken for content: colors come out worse than those of a copy
    # that is squeezed a little (docs/experiments.md, "Formats").
    side_multiple = 32

    def __init__(
        self,
        embedder: str = "inception_resnet_v2",
        embedding: str = "pooled",
        embedder_size: int | None = None,
        width: int = 64,
        decoder_widths: tuple[int, int, int] = (256, 192, 128),
        skips: bool = True,
        head: str = "bins",
        hints: bool = True,
        norm: str = "batch",
        fusion: str = "concat",
        second_embedder: str | None = None,
        attention_blocks: int = 0,
        second_embedder_scale: float = 1.0,
        attention_for_hints: bool = False,
    ) -> None:
        super().__init__()
        if head not in ("bins", "regression"):
            raise ColorizerError(f"head must be 'bins' or 'regression', not {head!r}.")
        if norm not in ("batch", "none"):
            raise ColorizerError(f"norm must be 'batch' or 'none', not {norm!r}.")
        check_counts(width=width)
        if not isinstance(decoder_widths, (list, tuple)) or len(decoder_widths) != 3:
            raise ColorizerError(f"decoder_widths must be three numbers (strides 16, 8, 4), not {decoder_widths!r}.")
        for channels in decoder_widths:
            check_counts(decoder_widths=channels)
        if fusion not in list(FUSIONS):  # a config may hold anything, and not all of it can be looked up
            raise ColorizerError(f"fusion must be one of {', '.join(FUSIONS)}, not {fusion!r}.")
        if fusion == "attention" and embedding != "maps":
            raise ColorizerError(
                f"The fusion 'attention' asks the embedder's maps: embedding must be 'maps', not {embedding!r}."
            )
        if fusion == "attention" and second_embedder:
            raise ColorizerError("The fusion 'attention' asks the maps of one embedder: leave out second_embedder.")
        scale = second_embedder_scale
        if isinstance(scale, bool) or not isinstance(scale, (int, float)) or not (scale == 1 or 1.25 <= scale <= 2):
            # Between them sides that are multiples of 32 would be rounded back to themselves, or not, by their length.
            raise ColorizerError(f"second_embedder_scale must be 1 or a number from 1.25 to 2, not {scale!r}.")
        if scale != 1 and (embedding != "maps" or embedder_size or not second_embedder):
            raise ColorizerError(
                "A second_embedder_scale other than 1 needs a second_embedder, embedding 'maps' and no embedder_size."
            )
        check_counts(0, attention_blocks=attention_blocks)
        if attention_blocks > MOST_BLOCKS:
            raise ColorizerError(f"attention_blocks must be {MOST_BLOCKS} at most, not {attention_blocks}.")
        switches = {"skips": skips, "hints": hints, "attention_for_hints": attention_for_hints}
        for name, value in switches.items():
            if not isinstance(value, bool):  # "no" would be taken for true
                raise ColorizerError(f"{name} must be true or false, not {value!r}.")
        if attention_for_hints and not (attention_blocks and hints):
            raise ColorizerError("attention_for_hints needs attention_blocks and hints.")
        if attention_blocks and decoder_widths[0] % HEADS:
            raise ColorizerError(
                f"Attention blocks have {HEADS} heads: the first of decoder_widths must be a multiple of {HEADS}, not "
                f"{decoder_widths[0]}."
            )
        if fusion == "attention" and any(width % HEADS for width in decoder_widths):
            raise ColorizerError(
                f"The fusion 'attention' has {HEADS} heads: decoder_widths must be multiples of {HEADS}, "
                f"not {decoder_widths!r}."
            )
        self.accepts_hints = hints
        self.skips = skips
        self.asks_maps = fusion == "attention"
        self.attention_for_hints = attention_for_hints

        widths = [width * 2**stage for stage in range(len(STRIDES))]
        channels = [4 if hints else 1, *widths]
        self.encoder = nn.ModuleList(
            nn.Sequential(
                conv_block(channels[stage], channels[stage + 1], norm, stride=2),
                conv_block(channels[stage + 1], channels[stage + 1], norm),
            )
            for stage in range(len(STRIDES))
        )
        self.embedder = Embedder(embedder, embedding, embedder_size)
        self.second_embedder = Embedder(second_embedder, embedding, embedder_size, scale) if second_embedder else None
        embedders = [self.embedder, self.second_embedder] if second_embedder else [self.embedder]
        vector = sum(each.channels for each in embedders)
        self.dropout = nn.Dropout2d(0.0)

        self.fusion = nn.ModuleList()
        self.decoder = nn.ModuleList()
        before = 0
        for stride, out in zip((16, 8, 4), decoder_widths, strict=True):
            encoded = widths[STRIDES.index(stride)] if skips or stride == 16 else 0
            mapped = sum(each.map_channels(stride) for each in embedders)
            self.fusion.append(FUSIONS[fusion](before + encoded + mapped, vector, out, norm))
            self.decoder.append(conv_block(out, out, norm))
            before = out
        self.attention = nn.Sequential(*(AttentionBlock(decoder_widths[0]) for _ in range(attention_blocks)))

        self.bins = AbBins() if head == "bins" else None
        self.head = nn.Sequential(
            conv_block(before, before, norm), nn.Conv2d(before, len(self.bins) if self.bins else 2, 1)
        )
        self.defaults = {"working_size": 256, "temperature": 1.0 if self.bins else None, "colorfulness": 1.0}

    def embed(self, lightness: Tensor) -> tuple[Tensor, ...]:
        """The embedding of lightness (N, 1, H, W): a vector (N, E) first, then the feature maps if there are any.

        Those of the second embedder, if there is one, come after those of the first.
        """
        lightness = pad_to_multiple(lightness, self.side_multiple)
        vector, *maps = self.embedder(lightness)
        if self.second_embedder is not None:
            second, *more = self.second_embedder(lightness)
            vector, maps = torch.cat([vector, second], dim=1), [*maps, *more]
        return (vector, *maps)

    @property
    def reductions(self) -> list[int]:
        """Of each feature map of the embedding, in its order: how many pixels a side one of its places stands for.

        Of the picture as that embedder sees it, which may be larger (`second_embedder_scale`).
        """
        return self.embedder.reductions + (self.second_embedder.reductions if self.second_embedder else [])

    def logits(
        self, lightness: Tensor, hints: Tensor | None = None, embedding: tuple[Tensor, ...] | None = None
    ) -> Tensor:
        if embedding is None:
            embedding = self.embed(lightness)
        height, width = lightness.shape[-2:]
        x = (lightness - 50) / 50
        if self.accepts_hints:
            told = lightness.new_zeros(len(lightness), 3, height, width) if hints is None else hints
            x = torch.cat([x, told * told.new_tensor([1 / AB_LIMIT, 1 / AB_LIMIT, 1.0])[:, None, None]], dim=1)
        elif hints is not None:
            raise ColorizerError("This model takes no color hints; one trained with hints=True does.")

        x = pad_to_multiple(x, self.side_multiple)
        encoded = {}
        for stride, stage in zip(STRIDES, self.encoder, strict=True):
            x = encoded[stride] = stage(x)

        vector, *maps = (self.dropout(part) for part in (embedding[0][:, :, None, None], *embedding[1:]))
        vector = vector[:, :, 0, 0]
        told = maps[-1] if self.asks_maps else vector
        x = None
        for stride, fuse, block in zip((16, 8, 4), self.fusion, self.decoder, strict=True):
            size = encoded[stride].shape[-2:]
            parts = [] if x is None else [resize(x, size)]
            if self.skips or stride == 16:
                parts.append(encoded[stride])
            parts += [resize(maps[index], size) for index in map_indices(self.reductions, stride)]
            x = block(fuse(torch.cat(parts, dim=1), told))
            if stride == 16:
                x = self.attend(x, hints)
        x = self.head(x)
        if self.bins is None:
            x = AB_LIMIT * torch.tanh(x.float())
        return x[..., : -(-height // 4), : -(-width // 4)]

    def attend(self, x: Tensor, hints: Tensor | None) -> Tensor:
        """The decoder's first map (N, C, h, w) after the attention blocks, where they are asked."""
        if not self.attention_for_hints:
            return self.attention(x)
        if hints is None:
            return x
        return torch.where(hints[:, 2:].amax((1, 2, 3), keepdim=True) > 0, self.attention(x), x)


def conv_block(inputs: int, outputs: int, norm: str, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution (same padding), batch norm if asked for, ReLU."""
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=norm == "none")]
    if norm == "batch":
        layers.append(nn.BatchNorm2d(outputs))
    return nn.Sequential(*layers, nn.ReLU(inplace=True))


class Fusion(nn.Module):
    """The paper's fusion layer: a vector laid over every place of a map, then a 1x1 convolution and ReLU.

    A 1x1 convolution over the concatenation is the sum of one over the map and a linear map of the vector, which is
    how it is computed: the same numbers without the repeated vector.
    """

    def __init__(self, channels: int, vector: int, outputs: int, norm: str) -> None:
        super().__init__()
        self.of_map = nn.Conv2d(channels, outputs, 1, bias=norm == "none")
        self.of_vector = nn.Linear(vector, outputs, bias=False)
        self.norm = nn.BatchNorm2d(outputs) if norm == "batch" else nn.Identity()

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:
        """Fuses x (N, C, H, W) with vector (N, E) into (N, outputs, H, W)."""
        return torch.relu(self.norm(self.of_map(x) + self.of_vector(vector)[:, :, None, None]))


class FilmFusion(nn.Module):
    """Feature-wise linear modulation (Perez et al. 2018, arXiv:1709.07871): the vector gives each channel of the map,
    after a 1x1 convolution and the norm, a scale and a shift, x (1 + gamma) + beta; then ReLU."""

    def __init__(self, channels: int, vector: int, outputs: int, norm: str) -> None:
        super().__init__()
        self.of_map = nn.Conv2d(channels, outputs, 1, bias=norm == "none")
        self.of_vector = nn.Linear(vector, 2 * outputs)
        self.norm = nn.BatchNorm2d(outputs) if norm == "batch" else nn.Identity()

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:
        """Fuses x (N, C, H, W) with vector (N, E) into (N, outputs, H, W)."""
        gamma, beta = self.of_vector(vector)[:, :, None, None].chunk(2, dim=1)
        return torch.relu(self.norm(self.of_map(x)) * (1 + gamma) + beta)


class AttentionFusion(nn.Module):
    """Attention of HEADS heads (Vaswani et al. 2017, arXiv:1706.03762): after a 1x1 convolution, norm and ReLU each
    place of the map asks the places of the embedder's coarsest map, by what they hold and not by where they lie, and
    adds what it gets."""

    def __init__(self, channels: int, asked: int, outputs: int, norm: str) -> None:
        super().__init__()
        self.of_map = conv_block(channels, outputs, norm, kernel=1)
        self.attention = nn.MultiheadAttention(outputs, HEADS, kdim=asked, vdim=asked, batch_first=True)

    def forward(self, x: Tensor, asked: Tensor) -> Tensor:
        """Fuses x (N, C, H, W) with the map (N, E, h, w), of any size, into (N, outputs, H, W)."""
        x = self.of_map(x)
        places, answers = x.flatten(2).mT, asked.flatten(2).mT
        got, _ = self.attention(places, answers, answers, need_weights=False)
        return x + got.mT.reshape(x.shape)


class AttentionBlock(nn.Module):
    """A transformer's block (Dosovitskiy et al. 2021, arXiv:2010.11929; timm's) over the places of a map.

    The last weights of both branches begin with zero, so that a trained model to which it is added colors as before.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        from timm.models.vision_transformer import Block  # heavy, as in embedder.py

        self.block = Block(channels, HEADS, qkv_bias=True)
        for last in (self.block.attn.proj, self.block.mlp.fc2):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, H, W), and the same shape back."""
        return self.block(x.flatten(2).mT).mT.reshape(x.shape)


FUSIONS = {"concat": Fusion, "film": FilmFusion, "attention": AttentionFusion}
