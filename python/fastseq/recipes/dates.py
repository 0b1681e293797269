"""Dates as people write them, and as ISO 8601 does: a task of translation that needs no file."""

from __future__ import annotations

import datetime

import numpy as np

__all__ = ["date_pairs"]

MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
    "November", "December",
)  # fmt: skip
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
FIRST, LAST = datetime.date(1900, 1, 1).toordinal(), datetime.date(2099, 12, 31).toordinal()


def _ordinal(day: int) -> str:
    ending = "th" if 11 <= day <= 13 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return f"{day}{ending}"


def written(date: datetime.date, style: int) -> str:
    """The date in one of the ``STYLES`` ways of writing it."""
    day, month, year = date.day, MONTHS[date.month - 1], date.year
    ways = (
        f"{day} {month} {year}",
        f"{month} {day}, {year}",
        f"{day} {month[:3]} {year}",
        f"{month[:3].lower()} {day} {year}",
        f"{day}.{date.month}.{year}",
        f"{DAYS[date.weekday()]}, {day} {month} {year}",
        f"the {_ordinal(day)} of {month} {year}",
        f"{DAYS[date.weekday()][:3]} {month[:3]} {_ordinal(day)}, {year}",
    )
    return ways[style]


STYLES = 8


def date_pairs(count: int, seed: int | None = 0) -> list[tuple[str, str]]:
    """Different pairs such as ("the 3rd of May 1994", "1994-05-03"), of the years 1900 to 2099.

    Args:
        count: How many, at most 584,392.
        seed: Of the draw; None for a new one each time.
    """
    every = (LAST - FIRST + 1) * STYLES
    drawn = np.random.default_rng(seed).choice(every, count, replace=False)
    pairs = []
    for number in drawn.tolist():
        date = datetime.date.fromordinal(FIRST + number // STYLES)
        pairs.append((written(date, number % STYLES), date.isoformat()))
    return pairs
