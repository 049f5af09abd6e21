"""Shipped configs do not change while they are tested."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lbbt_mm.config.chain import reading_once


@pytest.fixture(autouse=True, scope="module")
def _each_file_is_read_once() -> Iterator[None]:
    with reading_once():
        yield
