"""A generator, a discriminator and data of your own, evolved and sampled."""

import torch
from torch import nn

import egan

data = torch.randn(5000, 3) * torch.tensor([1.0, 0.3, 0.1])
generator = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 3))
discriminator = nn.Sequential(nn.Linear(3, 64), nn.ReLU(), nn.Linear(64, 1))


def report(state, row):
    """Called after every generation; returning True would end the run."""
    if row["generation"] % 100 == 0:
        print(row["generation"], row["fitness"], row["selection"])


run = egan.evolve(
    data,
    generator=generator,
    discriminator=discriminator,
    generations=300,
    on_generation=report,
)
print(run.sample(1000).std(dim=0), run.score())
