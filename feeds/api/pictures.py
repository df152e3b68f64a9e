"""The pictures of accounts: made of the account's id, the same each time, since nobody can upload one.

An avatar is a field of squares, left like right, in the account's colour on a light ground; a header goes from that colour
to a neighbour of it. They are PNGs with a palette, of one or two kilobytes: clients exist that show no SVG. Nothing is asked
of a store, and there is one for every number, whether an account has it or not. A change of what they look like needs new
URLs: these are kept for a year.
"""

from __future__ import annotations

import zlib
from colorsys import hls_to_rgb
from hashlib import sha256

from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import cache_control

from .errors import only_read

FOR_GOOD = cache_control(public=True, max_age=365 * 24 * 3600, immutable=True)
SQUARE, FIELD, MARGIN = 60, 5, 50  # pixels, squares, pixels: an avatar is 400 wide and high
HEADER = (600, 200)  # pixels
SHADES = 100


@only_read
@FOR_GOOD
def avatar(request: HttpRequest, account_id: int) -> HttpResponse:
    seed = _seed(account_id)
    rows = [_avatar_row(seed[row * 3 : row * 3 + 3]) for row in range(FIELD)]
    ground = bytes(len(rows[0]))
    lines = [*[ground] * MARGIN, *(row for row in rows for _ in range(SQUARE)), *[ground] * MARGIN]
    hue = _hue(seed)
    return _answer([_colour(hue, 0.93), _colour(hue, 0.42)], lines)


@only_read
@FOR_GOOD
def header(request: HttpRequest, account_id: int) -> HttpResponse:
    width, height = HEADER
    hue = _hue(_seed(account_id))
    shades = [_colour(hue + 0.14 * step / SHADES, 0.42 + 0.24 * step / SHADES) for step in range(SHADES)]
    slope = bytes(SHADES * place // (width + height) for place in range(width + height))
    return _answer(shades, [slope[row : row + width] for row in range(height)])


def _avatar_row(values: bytes) -> bytes:
    """A line of the row of squares whose left half is said by three numbers."""
    squares = [value % 2 for value in (*values, values[1], values[0])]
    return bytes(MARGIN) + b"".join(bytes([square]) * SQUARE for square in squares) + bytes(MARGIN)


def _seed(account_id: int) -> bytes:
    return sha256(b"picture of %d" % account_id).digest()


def _hue(seed: bytes) -> float:
    return int.from_bytes(seed[-2:]) / (1 << 16)


def _colour(hue: float, lightness: float) -> bytes:
    return bytes(round(255 * part) for part in hls_to_rgb(hue % 1, lightness, 0.5))


def _answer(palette: list[bytes], lines: list[bytes]) -> HttpResponse:
    """A PNG of lines of a byte per pixel, which is a place in the palette."""
    size = len(lines[0]).to_bytes(4) + len(lines).to_bytes(4)
    parts = (
        (b"IHDR", size + bytes([8, 3, 0, 0, 0])),  # eight bits per pixel, by a palette
        (b"PLTE", b"".join(palette)),
        (b"IDAT", zlib.compress(b"".join(b"\0" + line for line in lines))),  # each line as it is
        (b"IEND", b""),
    )
    body = b"".join(len(data).to_bytes(4) + name + data + zlib.crc32(name + data).to_bytes(4) for name, data in parts)
    return HttpResponse(b"\x89PNG\r\n\x1a\n" + body, content_type="image/png")
