#!/usr/bin/env python
"""Django's command line. The commands of this project: `python manage.py help`, headings [feeds] and [followers]."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "feedsvc.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
