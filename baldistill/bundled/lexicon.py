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
COLOURS: Final = ("red", "blue", "green", "black", "white")
DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS: Final = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"
