"""A module whose parameters are views of one vector.

Loading an individual is one copy, and an optimiser step is a handful of operations on one vector,
however many layers the network has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.nn.utils.spectral_norm import SpectralNorm

from populations.errors import UsageError

LAYERS = (nn.Linear, nn.modules.conv._ConvNd)


class Flat:
    """A network as a workplace: whoever computes with it loads weights and buffers first.

    Attributes:
        module: the network, in training mode, with spectral norm frozen (see `iterate`).
        vector: all trainable parameters, one after the other, each as it lies in memory; the
            module's parameters are views.
        iterates: whether there are spectral norms to iterate.
        scale: of what flows back through the network, by which gradients are divided again: in 16
            bits small values would be lost (Micikevicius et al., 2018, section 3.2).

    Raises:
        UsageError: the module has no parameters, lazy ones, or parameters of several types.
    """

    def __init__(self, module: nn.Module, device: torch.device | str = "cpu") -> None:
        check_sizes(module)
        self.module = module.to(device)
        self.parameters: list[Tensor] = [each for each in module.parameters() if each.requires_grad]
        name = type(module).__name__
        if not self.parameters:
            raise UsageError(f"the network {name} has no parameters to train.")
        if len({each.dtype for each in self.parameters}) > 1:
            raise UsageError(f"the parameters of {name} are of several types: make them one.")
        self.vector = self.joined([each.detach() for each in self.parameters])
        views = self.views(self.vector)
        for each in self.parameters:
            each.data = views[id(each)]
        self.scale = 1.0
        self.has_buffers = any(True for _ in module.buffers())
        self._normed = [each for each in module.modules() if has_spectral_norm(each)]
        self.iterates = bool(self._normed)
        self.train()

    def train(self) -> None:
        """Put the module in training mode, with spectral norm frozen."""
        self.module.train()
        self._set_spectral(False)

    def state(self) -> tuple[Tensor, dict[str, Tensor]]:
        """Copies of the weights and the buffers."""
        return self.vector.clone(), self.buffers()

    def views(self, vector: Tensor) -> dict[int, Tensor]:
        """Views of a vector like `vector` as each parameter's, by the parameter's `id`."""
        pieces = vector.split([each.numel() for each in self.parameters])
        return {
            id(each): _unrolled(piece, each)
            for each, piece in zip(self.parameters, pieces, strict=True)
        }

    def joined(self, pieces: Sequence[Tensor]) -> Tensor:
        """A vector like `vector` of what is shaped like each parameter; undoes `views`."""
        pairs = zip(pieces, self.parameters, strict=True)
        return torch.cat([_rolled(piece, each) for piece, each in pairs])

    def filters(self) -> list[Tensor]:
        """The trainable weights of linear and convolutional layers, before any spectral norm."""
        found: list[Tensor] = []
        for name, each in self.module.named_parameters():
            owner = name.rpartition(".")[0].partition("parametrizations")[0].rstrip(".")
            layer = self.module.get_submodule(owner)
            if isinstance(layer, LAYERS) and each.dim() > 1 and each.requires_grad:
                found.append(each)
        return found

    def buffers(self) -> dict[str, Tensor]:
        """Copies of the buffers, by name."""
        if not self.has_buffers:
            return {}
        return {name: each.detach().clone() for name, each in self.module.named_buffers()}

    def load(self, weights: Tensor, buffers: Mapping[str, Tensor]) -> None:
        """Copy weights and buffers in."""
        self.vector.copy_(weights)
        if self.has_buffers:
            for name, each in self.module.named_buffers():
                each.copy_(buffers[name])

    @contextmanager
    def bound(self, weights: Tensor, buffers: Mapping[str, Tensor]) -> Iterator[None]:
        """Within it the module computes with these very tensors, whose operations can be traced.

        What was given stays as it is: batch norm moves copies of the buffers.
        """
        named = {id(each): buffers[name].clone() for name, each in self.module.named_buffers()}
        with self._exchanged(weights.detach().requires_grad_(), named):
            yield

    @contextmanager
    def at(self, weights: Tensor) -> Iterator[None]:
        """Within it the module computes with these weights, through which gradients flow."""
        with self._exchanged(weights, {}):
            yield

    @contextmanager
    def _exchanged(self, vector: Tensor, buffers: Mapping[int, Tensor]) -> Iterator[None]:
        """Within it the module has this vector, and these buffers instead of those of an `id`."""
        own = self.vector, self.parameters
        pieces = self.views(vector)
        self.vector, self.parameters = vector, list(pieces.values())
        replaced = []
        for module in self.module.modules():
            for held in (module._parameters, module._buffers):
                for name, each in held.items():
                    new = pieces.get(id(each), buffers.get(id(each)))
                    if new is not None:
                        replaced.append((held, name, each))
                        held[name] = new  # type: ignore[assignment]
        try:
            yield
        finally:
            self.vector, self.parameters = own
            for held, name, each in replaced:
                held[name] = each  # type: ignore[assignment]

    def gradient(
        self,
        output: Tensor,
        cotangent: Tensor | None = None,
        keep: bool = False,
        again: bool = False,
    ) -> Tensor:
        """The gradient of `output` by all parameters, one vector; no `.grad` is written.

        Args:
            output: a scalar, or any shape with a cotangent of the same shape.
            cotangent: weights of the output's entries.
            keep: whether the graph is needed again.
            again: whether the gradient will be differentiated in its turn.
        """
        pieces = torch.autograd.grad(
            output,
            self.parameters,
            self._scaled(output, cotangent),
            retain_graph=keep or again,
            create_graph=again,
            allow_unused=True,
        )
        found = self.joined(
            [
                torch.zeros_like(each) if piece is None else piece
                for each, piece in zip(self.parameters, pieces, strict=True)
            ]
        )
        return found if self.scale == 1 else found / self.scale

    def slope(self, output: Tensor, inputs: Tensor, keep: bool = False) -> Tensor:
        """The gradient of a scalar by what the network read; `keep` where the graph is needed."""
        (found,) = torch.autograd.grad(output, inputs, self._scaled(output), retain_graph=keep)
        return found if self.scale == 1 else found / self.scale

    def _scaled(self, output: Tensor, cotangent: Tensor | None = None) -> Tensor | None:
        if self.scale == 1:
            return cotangent
        return self.scale * (torch.ones_like(output) if cotangent is None else cotangent)

    def iterate(self) -> None:
        """One power iteration of every spectral norm (Miyato et al., 2018, Algorithm 1).

        Everywhere else its vectors are frozen, so that all children meet the same discriminator.
        """
        self._set_spectral(True)
        with torch.no_grad():
            for each in self._normed:
                for hook in each._forward_pre_hooks.values():
                    if isinstance(hook, SpectralNorm):
                        hook(each, ())
                for name in getattr(each, "parametrizations", ()):
                    getattr(each, name)
        self._set_spectral(False)

    def _set_spectral(self, training: bool) -> None:
        for each in self._normed:
            if any(isinstance(hook, SpectralNorm) for hook in each._forward_pre_hooks.values()):
                each.train(training)
            for transforms in getattr(each, "parametrizations", {}).values():
                transforms.train(training)


def _channels_last(parameter: Tensor) -> bool:
    """Whether a parameter's values lie channel by channel: the vector holds them as they lie."""
    last = parameter.dim() == 4 and parameter.is_contiguous(memory_format=torch.channels_last)
    return last and not parameter.is_contiguous()


def _rolled(piece: Tensor, parameter: Tensor) -> Tensor:
    """What is shaped like a parameter as a vector, in the order in which the parameter lies."""
    return (piece.permute(0, 2, 3, 1) if _channels_last(parameter) else piece).reshape(-1)


def _unrolled(piece: Tensor, parameter: Tensor) -> Tensor:
    """The view of a vector that is shaped like a parameter and lies as it does."""
    if not _channels_last(parameter):
        return piece.view(parameter.shape)
    count, channels, height, width = parameter.shape
    return piece.view(count, height, width, channels).permute(0, 3, 1, 2)


def check_sizes(module: nn.Module) -> None:
    """Raise UsageError where a module has lazy layers, whose weights are not there yet."""
    if any(nn.parameter.is_lazy(each) for each in module.parameters()):
        raise UsageError(f"the network {type(module).__name__} has lazy layers: give sizes.")


def has_spectral_norm(module: nn.Module) -> bool:
    """Whether a layer itself has a spectral norm, of either of PyTorch's kinds."""
    hooked = any(isinstance(hook, SpectralNorm) for hook in module._forward_pre_hooks.values())
    return hooked or any(
        isinstance(transform, parametrizations._SpectralNorm)
        for transforms in getattr(module, "parametrizations", {}).values()
        for transform in transforms
    )
