"""Django's PostgreSQL, but for how it finds out whether a connection still works: before each request, and each task.

Of a replica no answer is waited for any longer than the option `patience` says, in seconds, since there is another server.
"""

import select
import time
from functools import partial
from typing import Any

from django.db.backends.postgresql import base

GOOD_FOR = 0.1  # seconds: no server ends and is back within it, so that what ended since would not have helped


class DatabaseWrapper(base.DatabaseWrapper):
    good_until = 0.0  # by the monotonic clock

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        patience = conn_params.pop("patience", None)
        connection = super().get_new_connection(conn_params)
        if patience is not None:
            # statement_timeout is for the server to keep, which may be frozen, or cut off.
            connection.wait = partial(connection.wait, timeout=patience)
        return connection

    def is_usable(self) -> bool:
        """A server that has ended the connection has said so, or closed it. Only where there is something to be read is it
        asked, as Django would do each time: SELECT 1, which takes as long as finding a page of ids in Redis.

        A busy connection was looked at just before: even that look lets another thread of the process have Python.
        """
        now = time.monotonic()
        if now < self.good_until and not self.errors_occurred:
            return True
        found: bool = self._is_quiet() or super().is_usable()
        self.good_until = now + GOOD_FOR if found else 0.0
        return found

    def _is_quiet(self) -> bool:
        if self.connection is None or self.connection.closed or self.errors_occurred:
            return False
        socket = select.poll()
        socket.register(self.connection.fileno(), select.POLLIN)
        return not socket.poll(0)
