"""A browser's requests to a page of lbbt_mm.demo, in this process."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any

from starlette.testclient import TestClient


class Visitor:
    """Whoever opened a page; a context manager.

    Args:
        app: Of :func:`lbbt_mm.demo.page.served`.
    """

    def __init__(self, app: Any) -> None:
        self.client = TestClient(app, base_url="http://127.0.0.1")

    def __enter__(self) -> Visitor:
        self.client.__enter__()
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.client.__exit__(kind, error, at)

    def upload(self, path: Path) -> dict[str, Any]:
        """Upload a file; returns it as a component is given it."""
        with path.open("rb") as file:
            said = self.client.post("/gradio_api/upload", files=dict(files=file))
        (stored,) = said.json()
        meta = dict(_type="gradio.FileData")
        return dict(path=stored, orig_name=path.name, meta=meta)

    def press(self, name: str, *given: Any) -> tuple[str, Any]:
        """Press a button; returns ``'complete'`` or ``'error'``, and what came."""
        address = f"/gradio_api/call/{name}"
        event = self.client.post(address, json=dict(data=given)).json()["event_id"]
        said = self.client.get(f"{address}/{event}").text.strip().splitlines()
        return said[-2].partition(": ")[2], json.loads(said[-1].partition(": ")[2])

    def picture(self, shown: dict[str, Any]) -> bytes:
        """Fetch a picture that the page shows."""
        return self.client.get(f"/gradio_api/file={shown['path']}").content
