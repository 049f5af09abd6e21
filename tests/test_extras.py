"""What only some users need is an extra; one who lacks it reads how to get it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lbbt_mm.version import require


@pytest.mark.parametrize(
    ("module", "install"),
    [
        ("transformers", r'pip install "transformers<5"'),
        ("gguf", "pip install gguf"),
        ("matplotlib", "pip install matplotlib"),
        ("gradio", r'pip install "\.\[demo\]"'),
        ("sklearn", "pip install scikit-learn"),
        ("peft", r'pip install "peft<1"'),
    ],
)
def test_a_missing_extra_is_one_sentence(
    module: str, install: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    require(module, "This test")  # it is there, in a version that was tested
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=f"This test needs {module}.*{install}"):
        require(module, "This test")


def test_a_gguf_file_says_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lbbt_mm.language import open_checkpoint
    from lbbt_mm.language.errors import CheckpointError

    monkeypatch.setitem(sys.modules, "gguf", None)
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(CheckpointError, match="pip install gguf"):
        open_checkpoint(str(tmp_path / "model.gguf"))


def test_a_tokeniser_says_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lbbt_mm.models.multimodal.causal_lm import open_tokenizer

    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match="pip install .transformers<5"):
        open_tokenizer(str(tmp_path))
