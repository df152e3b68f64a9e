"""Machines, as far as the service can tell: each with all of its processes, and with nothing else of its own.

They are told by the environment alone where the stores are. Home and working directory are a folder in which nobody may
write, not even root. Of temporary files Celery makes one, and deletes it at once: its processes have memory in common by it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from django.conf import settings

from feedsvc import embedded, run

OURS = ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND", "REDIS_URL", "CACHE_URL", "SECRET_KEY")
WORKERS = "fanout:1 fanout_bulk:1 search,notifications,cache,upkeep:1"


class Machine:
    """`programs` are its processes, named as everywhere, with the machine's number behind."""

    def __init__(self, number: int, folder: Path, env: Mapping[str, str]) -> None:
        """The folder is to be made, and another one for temporary files. `env` comes on top of the tests' addresses."""
        self.number, self.folder, self.temporary = number, folder, folder.with_name(f"{folder.name}-tmp")
        self.folder.mkdir(mode=0o500)
        self.temporary.mkdir()
        self.port = embedded.still_free(None, "a machine", row=2)
        self.url, self.streaming = f"http://127.0.0.1:{self.port}", f"127.0.0.1:{self.port + 1}"
        self.env = {
            **{name: getattr(settings, name) for name in OURS},
            **dict.fromkeys(("RUN_DIR", "HOME"), str(folder)),
            "TMPDIR": str(self.temporary),
            "PYTHONPATH": str(run.ROOT),
            "PORT": str(self.port),
            "STREAMING_PORT": str(self.port + 1),
            "WORKERS": WORKERS,
            "OUTBOX_IN_FLIGHT": "2",  # a process for fan-outs on each of two machines
            **env,
            "BASE_URL": self.url,  # no proxy is in front of them
        }
        programs = run.services(host="127.0.0.1", port=str(self.port), env=self.env)
        self.programs = [
            replace(program, name=self.name(program.name), command=self._here(program.command)) for program in programs
        ]

    def name(self, program: str) -> str:
        return f"{program}-{self.number}"

    def _here(self, command: tuple[str, ...]) -> tuple[str, ...]:
        """In the folder, and on a host of another name."""
        as_others = ("setpriv", "--bounding-set=-dac_override") if os.geteuid() == 0 else ()
        words = [word.replace("%h", f"machine-{self.number}") for word in command]
        words = [str(run.ROOT / word) if word == "manage.py" else word for word in words]
        return ("env", f"--chdir={self.folder}", *as_others, *words)
