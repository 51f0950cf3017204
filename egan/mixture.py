"""A mixture of generators: every sample comes from one of several, drawn by weights.

The weights w are fitted on coverage, without labels. They maximise over the simplex

    mean over real samples x of log( sum over members i of w_i p_i(x) ),

where p_i(x) is the share of member i's samples that lie in the neighbourhood of x: no farther from
x than the real sample that is k-th nearest to it (the balls whose being hit is the coverage of
Naeem et al., 2020), and with x among the k real samples nearest to them. The second half keeps a
blurred mean of the data, which in many dimensions lies in very many balls (Radovanović et al.,
2010), from passing for all of them. The objective is the likelihood of mixture proportions under
k-nearest-neighbour densities, so its optimum is the mixture closest to the data in
KL(data || mixture), which does not forgive what is missed. Its equations say two things. A member
that alone reaches a share of the real samples that are reached at all has at least that share as
its weight, so that the mixture covers the union of what its members cover; and a member that
reaches none has weight 0.

The problem is concave. The steps of EM (Dempster et al., 1977), here those of Cover (1984) for
log-optimal portfolios, climb to its optimum and bound how far it is.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from egan.assembly import make_game
from egan.generator import Generator, Share
from egan.networks import Flat
from egan.state import State
from egan.world import World
from populations.archive import generations
from populations.individual import Individual
from populations.randomness import generator as keyed
from populations.randomness import key, seeded

SAMPLES = 2000  # real ones, and of each candidate, on which weights are fitted
NEIGHBOURS = 20  # a hundredth of them, the share from which on a mode counts (`scores.modes`)
GAP = 1e-6  # nats that fitted weights may lie below the optimum
STEPS = 100_000
CHUNK = 1024  # rows of a distance matrix at a time, to bound memory


class GeneratorMixture(nn.Module):
    """Generators of one kind; a noise vector goes to one of them, drawn by the weights.

    Draws come from PyTorch's global generator of the CPU, whatever the device.

    Attributes:
        members: the generators.
        weights: of the members, (members,), float64, sum 1.
    """

    def __init__(self, members: Iterable[nn.Module], weights: Tensor) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.weights: Tensor
        self.register_buffer("weights", weights)

    def forward(self, noise: Tensor) -> Tensor:
        """Samples, (n, *shape), of noise, (n, noise_dimension)."""
        drawn = torch.multinomial(self.weights.cpu(), len(noise), replacement=True)
        order = drawn.argsort(stable=True).to(noise.device)
        parts = noise[order].split(drawn.bincount(minlength=len(self.members)).tolist())
        made = [member(part) for member, part in zip(self.members, parts, strict=True) if len(part)]
        return torch.cat(made)[order.argsort()]


def mixture(members: Sequence[Generator], weights: Sequence[float]) -> Generator:
    """The generator whose samples come from several.

    It samples as any other: which member makes a sample is keyed on the seed, like the noise. Of a
    larger draw the first samples need not be those of a smaller one.

    Args:
        members: generators of one game, in which the mixture computes too.
        weights: of the members, sum 1.
    """
    game: Any = copy.copy(members[0].game)
    shares = torch.tensor(weights, dtype=torch.float64)
    module = GeneratorMixture([each.module for each in members], shares)
    game.generator = Flat(module, game.generator.vector.device)
    return Generator(game)


def fit_mixture(state: State, world: World) -> tuple[Generator, list[Share]]:
    """The mixture of a run's population and archive that covers the data best.

    Members whose weight is below half a real sample's share are left out: whoever alone reaches a
    real sample has more.

    Returns:
        The mixture, and each member's generation and weight, oldest first.
    """
    found = _candidates(state, world.config.population.mixture)
    where = world.config, world.data.shape, str(world.device)
    members = [Generator(make_game(*where)).load(one) for one, _ in found]
    seed = key(world.config.seed, state.generation, "mixture")
    with seeded(seed, 0, "real"):  # data of one's own may draw as they like
        real = world.data.draw(SAMPLES, keyed(seed, 0, "real"))
    weights = fit_weights((each.sample(SAMPLES, seed) for each in members), real)
    kept = (weights > 0.5 / SAMPLES).nonzero().flatten().tolist()
    kept_weights = (weights[kept] / weights[kept].sum()).tolist()
    shares = [Share(found[place][1], each) for place, each in zip(kept, kept_weights, strict=True)]
    return mixture([members[place] for place in kept], kept_weights), shares


def _candidates(state: State, size: int) -> list[tuple[Individual, int]]:
    """Whom a mixture may draw from, each once, and after which generation each was there."""
    held = list(zip(state.archive, generations(state.archive, state.generation, size), strict=True))
    held += [(one, state.generation) for one in state.population]
    return list({one.number: (one, when) for one, when in held}.values())


def fit_weights(samples: Iterable[Tensor], real: Tensor, neighbours: int = NEIGHBOURS) -> Tensor:
    """The weights with which members cover real samples best: the optimum that the module states.

    Args:
        samples: of each member, (n, *shape).
        real: samples, (m, *shape); equal ones count as one with their share.
        neighbours: k, the distinct real samples to which a neighbourhood reaches.

    Returns:
        (members,), float64, sum 1; equal where no member reaches any real sample.
    """
    distinct, counts = real.flatten(1).double().unique(dim=0, return_counts=True)
    radii = _radii(distinct, neighbours)
    rows = (each.flatten(1).double() for each in samples)
    masses = torch.stack([_masses(each, distinct, radii, neighbours) for each in rows])
    return proportions(masses, counts.double())


def _radii(real: Tensor, neighbours: int) -> Tensor:
    """Distance of each row to its k-th nearest other row."""
    rank = 1 + min(neighbours, len(real) - 1)  # the nearest is the row itself
    return torch.cat([_distances(part, real).kthvalue(rank).values for part in real.split(CHUNK)])


def _masses(samples: Tensor, real: Tensor, radii: Tensor, neighbours: int) -> Tensor:
    """The share of samples in each real sample's neighbourhood."""
    hits = torch.zeros_like(radii)
    for part in samples.split(CHUNK):
        distances = _distances(part, real)
        reach = distances.kthvalue(min(neighbours, len(real))).values[:, None]
        hits += ((distances <= radii) & (distances <= reach)).sum(0)
    return hits / len(samples)


def _distances(left: Tensor, right: Tensor) -> Tensor:
    return torch.cdist(left, right, compute_mode="use_mm_for_euclid_dist")


def proportions(masses: Tensor, counts: Tensor) -> Tensor:
    """Weights on the simplex that maximise the mean of log(weights @ masses), within `GAP`.

    Args:
        masses: each member's at each place, (members, places); where all are 0 a place is left out.
        counts: of each place, (places,).

    Returns:
        (members,), float64; equal where every place is left out.
    """
    reached = masses.any(0)
    masses, shares = masses[:, reached], counts[reached] / counts[reached].sum()
    weights = masses.new_full((len(masses),), 1 / len(masses))
    for _ in range(STEPS):
        gain = gains(weights, masses, shares)
        if float(gain.max()) <= 1 + GAP:
            break
        weights = weights * gain
    return weights / weights.sum()


def gains(weights: Tensor, masses: Tensor, shares: Tensor) -> Tensor:
    """The gradient by the weights; a step of EM multiplies them by it.

    Its mean by the weights is 1, and its largest entry less 1 bounds how far below the optimum the
    weights lie (Cover, 1984).
    """
    return (masses / (weights @ masses)) @ shares
