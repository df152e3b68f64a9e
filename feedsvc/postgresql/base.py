"""Django's PostgreSQL, but for how it finds out whether a connection still works: before each request, and each task."""

import select

from django.db.backends.postgresql import base


class DatabaseWrapper(base.DatabaseWrapper):
    def is_usable(self) -> bool:
        """A server that has ended the connection has said so, or closed it. Only where there is something to be read is it
        asked, as Django would do each time: SELECT 1, which takes as long as finding a page of ids in Redis.
        """
        return self._is_quiet() or super().is_usable()

    def _is_quiet(self) -> bool:
        if self.connection is None or self.connection.closed or self.errors_occurred:
            return False
        socket = select.poll()
        socket.register(self.connection.fileno(), select.POLLIN)
        return not socket.poll(0)
