"""What the commands' arguments may be."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError


def positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 1 << 31):
        raise ArgumentTypeError(f"a whole number from 1 on is expected, not {text!r}")
    return int(text)


def post_id(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) < 1 << 63):
        raise ArgumentTypeError(f"the id of a post is expected, a decimal number, not {text!r}")
    return int(text)


def rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not (value > 0 and math.isfinite(value)):
        raise ArgumentTypeError(f"a number above 0 is expected, not {text!r}")
    return value


SUFFIXES = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


def quantity(text: str) -> float:
    """500M, 6k, 64G; 0 too."""
    try:
        value = float(text[:-1]) * SUFFIXES[text[-1]] if text[-1:] in SUFFIXES else float(text)
    except ValueError:
        value = -1
    if not (value >= 0 and math.isfinite(value)):
        raise ArgumentTypeError(f"a number is expected, with k, M, G or T behind it or not, not {text!r}")
    return value


def share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 1:
        raise ArgumentTypeError(f"a number from 0 to 1 is expected, not {text!r}")
    return value
