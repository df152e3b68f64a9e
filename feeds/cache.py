"""How entities lie in the cache."""

from __future__ import annotations

from typing import Any

import orjson
from django_redis.serializers.base import BaseSerializer


class JSON(BaseSerializer):
    """Not pickle, the library's default: whoever could write to the cache could run code here."""

    def dumps(self, value: Any) -> bytes:
        return orjson.dumps(value)

    def loads(self, value: bytes) -> Any:
        return orjson.loads(value)
