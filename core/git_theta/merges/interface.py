"""What a merge strategy must be able to do. Plugin authors subclass :class:`MergeStrategy`."""

from __future__ import annotations

from abc import ABC, abstractmethod

from git_theta.formats.interface import TensorData


class MergeStrategy(ABC):
    """Makes one value of a parameter group out of two.

    Examples
    --------
    >>> class Ours(MergeStrategy):
    ...     "Our side, whatever theirs is."
    ...     name = "ours"
    ...     def merge(self, base, ours, theirs):
    ...         return ours
    """

    name: str
    """Name of the strategy as users type it: lower case, digits, hyphens."""

    @abstractmethod
    def merge(
        self, base: TensorData | None, ours: TensorData, theirs: TensorData
    ) -> TensorData | None:
        """The merged group; None when the strategy has no answer for these three.

        ``base`` is the group in the common ancestor, None when it did not have it. The result's
        ``data`` is a source that computes what is read, block by block where it can.
        """
