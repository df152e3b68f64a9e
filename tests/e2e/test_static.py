"""What the web process serves without asking Django."""

from __future__ import annotations

import re
from typing import Any

import pytest
import requests
from django.conf import settings

from feedsvc.run import Instance
from tests.conftest import eventually

pytestmark = pytest.mark.e2e


def get(path: str) -> requests.Response | None:
    try:
        return requests.get(f"http://127.0.0.1:{settings.PORT}{path}", timeout=5)
    except requests.ConnectionError:
        return None


def test_the_admin_and_the_api_s_page_have_their_styles(_processes: Instance, transactional_db: Any) -> None:
    _processes.start("web")
    try:
        styles = eventually(lambda: get("/static/admin/css/base.css"), "the web process answers")
        assert (styles.status_code, styles.headers["Content-Type"]) == (200, "text/css")
        assert "/static/admin/css/base.css" in get("/admin/").text
        for file in re.findall('"(/static/[^"]+)"', get("/api/docs").text):
            assert get(file).status_code == 200, file
        assert get("/static/../manage.py").status_code == 404
    finally:
        _processes.stop("web")
