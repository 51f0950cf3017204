"""BigGAN: noise in parts, one to each block's norms, which may be told of classes too."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from egan.networks.attention import attend, initialise
from egan.networks.conditions import telling
from egan.networks.discriminators import norm_spectrally
from egan.networks.resnet import Residual, discriminator_of, generator_of
from egan.networks.sides import check, halved
from populations.errors import UsageError

EMBEDDED = 128  # dimensions of the shared embedding of classes
# As in `resnet.LARGE`.
LARGE = {
    64: ((16, 16, 8, 4, 2), (1, 2, 4, 8), (16,)),
    128: ((16, 16, 8, 4, 2, 1), (1, 2, 4, 8, 16), (16,)),
}
SIDES = " whose side is a multiple of 4 from 8 to 32, or 64 or 128"


def biggan(
    shape: tuple[int, ...],
    noise: int,
    width: int | None = None,
    depth: int | None = None,
    classes: int = 0,
) -> tuple[nn.Module, nn.Module]:
    """BigGAN: residual networks with attention, whose generator's norms read noise and class.

    Brock et al. (2019), appendix B: Table 4 for 128x128; 64x64 and 32x32 (four times the width in
    all blocks) from the authors' code. The noise is parted (hierarchical latents): its first part
    becomes the coarsest maps; each block's batch norms have scales and shifts that are linear in a
    part of the block's own and, where there are classes, in a 128-dimensional embedding of the
    class, the same for all blocks. Spectral norm on all layers of both networks but the embedding;
    attention on maps of half the image's side. Weights begin orthogonal, biases at 0. The noise is
    normal, of 20 dimensions a part there: 120 for 128x128, 80 for 32x32.

    Args:
        shape: (channels, side, side) of one image in [-1, 1]; the side is 64 or 128, or a multiple
            of 4 from 8 to 32 (28 is 7 doubled twice).
        noise: dimensions of the noise, one or more a part: a part each block, and one. Parts that
            come first have one more where they cannot be equal.
        width: of which the numbers of maps are multiples, 16 unless told (96 in the paper, 64 in
            the authors' code for CIFAR-10): maps of the discriminator's first block above 32x32,
            and up to 32x32 a fourth of those of every block.
        depth: must be None.
        classes: how many the generator is told of, as zeros and a one behind its noise; 0: none.

    Raises:
        UsageError: the data are not such images, a depth is given, or the noise has too few parts.
    """
    check("biggan", shape, depth, SIDES, _fits)
    side = shape[1]
    small = ((4,) * (halved(side, 4)[1] + 1), (4, 4), (4, 4))
    tables = LARGE.get(side, small)
    rising, falling, plain = ([(width or 16) * each for each in part] for part in tables)
    sizes = _parts(noise, len(rising))
    known = EMBEDDED if classes else 0
    norms = [partial(CodedNorm, known + size) for size in sizes[1:]]
    generator = generator_of(shape, sizes[0], rising, norms)
    discriminator = discriminator_of(shape[0], falling, plain, wide=True)
    attend(generator, discriminator, rising, falling)
    whole = Hierarchical(generator, sizes, classes)
    for each in (whole, discriminator):
        initialise(each, nn.init.orthogonal_)
        norm_spectrally(each)
    return whole, discriminator


def _fits(side: int) -> bool:
    return side in LARGE or (8 <= side <= 32 and side % 4 == 0)


def _parts(noise: int, count: int) -> list[int]:
    """Dimensions of each part."""
    if noise < count:
        raise UsageError(
            f"the network biggan parts its noise into {count} for these images: "
            f"networks.noise_dimension must be at least {count}."
        )
    return [(noise + count - 1 - place) // count for place in range(count)]


class CodedNorm(nn.Module):
    """A batch norm whose scale and shift are linear in a code: de Vries et al. (2017).

    Attributes:
        told: the code of each sample, (n, dimensions), while a generator computes.
    """

    def __init__(self, dimensions: int, maps: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(maps, affine=False)
        self.scale = nn.Linear(dimensions, maps, bias=False)
        self.shift = nn.Linear(dimensions, maps, bias=False)
        self.told: Tensor | None = None

    def forward(self, maps: Tensor) -> Tensor:
        """Maps of the same shape, (n, c, h, w)."""
        scale, shift = (each(self.told)[:, :, None, None] for each in (self.scale, self.shift))
        summed: Tensor = (1 + scale) * self.norm(maps) + shift
        return summed


class Hierarchical(nn.Module):
    """A generator that hands each of its blocks a part of the noise, and what it knows of classes.

    Attributes:
        generator: its blocks have coded norms.
        sizes: of the parts, in dimensions.
        embedding: a row for each class, (classes, 128); None: it is told of none.
    """

    def __init__(self, generator: nn.Sequential, sizes: Sequence[int], classes: int) -> None:
        super().__init__()
        self.generator, self.sizes = generator, [*sizes]
        rows = nn.init.orthogonal_(torch.empty(classes, EMBEDDED)) if classes else None
        self.embedding = None if rows is None else nn.Parameter(rows)

    def forward(self, noise: Tensor) -> Tensor:
        """Samples of noise, or of noise and classes, (n, noise dimension + classes)."""
        own, classes = noise.tensor_split([sum(self.sizes)], dim=1)
        first, *codes = own.split(self.sizes, dim=1)
        if self.embedding is not None:
            known = classes @ self.embedding
            codes = [torch.cat([known, each], dim=1) for each in codes]
        blocks = [each for each in self.generator if isinstance(each, Residual)]
        with telling([
            (norm, code)
            for block, code in zip(blocks, codes, strict=True)
            for norm in block.modules() if isinstance(norm, CodedNorm)
        ]):  # fmt: skip
            samples: Tensor = self.generator(first)
        return samples
