"""Conditions: how networks learn of which class a sample is.

A generator's noise ends in as many values as there are classes, all 0 but a 1 at its own. What a
discriminator is shown ends in the number of the class, a last coordinate or channel: whatever
carries samples carries their classes. Nothing flows back into a class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from egan.networks.flat import has_spectral_norm
from populations.errors import UsageError

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def with_class(samples: Tensor, numbers: Tensor) -> Tensor:
    """What is shown, (n, d + 1, ...): samples, (n, d, ...), and their classes' numbers, (n,)."""
    exact = torch.promote_types(samples.dtype, torch.float32)  # fewer bits hold fewer numbers
    beside = numbers.to(exact).view(-1, *[1] * (samples.dim() - 1))
    return torch.cat([samples, beside.expand(-1, 1, *samples.shape[2:])], dim=1)


def parted(shown: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """The samples of what is shown, (n, d, ...), and their classes as zeros and ones, (n, k)."""
    numbers = shown[:, -1].flatten(1)[:, :1] if shown.dim() > 2 else shown[:, -1:]
    places = torch.arange(classes, device=shown.device, dtype=shown.dtype)
    return shown[:, :-1], (numbers == places).to(shown.dtype)


class Conditioned(nn.Module):
    """A discriminator that is told the classes of what it is shown.

    Attributes:
        discriminator: made for it; see `Condition`.
        judge: how it learns of them.
        classes: how many there are.
    """

    def __init__(
        self, discriminator: nn.Module, judge: Callable[..., Tensor], classes: int
    ) -> None:
        super().__init__()
        self.discriminator, self.judge, self.classes = discriminator, judge, classes

    def forward(self, shown: Tensor) -> Tensor:
        """Logits of what is shown, (n, d + 1, ...)."""
        logits: Tensor = self.judge(self.discriminator, *parted(shown, self.classes))
        return logits


class BehindViews(nn.Module):
    """Views that change samples and leave their classes alone, and who is behind them."""

    def __init__(self, views: nn.Module, discriminator: nn.Module) -> None:
        super().__init__()
        self.views, self.discriminator = views, discriminator

    def changed(self, shown: Tensor) -> Tensor:
        """What is behind the views."""
        return torch.cat([self.views(shown[:, :-1]), shown[:, -1:]], dim=1)

    def forward(self, shown: Tensor) -> Tensor:
        """Logits of what is shown, (n, d + 1, ...)."""
        logits: Tensor = self.discriminator(self.changed(shown))
        return logits


class Heads(nn.Module):
    """A discriminator's last layer with an output more for each class: (n, 1 + k)."""

    def __init__(self, own: nn.Module, embedding: nn.Module) -> None:
        super().__init__()
        self.own, self.embedding = own, embedding

    def forward(self, features: Tensor) -> Tensor:
        """The layer's own output, and then that of each class."""
        return torch.cat([self.own(features), self.embedding(features)], dim=1)


def concatenated(discriminator: nn.Module, samples: Tensor, classes: Tensor) -> Tensor:
    """The logits of a discriminator that sees a channel for each class, of 1 where it is its own.

    Mirza and Osindero (2014), cGAN, on the input layer.
    """
    planes = classes.view(*classes.shape, *[1] * (samples.dim() - 2))
    planes = planes.expand(*classes.shape, *samples.shape[2:])
    logits: Tensor = discriminator(torch.cat([samples, planes], dim=1))
    return logits


def projected(discriminator: nn.Module, samples: Tensor, classes: Tensor) -> Tensor:
    """The logits of a discriminator with heads: its own plus that of the class.

    Miyato and Koyama (2018), Eq. 4: y^T V phi(x) + psi(phi(x)), phi: all but the last layer.
    """
    heads = discriminator(samples)
    return heads[:, :1] + (heads[:, 1:] * classes).sum(1, keepdim=True)


def unaided(discriminator: nn.Module, samples: Tensor, classes: Tensor) -> Tensor:
    """The own logits of a discriminator with heads, which tell classes by the others themselves.

    Odena et al. (2017), AC-GAN.
    """
    logits: Tensor = discriminator(samples)[:, :1]
    return logits


def class_logits(discriminator: nn.Module, shown: Tensor) -> tuple[Tensor, Tensor]:
    """Of each discriminator with heads the logits of classes, (n, members, k); the classes, (n,).

    Args:
        discriminator: behind its views.
        shown: (n, d + 1, ...).
    """
    if isinstance(discriminator, BehindViews):
        return class_logits(discriminator.discriminator, discriminator.changed(shown))
    single = isinstance(discriminator, Conditioned)
    members: Any = [discriminator] if single else discriminator
    samples, classes = parted(shown, members[0].classes)
    logits = [each.discriminator(samples)[:, 1:] for each in members]
    return torch.stack(logits, dim=1), classes.argmax(1)


class Condition(NamedTuple):
    """A way to tell a discriminator of classes.

    Attributes:
        judge: logits of a discriminator, samples and classes, (n, k).
        channels: that it sees beside the samples' own, of k classes.
        prepare: changes a discriminator made for as many channels.
        classifies: whether it tells classes itself, which joins the losses of both sides.
    """

    judge: Callable[[nn.Module, Tensor, Tensor], Tensor]
    channels: Callable[[int], int]
    prepare: Callable[[nn.Module, int], nn.Module]
    classifies: bool = False


def with_heads(discriminator: nn.Module, classes: int) -> nn.Module:
    """The discriminator with `Heads` in the place of its last layer.

    The weights of the classes' outputs begin as spread as those of the layer itself, and have a
    spectral norm where that has one.

    Raises:
        UsageError: there is no last layer of one output.
    """
    name, layer = _last_layer(discriminator)
    weight = layer.weight
    if isinstance(layer, nn.Linear):
        embedding: nn.Module = nn.Linear(layer.in_features, classes, bias=False)
    else:
        embedding = nn.Conv2d(
            layer.in_channels, classes, layer.kernel_size, layer.stride, layer.padding, bias=False
        )
    nn.init.normal_(
        embedding.get_parameter("weight"), 0.0, float(weight.detach().std(correction=0))
    )
    if has_spectral_norm(layer):
        parametrizations.spectral_norm(embedding)
    heads = Heads(layer, embedding)
    if not name:
        return heads
    parent, _, own = name.rpartition(".")
    setattr(discriminator.get_submodule(parent), own, heads)
    return discriminator


def _last_layer(discriminator: nn.Module) -> tuple[str, Any]:
    layers = [
        (name, each)
        for name, each in discriminator.named_modules()
        if isinstance(each, nn.Linear | nn.Conv2d) and "parametrizations" not in name
    ]
    if not layers or len(layers[-1][1].weight) != 1:
        raise UsageError(
            "networks.condition adds an output for each class: the discriminator's last layer must "
            "be a linear or convolutional one with one output; otherwise use networks.condition = "
            "'concatenation'."
        )
    return layers[-1]


conditions: dict[str, Condition] = {
    "projection": Condition(projected, lambda classes: 0, with_heads),
    "auxiliary-classifier": Condition(unaided, lambda classes: 0, with_heads, classifies=True),
    "concatenation": Condition(
        concatenated, lambda classes: classes, lambda discriminator, classes: discriminator
    ),
}


@contextmanager
def telling(told: Sequence[tuple[Any, Tensor]]) -> Iterator[None]:
    """Within it each norm has what it is told of the samples, its attribute `told`."""
    for norm, code in told:
        norm.told = code
    try:
        yield
    finally:
        for norm, _ in told:
            norm.told = None


class ConditionalNorm(nn.Module):
    """A batch norm with a scale and a shift of each class.

    Dumoulin et al. (2017) and de Vries et al. (2017), in generators as by Miyato and Koyama (2018).
    All classes begin with the scale and shift of the layer in whose place it stands.

    Attributes:
        told: the classes of the samples, (n, k), while a generator computes.
    """

    def __init__(self, norm: nn.BatchNorm1d | nn.BatchNorm2d, classes: int) -> None:
        super().__init__()
        self.norm = type(norm)(norm.num_features, norm.eps, norm.momentum, affine=False)
        scale, shift = norm.weight.detach(), norm.bias.detach()
        self.scales = nn.Parameter(scale.repeat(classes, 1))
        self.shifts = nn.Parameter(shift.repeat(classes, 1))
        self.told: Tensor | None = None

    def forward(self, maps: Tensor) -> Tensor:
        """Maps of the same shape, (n, channels, ...)."""
        assert self.told is not None
        shape = (*maps.shape[:2], *[1] * (maps.dim() - 2))
        scale, shift = ((self.told @ each).view(shape) for each in (self.scales, self.shifts))
        return scale * self.norm(maps) + shift


class WithConditionalNorms(nn.Module):
    """A generator whose batch norms know the class of each sample, which nothing else is told."""

    def __init__(self, generator: nn.Module, classes: int) -> None:
        super().__init__()
        self.generator, self.classes = generator, classes
        found = [
            (name, each)
            for name, each in generator.named_modules()
            if isinstance(each, NORMS) and each.affine
        ]
        if not found:
            raise UsageError(
                "networks.conditional_norm is true: the generator must have batch norms."
            )
        for name, each in found:
            parent, _, own = name.rpartition(".")
            setattr(generator.get_submodule(parent), own, ConditionalNorm(each, classes))

    def forward(self, noise: Tensor) -> Tensor:
        """Samples of noise and classes, (n, noise dimension + k)."""
        own, classes = noise[:, : -self.classes], noise[:, -self.classes :]
        norms = [each for each in self.modules() if isinstance(each, ConditionalNorm)]
        with telling([(each, classes) for each in norms]):
            samples: Tensor = self.generator(own)
        return samples


class UnitNoise(nn.Module):
    """Noise at a mean square of 1, sample by sample; what tells the class has one of its own.

    Karras et al. (2018), section 4.2, on the input. The k values of a class become 0 and sqrt(k),
    so that they weigh as much as so many of the noise.

    Attributes:
        classes: how many of the last values tell the class; see `tell`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.classes = 0

    def forward(self, noise: Tensor) -> Tensor:
        """The same shape, (n, dimensions)."""
        own = noise.shape[1] - self.classes
        parts = [each for each in (noise[:, :own], noise[:, own:]) if each.shape[1]]
        units = [each * (each.square().mean(1, keepdim=True) + 1e-8).rsqrt() for each in parts]
        return torch.cat(units, dim=1)


def tell(generator: nn.Module, classes: int) -> nn.Module:
    """The generator, whose layers that scale noise know how many of its last values are classes."""
    for each in generator.modules():
        if isinstance(each, UnitNoise):
            each.classes = classes
    return generator
