"""The page: a picture on it, what a model says of it, nothing from elsewhere."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from lbbt_mm.demo.models import Classifier, Drawer
from lbbt_mm.demo.picture import read_picture
from lbbt_mm.models.multimodal.answering import Answering
from lbbt_mm.version import require

_TOP = 5  # classes
_HEIGHT = 360  # pixels of a picture
# What the browser may load: this server's own files, and what the page itself holds.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; worker-src 'self' blob:; frame-ancestors 'self'"
)
_CSS = ".gradio-container {max-width: 1000px; width: 100%; margin: 0 auto}"
# One model, one picture at a time, whoever asks.
_ONCE: dict[str, Any] = dict(concurrency_limit=1, concurrency_id="model")


def build_page(
    model: Classifier | Drawer | Answering,
    title: str,
    examples: Sequence[str | Path] = (),
) -> Any:
    """Lay out the page of a model.

    Args:
        model: Of :func:`lbbt_mm.demo.models.open_model`.
        title: What stands above it, as plain text.
        examples: Picture files to choose from.

    Returns:
        Gradio's ``Blocks``; nothing is served yet.

    Raises:
        ImportError: Gradio is missing.

    Example:
        >>> build_page(model, "my classifier").launch()
    """
    gr: Any = require("gradio", "The page")

    def read(payload: Any) -> Image.Image:
        """Read what was uploaded, or say in a sentence why it is no picture."""
        if payload is None:
            raise gr.Error("Choose a picture first.", print_exception=False)
        return told(read_picture, payload.path, payload.orig_name or "")

    def told(look: Callable, *given: Any) -> Any:
        """Show what a model refuses as a sentence."""
        try:
            return look(*given)
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from error

    picture = gr.Image(
        label="Picture",
        height=_HEIGHT,
        sources=["upload", "clipboard"],
        buttons=["fullscreen"],
        render=False,
    )
    # Not by a subclass: gradio would write a file beside its source.
    picture.preprocess = read
    with gr.Blocks(title=title, analytics_enabled=False) as page:
        gr.HTML(f"<h2>{html.escape(title)}</h2>")
        if isinstance(model, Answering):
            _conversation(gr, model, picture, told)
        else:
            gr.HTML(html.escape(model.about))
            _one_look(gr, model, picture, told)
        if examples:
            shown = list(map(str, examples))
            gr.Examples(shown, picture, examples_per_page=len(shown))
    return page


def _one_look(gr: Any, model: Any, picture: Any, told: Callable) -> None:
    """A button, and what a classifier, a detector or a segmenter says."""
    classifies = isinstance(model, Classifier)
    given, outputs = [picture], []
    drawn = partial(gr.Image, buttons=[], format="png", interactive=False)
    with gr.Row():
        with gr.Column():
            picture.render()
            if not classifies and model.has_scores:
                given.append(gr.Slider(0, 1, 0.3, label="Least score of a box"))
            button = gr.Button("Look", variant="primary")
        with gr.Column():
            if classifies:
                outputs.append(gr.Label(label="Best classes", num_top_classes=_TOP))
                outputs.append(drawn(label="What the model is given", height=200))
            else:
                outputs.append(drawn(label="Found", height=_HEIGHT))
                outputs.append(gr.Textbox(label="In words"))

    def look(*given: Any) -> tuple[Any, Any]:
        said, more = told(model, *given)
        return said, _enlarged(more) if classifies else more

    looking = button.click(look, given, outputs, api_name="look", **_ONCE)
    # Nothing of one picture beside another, also if its answer is still on the way.
    picture.change(lambda: [None, None], None, outputs, cancels=[looking])


def _enlarged(image: Image.Image | None) -> Image.Image | None:
    """Make small pixels visible, without smoothing."""
    if image is None:
        return None
    factor = max(1, 160 // max(image.size))
    size = (image.width * factor, image.height * factor)
    return image.resize(size, Image.Resampling.NEAREST)


def _conversation(gr: Any, model: Answering, picture: Any, told: Callable) -> None:
    """Questions about a picture, and the answers."""
    with gr.Row():
        with gr.Column():
            picture.render()
        with gr.Column():
            talk = gr.Chatbot(
                label="Each question is answered by itself",
                height=_HEIGHT,
                buttons=[],
                render_markdown=False,
                feedback_options=None,
            )
            question = gr.Textbox(label="Question")
            button = gr.Button("Ask", variant="primary")

    def ask(shown: Image.Image, asked: str, said: list) -> tuple[str, list]:
        if not asked.strip():
            raise gr.Error("Write a question first.", print_exception=False)
        answer = told(model.answer, shown, asked.strip())
        turns = dict(user=asked.strip(), assistant=answer or "(an empty answer)")
        said = said + [dict(role=role, content=text) for role, text in turns.items()]
        return "", said

    given, changed = [picture, question, talk], [question, talk]
    pressed = [button.click, question.submit]
    asking = gr.on(pressed, ask, given, changed, api_name="ask", **_ONCE)
    picture.change(list, None, talk, cancels=[asking])  # another picture, another talk


def served(page: Any) -> Any:
    """Make a page an ASGI application that loads nothing from elsewhere.

    Args:
        page: Of :func:`build_page`.

    Returns:
        What uvicorn runs.
    """
    import fastapi
    import gradio as gr

    app = gr.mount_gradio_app(
        fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
        page,
        path="",
        footer_links=[],
        ssr_mode=False,
        enable_monitoring=False,
        mcp_server=False,
        pwa=False,
        css=_CSS,
    )

    async def with_policy(scope: Any, receive: Callable, send: Callable) -> None:
        async def send_on(message: Any) -> None:
            if message["type"] == "http.response.start":
                policy = (b"content-security-policy", _POLICY.encode())
                message["headers"] = [*message.get("headers", ()), policy]
            await send(message)

        await app(scope, receive, send_on)

    return with_policy
