"""What the commands' tests share."""

import pytest

from feedsvc.run import Instance
from tests.conftest import WORKERS


@pytest.fixture
def no_workers(services: Instance) -> None:
    """An earlier test may have started them."""
    if services.services:
        services.stop(*WORKERS)
