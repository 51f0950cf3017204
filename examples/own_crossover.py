"""A crossover of your own: a vector of weights from those of two candidates."""

import torch

import egan


def uniform(fitter, other, mating):
    """Every weight from one parent or the other, drawn at random."""
    return torch.where(torch.rand_like(fitter.weights) < 0.5, fitter.weights, other.weights)


run = egan.evolve("ring", generations=200, population={"crossover": uniform})
print(run.score())
