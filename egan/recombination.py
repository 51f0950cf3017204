"""Recombination: how two generators become a third.

A crossover is a function `(fitter, other, mating)` that gives the child's vector of weights. The
child then has the fitter parent's buffers and moments; a crossover that makes these too gives an
individual, of which only weights, buffers and moments are read. It changes neither parent, and what
it draws at random comes from the global generators. A new one is one function and one entry in
`crossovers`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from egan.environment import Environment, settled
from egan.networks import Flat, alignment
from egan.networks.alignment import align, parts
from egan.optimizer import adam, fresh_moments
from populations.errors import UsageError
from populations.individual import Individual
from populations.registry import lookup
from populations.transport import mapped


@dataclass(frozen=True, eq=False)
class Mating:
    """What a crossover may use beside the parents.

    Attributes:
        game: its networks are the workplaces: whoever computes loads first.
        environment: the discriminator, settled; not changed.
        noise: of the child's step, (n, ...).
        lr: learning rate of this generation.
        betas: Adam's.
        memory: the name, in an individual's moments, of those that the step advances.
    """

    game: Any
    environment: Environment
    noise: Tensor
    lr: float
    betas: tuple[float, float]
    memory: str


Cross = Callable[[Individual, Individual, Mating], Tensor | Individual]


def recombine(
    cross: Cross, name: str, fitter: Individual, other: Individual, mating: Mating, number: int
) -> Individual:
    """The child of two parents, not judged yet; all its memory is its own.

    Args:
        cross: how.
        name: of the crossover, noted as what made the child.
        fitter: the parent of higher fitness, whose child it is in the lineage.
        other: the other one.
        mating: what else is used.
        number: the child's.

    Raises:
        UsageError: the crossover makes something else than weights like the parents'.
    """
    made = cross(fitter, other, mating)
    child = made if isinstance(made, Individual) else replace(fitter, weights=made)
    _check(name, child.weights, fitter.weights)
    buffers = child.buffers
    if child is not made:  # spectral norms follow the weights, unless a crossover sees to them
        _, buffers = settled(mating.game.generator, child.weights, buffers)
    own: Individual = mapped(_own, Individual(
        child.weights.to(fitter.weights), buffers, child.moments,
        rates=dict(fitter.rates), number=number, parent=fitter.number, mutation=name,
    ))  # fmt: skip
    return own


def _check(name: str, made: Any, weights: Tensor) -> None:
    """Whether what was made is a vector of weights."""
    shape = made.shape if isinstance(made, Tensor) else None
    if shape != weights.shape:
        found = f"weights of shape {tuple(shape)}" if shape is not None else type(made).__name__
        raise UsageError(
            f"the crossover {name!r} makes {found}: it must make a vector of {len(weights)} "
            "weights, as its parents have, or an individual that has one."
        )


def _own(tensor: Tensor) -> Tensor:
    return tensor.detach().clone()


def distillation(
    fitter: Individual, other: Individual, mating: Mating, weight: float = 1e-3
) -> Individual:
    """One step of the fitter parent towards the better parent's sample for every noise.

    Li et al. (2021, IE-GAN): || G(z) - t(z) ||^2, the mean over the batch, where t(z) is whichever
    parent's sample has the larger score. The score is the discriminator's logit and `weight` times
    the mean absolute difference from the other samples of the same parent, as in their released
    code (lambda_c); samples are compared as the discriminator sees them, in the code before tanh.
    """
    network, noise = mating.game.generator, mating.noise
    samples, scores = zip(*(_scored(one, mating, weight) for one in (fitter, other)), strict=True)
    better = (scores[1] > scores[0]).view(-1, *[1] * (samples[0].dim() - 1))
    network.load(*settled(network, fitter.weights, fitter.buffers))
    made = mating.game.plain(mating.game.generate(noise))
    loss = mse_loss(made, torch.where(better, samples[1], samples[0]))
    moments = fitter.moments.get(mating.memory) or fresh_moments(fitter.weights)
    weights, moments = adam(
        fitter.weights, moments, network.gradient(loss), mating.lr, mating.betas
    )
    return Individual(weights, network.buffers(), {**fitter.moments, mating.memory: moments})


@torch.no_grad()
def _scored(parent: Individual, mating: Mating, weight: float) -> tuple[Tensor, Tensor]:
    """A parent's samples, (n, *shape), and the score of each, (n,)."""
    game, environment = mating.game, mating.environment
    game.generator.load(parent.weights, parent.buffers)
    game.discriminator.load(environment.weights, environment.buffers)
    shown = game.generate(mating.noise)
    samples, logits = game.plain(shown), game.logits(shown)
    own = logits.reshape(len(logits), -1).mean(1)
    score = own.repeat_interleave(len(samples) // len(own))  # the samples of a pack share its logit
    return samples, score + weight * distances(samples)


def distances(samples: Tensor) -> Tensor:
    """The mean absolute difference of each sample from the others, (n, ...) to (n,); 0 of one."""
    flat = samples.flatten(1)
    return torch.cdist(flat, flat, p=1).sum(1) / (max(len(flat) - 1, 1) * flat.shape[1])


def aligned_average(fitter: Individual, other: Individual, mating: Mating) -> Individual:
    """The mean of both parents' weights, after hidden units of one are matched with the other's.

    Weight matching is that of Ainsworth et al. (2023, Git Re-Basin), see `alignment`; batch-norm
    statistics are averaged likewise. Only for sequential generators of plain layers.

    Raises:
        UsageError: the generator is another.
    """
    states = (fitter.weights, fitter.buffers), (other.weights, other.buffers)
    weights, buffers = align(mating.game.generator, *states)
    means = {
        name: each.lerp(buffers[name], 0.5) if each.is_floating_point() else each
        for name, each in fitter.buffers.items()
    }
    return replace(fitter, weights=fitter.weights.lerp(weights, 0.5), buffers=means)


def layer_swap(fitter: Individual, other: Individual, mating: Mating) -> Individual:
    """Every layer whole, parameters and buffers, from one parent or the other, drawn at random.

    At least one comes from each, where there are two or more. A layer is a module that has
    trainable parameters of its own, with the buffers that follow it.
    """
    network: Flat = mating.game.generator
    layers = dict(_layers(network))
    taken = _drawn(len(set(layers.values())))
    weights = fitter.weights.clone()
    mine, theirs = parts(network, weights), parts(network, other.weights)
    for name, each in mine.items():
        if taken[layers[name]]:
            each.copy_(theirs[name])
    buffers = {
        name: other.buffers[name] if taken[layers[name]] else each
        for name, each in fitter.buffers.items()
    }
    return replace(fitter, weights=weights, buffers=buffers)


def _layers(network: Flat) -> Iterator[tuple[str, int]]:
    """The number of the layer that each parameter and each buffer, by its name, is of."""
    trained, count, last = parts(network, network.vector), 0, None
    for path, module in network.module.named_modules():
        owner = path.partition("parametrizations")[0].rstrip(".")  # spectral norm's and the like
        names = [f"{path}.{name}".lstrip(".") for name in (*module._parameters, *module._buffers)]
        if owner != last and any(name in trained for name in names):
            count, last = count + 1, owner
        for name in names:
            yield name, max(count - 1, 0)


def _drawn(count: int) -> list[bool]:
    """Which layers come from the other parent: neither none nor all of two or more."""
    while True:
        taken = [bool(each) for each in torch.rand(count) < 0.5]
        if count < 2 or 0 < sum(taken) < count:
            return taken


def _never(network: Flat) -> str:
    return ""


class Crossover(NamedTuple):
    """A way to recombine two parents.

    Attributes:
        cross: the function.
        refuses: why a generator cannot be recombined so, for a sentence; an empty text where it
            can.
    """

    cross: Cross
    refuses: Callable[[Flat], str] = _never


crossovers: dict[str, Crossover] = {
    "distillation": Crossover(distillation),
    "aligned-average": Crossover(aligned_average, alignment.refuses),
    "layer-swap": Crossover(layer_swap),
}


def resolve(name: Any) -> Crossover:
    """The crossover of that name; a bare callable is taken to suit every generator."""
    found = lookup("crossover", name, crossovers)
    return found if isinstance(found, Crossover) else Crossover(found)
