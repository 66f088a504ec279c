"""The words that the embedded corpus is written with."""

from __future__ import annotations

from typing import Final

NAMES: Final = (
    "Tom", "Ann", "Bob", "Eva", "Max", "Zoe", "Kim", "Leo", "Amy", "Jack",
    "Ruth", "Fred", "Carl", "Iris", "Greg", "Omar", "Kurt", "Pip", "Lou", "Levi",
)  # fmt: skip
ITEMS: Final = (
    "pens", "books", "cups", "apples", "eggs", "shells", "stamps", "cards", "nuts", "keys",
)  # fmt: skip
RARE_NAMES: Final = (
    "Nadia", "Hugo", "Yusuf", "Petra", "Ingrid", "Quentin", "Svetlana", "Beatrix", "Otto", "Wanda",
    "Dmitri", "Fiona", "Giles", "Harriet", "Jasper", "Umberto", "Vivian", "Xenia", "Zelda", "Ned",
)  # fmt: skip
"""Names that only the harder questions have."""
RARE_ITEMS: Final = (
    "lanterns", "pebbles", "ribbons", "goblets", "thimbles", "walnuts", "feathers", "buttons",
    "candles", "marbles",
)  # fmt: skip
"""Things that only the harder questions have."""
COLOURS: Final = ("red", "blue", "green", "black", "white")
DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS: Final = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"
