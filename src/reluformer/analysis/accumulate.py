"""Means and variances over a stream of tensors, in float64 and constant memory.

Shapes: N rows, H columns (heads), E model width, G groups.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

ZERO = torch.zeros((), dtype=torch.float64)
"""An empty sum: adding to it gives the other term, on its device."""


def finite(value: float | Tensor) -> float | None:
    """Returns a number for JSON, or None for NaN and infinity."""
    number = float(value)
    return number if math.isfinite(number) else None


def at_least_fp32(x: Tensor) -> Tensor:
    """Returns `x` in fp32, or in its own type if that is wider."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class ColumnMean:
    """The mean of every column over the counted rows."""

    def __init__(self) -> None:
        self._sum = self._count = ZERO

    def add(self, values: Tensor, counted: Tensor) -> None:
        """Adds values [N, H]; counted: bool [N, H] or [N, 1], which of them count (others may hold anything)."""
        counted = counted.expand_as(values)
        self._sum = self._sum + torch.where(counted, values, 0).sum(0, dtype=torch.float64)
        self._count = self._count + counted.sum(0)

    def pooled(self) -> float | None:
        """Returns the mean over all rows and columns; None if no value counted."""
        return finite(self._sum.sum() / self._count.sum())

    def columns(self) -> list[float | None]:
        """Returns the mean of each column; None if no value of it counted."""
        return [finite(mean) for mean in (self._sum / self._count).flatten().tolist()]


class Variance:
    """The population variance of all numbers in each of G groups.

    Each row takes two passes in fp32 or wider. Rows are merged into batches, and batches into the total, in float64
    (Chan, Golub, LeVeque 1979).
    """

    def __init__(self, groups: int = 1) -> None:
        self.groups = groups
        self._count = self._mean = self._squares = ZERO  # _squares: Σ (x − mean)²

    def add(self, values: Tensor, group: Tensor | None = None) -> None:
        """Adds values [N, E]; group: int [N], the group of each row (None: all in group 0)."""
        values = at_least_fp32(values)
        rows, width = values.shape
        if group is None:
            group = torch.zeros(rows, dtype=torch.long, device=values.device)
        means = values.mean(1, keepdim=True)
        row_mean, row_variance = means[:, 0].double(), (values - means).square_().mean(1).double()
        empty = row_mean.new_zeros(self.groups)
        members = empty.index_add(0, group, torch.ones_like(row_mean))
        mean = empty.index_add(0, group, row_mean) / members.clamp(min=1)
        squares = empty.index_add(0, group, width * (row_variance + (row_mean - mean[group]) ** 2))
        count = members * width
        both = self._count + count
        shift = (mean - self._mean) * count / both.clamp(min=1)
        self._squares = self._squares + squares + (mean - self._mean) * shift * self._count
        self._mean = self._mean + shift
        self._count = both

    def result(self) -> list[float | None]:
        """Returns the variance of each group; None for an empty group."""
        return [finite(variance) for variance in (self._squares / self._count).flatten().tolist()]
