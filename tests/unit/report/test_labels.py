"""Labels of points lie on no other label and on no point."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from baldistill.report.figures.labels import Box, place_labels

FRAME = Box(0, 0, 400, 300)
places = st.tuples(st.floats(10, 390), st.floats(10, 290), st.floats(2, 9))


@given(st.lists(places, min_size=1, max_size=12), st.data())
def test_labels_cover_nothing(
    points: list[tuple[float, float, float]], data: st.DataObject
) -> None:
    """Whether points are apart or all in one place: there is room for twelve labels."""
    if data.draw(st.booleans()):
        points = [points[0]] * len(points)
    boxes = [Box(x - r, y - r, x + r, y + r) for x, y, r in points]
    lines = [Box(x - 40, y - 0.5, x + 40, y + 0.5) for x, y, _ in points]
    sizes = [(float(40 + 3 * number), 10.0) for number in range(len(boxes))]
    labels = place_labels(boxes, sizes, FRAME, lines)
    assert len(labels) == len(boxes)
    assert all(label.is_within(FRAME) for label in labels)
    assert not any(one.overlaps(other) for one, other in itertools.combinations(labels, 2))
    assert not any(label.overlaps(box) for label in labels for box in boxes)


def test_a_label_goes_round_a_line_where_a_place_is_near() -> None:
    point = Box(195, 145, 205, 155)
    line = Box(0, 149, 400, 151)
    (label,) = place_labels([point], [(60, 10)], FRAME, [line])
    assert not label.overlaps(line)
    assert label.bottom - point.top < 5 or point.bottom - label.top < 5


def test_a_label_without_room_is_written_all_the_same() -> None:
    (label,) = place_labels([Box(1, 1, 2, 2)], [(60, 10)], Box(0, 0, 20, 20))
    assert (label.right - label.left, label.top - label.bottom) == (60, 10)
