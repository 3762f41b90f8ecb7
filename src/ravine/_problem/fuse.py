"""Convolutions and the BatchNorm behind them as one call, while its statistics stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone knows
from torch import nn

from ravine._torch import fork_random_state, is_plain

NEAR = 1e-5
"""How near the loss must stay to what it was, relatively."""


class FusedConvolution(nn.Module):
    """A convolution whose filters are scaled as the BatchNorm behind it would scale what comes of them.

    Both keep their own parameters and buffers, which may be written over between two calls: the scaled filters are
    made in each call, which costs nothing beside passing over all images once more.

    Examples
    --------
    >>> layer, norm = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2).eval()
    >>> _ = norm.running_var.fill_(4.0), norm.running_mean.fill_(1.0)
    >>> images = torch.rand(3, 1, 5, 5)
    >>> torch.allclose(FusedConvolution(layer, norm)(images), norm(layer(images)), atol=1e-6)
    True
    """

    def __init__(self, layer: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.layer, self.norm = layer, norm

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the normalised convolution."""
        layer, norm = self.layer, self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = torch.rsqrt(norm.running_var + norm.eps)
        if norm.weight is not None:
            scale = scale * norm.weight
        shift = -norm.running_mean if layer.bias is None else layer.bias - norm.running_mean
        bias = shift * scale if norm.bias is None else shift * scale + norm.bias
        filters = layer.weight * scale[:, None, None, None]
        return F.conv2d(images, filters, bias, layer.stride, layer.padding, layer.dilation, layer.groups)


def fuse_norms(model: nn.Module, call: Callable[[], torch.Tensor]) -> None:
    """Fuse each convolution of a Sequential with the BatchNorm that follows it, where `call` finds the same number.

    Left as they are: modules with hooks, in train mode, that stand at two places, or are known by their place to a
    `forward` that reads their attributes; and all precisions but float32 and float64.
    """
    pairs = list(_pairs_in(model))
    if not pairs:
        return
    with torch.no_grad(), fork_random_state():
        before = call()
    for chain, (name, layer), (after, norm) in pairs:
        setattr(chain, name, FusedConvolution(layer, norm))
        setattr(chain, after, nn.Identity())
    try:
        with torch.no_grad(), fork_random_state():
            same = torch.allclose(call(), before, rtol=NEAR, atol=0.0, equal_nan=True)
    except Exception:  # whatever asks for a convolution that is no longer there
        same = False
    if not same:
        for chain, (name, layer), (after, norm) in pairs:
            setattr(chain, name, layer)
            setattr(chain, after, norm)


def _pairs_in(model: nn.Module) -> Iterator[tuple[nn.Sequential, tuple[str, nn.Conv2d], tuple[str, nn.BatchNorm2d]]]:
    every = [each for _, each in model.named_modules(remove_duplicate=False)]
    for chain in every:
        if type(chain) is nn.Sequential and is_plain(chain) and every.count(chain) == 1:
            for (name, layer), (after, norm) in pairwise(list(chain.named_children())):
                if _can_fuse(layer, norm) and every.count(layer) == every.count(norm) == 1:
                    yield chain, (name, layer), (after, norm)  # type: ignore[misc]


def _can_fuse(layer: nn.Module, norm: nn.Module) -> bool:
    return (
        type(layer) is nn.Conv2d
        and type(norm) is nn.BatchNorm2d
        and is_plain(layer)
        and is_plain(norm)
        and layer.padding_mode == "zeros"
        and not norm.training
        and norm.running_mean is not None
        and layer.weight.dtype in (torch.float32, torch.float64)
        and layer.weight.dtype == norm.running_mean.dtype
    )
