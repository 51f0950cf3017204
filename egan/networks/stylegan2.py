"""StyleGAN2: a style, made of the noise, scales the channels of every convolution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from egan.networks.conditions import UnitNoise
from egan.networks.resampling import double, halve, smooth
from egan.networks.resnet import Residual
from egan.networks.sides import check, halved, narrowed
from populations.randomness import generator as keyed

TINY = 1e-8
RATE = 0.01  # of the mapping's learning rate
GROUP = 4  # samples whose deviation the discriminator sees
WAVES = 4  # cosines that a pixel's noise is the sum of
READ = 16  # coordinates of the noise that they read
TURNS = 2.0  # deviation of what rows, and columns, turn them by, of normal noise
SIDES = " whose side is 4, 5, 6 or 7, or one of these doubled once or more"


def stylegan2(
    shape: tuple[int, ...], noise: int, width: int | None = None, depth: int | None = None
) -> tuple[nn.Module, nn.Module]:
    """StyleGAN2: modulated convolutions, images summed over sides, a residual discriminator.

    Karras et al. (2020), "Analyzing and improving the image quality of StyleGAN", config F: skip
    connections in the generator (Figure 7b), residual ones in the discriminator (7c), no
    progressive growing. All weights begin N(0, 1) and are scaled while they compute. The noise is
    normal, 512-dimensional there. As there the generator ends without tanh.

    Args:
        shape: (channels, side, side) of one image in [-1, 1]; the side is 4, 5, 6 or 7, which is
            the learned constant's, or one of these doubled (28 is 7 doubled twice).
        noise: dimensions of the noise.
        width: values of a style, and maps up to 32x32, half as many at each doubling above; 64
            unless told, 512 in the paper's networks.
        depth: layers of the mapping from noise to style, 8 unless told.

    Raises:
        UsageError: the data are not such images.
    """
    check("stylegan2", shape, None, SIDES, _fits)
    base, steps = halved(shape[1], 4)
    width = width or 64
    maps = [narrowed(width, base * 2**step) for step in range(steps + 1)]
    generator = StyleGenerator(_mapping(noise, width, depth or 8), shape, noise, base, maps)
    return generator, _discriminator(shape[0], base, maps[::-1])


def _fits(side: int) -> bool:
    return side >= 4 and halved(side, 4)[0] < 8


class Equalised(nn.Module):
    """A layer whose weights begin N(0, 1): what it reads is divided by the root of their number.

    Karras et al. (2018), section 4.1: Adam's steps are as long as weights are, whatever a layer's
    size. A rate below 1 makes them so much shorter: weights begin larger, outputs are multiplied.

    Attributes:
        layer: linear or convolutional, its biases at 0.
    """

    def __init__(self, layer: nn.Linear | nn.Conv2d, gain: float = 1.0, rate: float = 1.0) -> None:
        super().__init__()
        self.layer, self.rate = layer, rate
        self.scale = gain / math.sqrt(layer.weight[0].numel())
        nn.init.normal_(layer.weight, std=1 / rate)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """What the layer makes."""
        made: Tensor = self.layer(self.scale * x)
        return made if self.rate == 1 else self.rate * made


class Leaky(nn.Module):
    """A leaky ReLU, times the root of 2, so that mean squares stay about what they are."""

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return math.sqrt(2) * functional.leaky_relu(x, 0.2)


class Modulated(nn.Module):
    """A convolution whose input channels a style scales, and whose outputs' variance stays 1.

    Karras et al. (2020), Eq. 1 and 3. Channels are scaled before and after a convolution that all
    samples share: the same as weights of each sample's own, which exporters cannot follow.

    Args:
        sizes: of a style, channels in, channels out, and the kernel.
        image: whether outputs are an image, which is not demodulated.
        doubles: whether the side is doubled.
    """

    def __init__(
        self, sizes: tuple[int, int, int, int], image: bool = False, doubles: bool = False
    ) -> None:
        super().__init__()
        styles, inputs, outputs, kernel = sizes
        self.image, self.gain = image, 1 / math.sqrt(inputs * kernel**2)
        self.affine = Equalised(nn.Linear(styles, inputs))
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.smooth = smooth(1) if doubles else None

    def forward(self, maps: Tensor, style: Tensor) -> Tensor:
        """Maps, (n, outputs, ...), of maps, (n, inputs, ...), and styles, (n, styles)."""
        scales = 1 + self.affine(style)
        weight = self.gain * self.weight
        maps = self._convolved(maps * scales[:, :, None, None], weight)
        if not self.image:
            power = functional.linear(scales.square(), weight.square().sum((2, 3)))
            maps = maps * (power + TINY).rsqrt()[:, :, None, None]
        return maps + self.bias[:, None, None]

    def _convolved(self, maps: Tensor, weight: Tensor) -> Tensor:
        if self.smooth is None:
            return functional.conv2d(maps, weight, padding=weight.shape[-1] // 2)
        # Four times: of four pixels in doubled maps three are zeros.
        spread = functional.conv_transpose2d(maps, 4 * weight.transpose(0, 1), stride=2)
        smoothed: Tensor = self.smooth(spread)
        return smoothed


class PixelNoise(nn.Module):
    """Noise of each pixel with a learned strength: a function of what the generator reads.

    So a sample is one of its noise, wherever it is made. Random Fourier features (Rahimi and Recht,
    2007) of its first coordinates z: at pixel (i, j) the noise is
    sqrt(2 / K) sum_k cos(2 pi (r_ki z + c_kj z + b_kij)), r and c normal, b uniform and all fixed.
    Waves turn so often that phases are uniform: mean 0, variance 1, pixels and samples
    uncorrelated (of one or two dimensions, nearly), and an excess kurtosis of -1.5 / K.

    Args:
        side: of the maps.
        noise: dimensions of what the generator reads.
        place: of the layer; every one has noise of its own, and all generators the same.
    """

    rows: Tensor
    columns: Tensor
    phases: Tensor

    def __init__(self, side: int, noise: int, place: int) -> None:
        super().__init__()
        random, device = keyed(0, 0, "pixel noise", place), torch.device("cpu")
        read = min(noise, READ)
        drawn = torch.randn(2, WAVES, side, read, generator=random, device=device)
        rows, columns = TURNS / math.sqrt(read) * drawn
        phases = torch.rand(WAVES, side, side, generator=random, device=device)
        self.register_buffer("rows", rows.clone())
        self.register_buffer("columns", columns.clone())
        self.register_buffer("phases", phases)
        self.strength = nn.Parameter(torch.zeros(1))

    def forward(self, noise: Tensor) -> Tensor:
        """What to add to maps, (n, 1, side, side)."""
        return self.strength * self.drawn(noise)

    def drawn(self, noise: Tensor) -> Tensor:
        """The noise at strength 1."""
        # Products one by one, since phases need more digits than a matrix product may keep.
        read = noise[:, None, None, : self.rows.shape[2]]
        rows, columns = ((read * each).sum(3) for each in (self.rows, self.columns))
        turns = rows[:, :, :, None] + columns[:, :, None, :] + self.phases
        return math.sqrt(2 / WAVES) * (2 * math.pi * turns).cos().sum(1, keepdim=True)


class StyledLayer(nn.Module):
    """A modulated 3x3 convolution, noise, and a leaky ReLU.

    Args:
        convolution: that makes its maps.
        noise: of their side.
    """

    def __init__(self, convolution: Modulated, noise: PixelNoise) -> None:
        super().__init__()
        self.convolution, self.noise, self.activation = convolution, noise, Leaky()

    def forward(self, maps: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        """Maps of maps, styles, (n, styles), and noise, (n, dimensions)."""
        activated: Tensor = self.activation(self.convolution(maps, style) + self.noise(noise))
        return activated


class Stage(nn.Module):
    """The layers of one side, the first of which doubles it, and what they add to the image."""

    def __init__(self, layers: Sequence[StyledLayer], image: Modulated) -> None:
        super().__init__()
        self.layers, self.image = nn.ModuleList(layers), image
        self.larger = double()

    def forward(
        self, maps: Tensor, image: Tensor | None, style: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Maps and image of this side, of those of half of it; the coarsest has no image yet."""
        for each in self.layers:
            maps = each(maps, style, noise)
        own = self.image(maps, style)
        return maps, own if image is None else own + self.larger(image)


class StyleGenerator(nn.Module):
    """A mapping of noise to styles, and stages from a learned constant to the image.

    Args:
        mapping: from noise to styles, (n, maps of the coarsest stage).
        shape: of one image.
        noise: dimensions of what the mapping reads.
        base: side of the constant.
        maps: of each stage, the coarsest first.
    """

    def __init__(
        self, mapping: nn.Module, shape: tuple[int, ...], noise: int, base: int, maps: list[int]
    ) -> None:
        super().__init__()
        self.mapping = mapping
        self.constant = nn.Parameter(torch.randn(1, maps[0], base, base))
        styles, stages = maps[0], []
        for step, outputs in enumerate(maps):
            ends = [(maps[step - 1], outputs)] * (step > 0) + [(outputs, outputs)]
            layers = [
                StyledLayer(
                    Modulated((styles, *each, 3), doubles=place < len(ends) - 1),
                    PixelNoise(base * 2**step, noise, 2 * step + place),
                )
                for place, each in enumerate(ends)
            ]
            stages.append(Stage(layers, Modulated((styles, outputs, shape[0], 1), image=True)))
        self.stages = nn.ModuleList(stages)

    def forward(self, noise: Tensor) -> Tensor:
        """Images, (n, channels, side, side), of noise, (n, dimensions)."""
        style = self.mapping(noise)
        maps, image = self.constant.expand(noise.shape[0], -1, -1, -1), None
        for each in self.stages:
            maps, image = each(maps, image, style, noise)
        assert image is not None
        return image


class MinibatchDeviation(nn.Module):
    """A further map that is, everywhere, how far the samples of a group deviate from each other.

    Karras et al. (2018), section 3: groups are 4 samples, or as many (2, or 1) as divide the batch.

    Shapes: (n, c, h, w) to (n, c + 1, h, w).
    """

    def forward(self, maps: Tensor) -> Tensor:
        """The maps, and the mean deviation of all values from those of the same group."""
        count = math.gcd(GROUP, maps.shape[0])
        variance = maps.unflatten(0, (count, -1)).var(0, correction=0)
        deviation = (variance + TINY).sqrt().mean((1, 2, 3)).repeat(count)
        height, width = maps.shape[2:]
        return torch.cat([maps, deviation.view(-1, 1, 1, 1).expand(-1, 1, height, width)], 1)


def _mapping(noise: int, width: int, depth: int) -> nn.Sequential:
    layers: list[nn.Module] = [UnitNoise()]
    for inputs, outputs in pairwise([noise, *[width] * depth]):
        layers += [Equalised(nn.Linear(inputs, outputs), rate=RATE), Leaky()]
    return nn.Sequential(*layers)


def _discriminator(channels: int, base: int, maps: list[int]) -> nn.Sequential:
    last = maps[-1]
    return nn.Sequential(
        Equalised(nn.Conv2d(channels, maps[0], 1)), Leaky(),
        *[_block(inputs, outputs) for inputs, outputs in pairwise(maps)],
        MinibatchDeviation(), Equalised(nn.Conv2d(last + 1, last, 3, padding=1)), Leaky(),
        nn.Flatten(), Equalised(nn.Linear(last * base**2, last)), Leaky(),
        Equalised(nn.Linear(last, 1)),
    )  # fmt: skip


def _block(inputs: int, outputs: int) -> Residual:
    """A block that halves the side; the sum of its two ways, over the root of 2.

    The residual way has it for want of the activation's root of 2.
    """
    residual = nn.Sequential(
        Equalised(nn.Conv2d(inputs, inputs, 3, padding=1)), Leaky(), smooth(2),
        Equalised(nn.Conv2d(inputs, outputs, 3, 2)), nn.LeakyReLU(0.2),
    )  # fmt: skip
    shortcut = Equalised(nn.Conv2d(inputs, outputs, 1, bias=False), gain=math.sqrt(0.5))
    return Residual(residual, nn.Sequential(halve(), shortcut))
