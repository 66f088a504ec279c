"""Place the labels of points so that none lies on another, or on a point."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

_STEP = 5.0  # between two rings of places around a point
_ANGLES = 24  # places on a ring
_THIN = 15.0  # what covering a thin line costs, as a distance


class Box(NamedTuple):
    """A rectangle by its edges."""

    left: float
    bottom: float
    right: float
    top: float

    def overlaps(self, other: Box) -> bool:
        """Tell whether the two share more than an edge."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.bottom < other.top
            and other.bottom < self.top
        )

    def is_within(self, other: Box) -> bool:
        """Tell whether no part of this box is outside the other."""
        return (
            other.left <= self.left
            and other.bottom <= self.bottom
            and self.right <= other.right
            and self.top <= other.top
        )


def place_labels(
    points: Sequence[Box],
    sizes: Sequence[tuple[float, float]],
    within: Box,
    lines: Sequence[Box] = (),
) -> list[Box]:
    """Return a place for the label of each point: the nearest that is free, in order of points.

    A label covers no other label and no point. It covers a thin line where the next place without
    one is far away. A label that finds no place at all lies above its point.

    Args:
        points: Each point's marker.
        sizes: Width and height of each label.
        within: The area of the picture.
        lines: Thin lines, such as intervals, as boxes.
    """
    placed: list[Box] = []
    for point, size in zip(points, sizes, strict=True):
        taken = [*points, *placed]
        best, least = _beside(point, size, math.pi / 2, 2.0), math.inf
        distance = 2.0
        while distance < least and distance < math.hypot(*_extent(within)):
            for number in range(_ANGLES):
                box = _beside(point, size, 2 * math.pi * number / _ANGLES, distance)
                if not box.is_within(within) or any(map(box.overlaps, taken)):
                    continue
                cost = distance + _THIN * sum(map(box.overlaps, lines))
                if cost < least:
                    best, least = box, cost
            distance += _STEP
        placed.append(best)
    return placed


def _beside(point: Box, size: tuple[float, float], angle: float, distance: float) -> Box:
    """Return a box whose edge is at a distance from a marker's edge, in the direction."""
    width, height = size
    across, up = _extent(point)
    x = (point.left + point.right) / 2 + math.cos(angle) * (across / 2 + distance + width / 2)
    y = (point.bottom + point.top) / 2 + math.sin(angle) * (up / 2 + distance + height / 2)
    return Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _extent(box: Box) -> tuple[float, float]:
    return box.right - box.left, box.top - box.bottom
