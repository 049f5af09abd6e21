"""A LLaVA of two narrow layers: its language model on disk, and conversations."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

SIZE = 16  # pixels of a tile; patches of 8 make it 4 tokens
CHATML = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nBe kind<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_WORDS = (
    "system user assistant Be kind What is this? How many shirts are there? Where is "
    "the bag? It is a small red bag. There are two, three, no. Which one is larger?"
)
_LLAMA = dict(
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
)


def tiny_tokenizer(chat_template: str | None = CHATML) -> Any:
    """Train a byte-level BPE on a few words; about 320 entries."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([_WORDS] * 4, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
        chat_template=chat_template,
    )


def write_chat_model(folder: Path, kind: str = "llama", **options: Any) -> str:
    """Write a random causal language model and its tokeniser.

    Args:
        folder: Where to.
        kind: ``'llama'``, ``'qwen2'`` or ``'gpt2'``.
        **options: Of the config of transformers.

    Returns:
        The ``language_model`` string.
    """
    import transformers as hf

    tokenizer = tiny_tokenizer()
    common = dict(
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    if kind == "gpt2":
        sizes = dict(n_embd=32, n_layer=2, n_head=4, n_positions=256)
        config = hf.GPT2Config(**common | sizes | options)
    else:
        of = dict(llama=hf.LlamaConfig, qwen2=hf.Qwen2Config)[kind]
        config = of(**common | _LLAMA | dict(max_position_embeddings=256) | options)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = hf.AutoModelForCausalLM.from_config(config)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.mul_(4)  # far from zero, so that mistakes are visible
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def llava_config(language_model: str, **options: Any) -> dict:
    """Config of a LLaVA whose encoder is the first layer of its language model."""
    encoder = dict(
        type="lbbt_mm.LanguageBackbone",
        language_model=language_model,
        num_layers=1,
        img_size=SIZE,
        patch_size=8,
        out_type="featmap",
    )
    return dict(
        dict(
            type="lbbt_mm.LLaVA",
            language_model=language_model,
            vision_encoder=encoder,
            projector=dict(type="lbbt_mm.MLPProjector"),
            generation=dict(max_new_tokens=6),
        ),
        **options,
    )


def build_llava(language_model: str, **options: Any) -> Any:
    """Build :func:`llava_config`, with its own seed; in evaluation mode."""
    from lbbt_mm.registry import MODELS

    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = MODELS.build(llava_config(language_model, **options))
        model.init_weights()
    return model.eval()


def turns(*texts: str) -> list[dict[str, str]]:
    """Question, answer, question, ...; one that begins with ``system:`` is that."""
    found = []
    for text in texts:
        if text.startswith("system:"):
            found.append(dict(role="system", text=text.removeprefix("system:")))
        else:
            asks = sum(turn["role"] != "system" for turn in found) % 2 == 0
            found.append(dict(role="user" if asks else "assistant", text=text))
    return found


def random_images(*sizes: tuple[int, int], seed: int = 0) -> list[Image.Image]:
    """Noise of these heights and widths."""
    rng = np.random.RandomState(seed)
    return [
        Image.fromarray(rng.randint(0, 256, (*size, 3), np.uint8)) for size in sizes
    ]


def sample(
    *texts: str,
    images: int | Sequence[tuple[int, int]] = 0,
    seed: int = 0,
    grid: Any = None,
    **more: Any,
) -> dict:
    """What the data set's pipeline gives of one conversation."""
    from lbbt_mm.datasets.image_tiles import ImageTiles
    from lbbt_mm.datasets.pack_conversation import PackConversation

    sizes = [(20, 30)] * images if isinstance(images, int) else images
    found = dict(
        sample_id=f"number {seed}",
        turns=turns(*texts),
        images=random_images(*sizes, seed=seed),
        **more,
    )
    return PackConversation()(ImageTiles(SIZE, grid_pinpoints=grid)(found))


def collate(model: Any, *samples: dict) -> dict:
    """Samples as a loader and the model's preprocessor make them a batch."""
    from mmengine.dataset import pseudo_collate

    return model.data_preprocessor(pseudo_collate(list(samples)), False)


MIXED = (
    (("What is this? <image>", "It is a small red bag."), 1),
    (("How many?", "two"), 0),
    (("<image> Which one is larger? <image>", "The bag.", "Where?", "Here, there"), 2),
)


def mixed_samples() -> list[dict]:
    """One image, none, and two in a conversation of two questions."""
    return [
        sample(*texts, images=images, seed=number)
        for number, (texts, images) in enumerate(MIXED)
    ]


class ByHand:
    """A conversation as transformers is given it, written without the package.

    ChatML is put together here piece by piece, images in their places.
    """

    def __init__(self, tokenizer: Any, language_model: Any) -> None:
        self.tokenizer, self.lm = tokenizer, language_model

    def row(
        self, turns: Sequence[dict], images: Sequence[torch.Tensor], ask: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeddings ``(T, D)`` and labels ``(T,)`` of one conversation."""
        pieces: list[tuple[str, bool]] = []
        if turns[0]["role"] != "system":
            turns = [dict(role="system", text="Be kind"), *turns]
        if ask and turns[-1]["role"] == "assistant":
            turns = turns[:-1]
        for turn in turns:
            learned = turn["role"] == "assistant"
            pieces += [(f"<|im_start|>{turn['role']}\n", False)]
            pieces += [(turn["text"], learned), ("<|im_end|>", learned), ("\n", False)]
        if ask:
            pieces.append(("<|im_start|>assistant\n", False))
        left, embeds, labels = list(images), [], []
        table = self.lm.get_input_embeddings()
        for text, learned in pieces:
            for number, part in enumerate(text.split("<image>")):
                if number:
                    image = left.pop(0)
                    embeds.append(image.to(table.weight.dtype))
                    labels += [-100] * len(image)
                ids = self.tokenizer(part, add_special_tokens=False)["input_ids"]
                embeds.append(table(torch.tensor(ids, dtype=torch.long)))
                labels += ids if learned else [-100] * len(ids)
        assert not left
        return torch.cat(embeds), torch.tensor(labels)

    def loss(self, rows: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
        """Loss of transformers on rows that are filled up on the right."""
        pad = torch.nn.utils.rnn.pad_sequence
        embeds = pad([row for row, _ in rows], batch_first=True)
        labels = pad([row for _, row in rows], batch_first=True, padding_value=-100)
        mask = pad([torch.ones(len(row)) for row, _ in rows], batch_first=True)
        positions = torch.arange(embeds.shape[1]).expand(len(rows), -1)
        return self.lm(
            inputs_embeds=embeds,
            labels=labels,
            attention_mask=mask.long(),
            position_ids=positions,
        ).loss

    def answer(self, embeds: torch.Tensor, **options: Any) -> str:
        """Greedy answer of transformers to one conversation."""
        end = self.tokenizer.eos_token_id
        said = self.lm.generate(
            inputs_embeds=embeds[None],
            attention_mask=torch.ones(1, len(embeds), dtype=torch.long),
            do_sample=False,
            eos_token_id=end,
            pad_token_id=end,
            **options,
        )
        return self.tokenizer.decode(said[0], skip_special_tokens=True).strip()


RECORDS = (  # whether there is an image, question, answer; one a line of the file
    (True, "What is this?", "It is a small red bag."),
    (False, "How many?", "It is a small red bag."),
    (False, "Where is the bag?", "It is a small red bag."),
    (True, "Which one?", "It is a small red bag."),
    (False, "Where?", "It is a small red bag."),
    (False, "Which one is larger?", "It is a small red bag."),
    (True, "Is this a bag?", "It is a small red bag."),
    (True, "How many shirts?", "It is a small red bag."),
)


def write_conversations(folder: Path) -> None:
    """Write :data:`RECORDS` as LLaVA's JSON, with their images."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for number, (image, question, answer) in enumerate(RECORDS):
        says = [("human", "<image>\n" * image + question), ("gpt", answer)]
        record: dict[str, Any] = dict(
            id=str(number),
            conversations=[{"from": who, "value": words} for who, words in says],
        )
        if image:
            record["image"] = f"{number}.png"
            random_images((20, 30), seed=number)[0].save(folder / record["image"])
        found.append(record)
    (folder / "conversations.json").write_text(json.dumps(found))


def run_config(folder: Path, language_model: str, name: str, **options: Any) -> Any:
    """A run on :func:`write_conversations`, with the hooks of the shipped runs.

    Args:
        folder: With ``data``; the run writes into ``folder / name``.
        language_model: Of :func:`write_chat_model`.
        name: Of the run.
        **options: What is other than said here, keys with ``__`` for dots.
    """
    from mmengine.config import Config

    root = Path(__file__).resolve().parents[1]
    cfg = Config.fromfile(
        root / "projects/fashion_scenes/configs/_base_/runtime/llava.py"
    )
    cfg.merge_from_dict(
        dict(
            model=llava_config(language_model),
            work_dir=str(folder / name),
            experiment_name=name,
            train_dataloader=dict(
                batch_size=2,
                num_workers=0,
                dataset=dict(
                    type="lbbt_mm.ConversationDataset",
                    data_root=str(folder / "data"),
                    ann_file="conversations.json",
                    data_prefix=dict(img_path=""),
                    pipeline=[
                        dict(type="lbbt_mm.ImageTiles", size=SIZE),
                        dict(type="lbbt_mm.PackConversation"),
                    ],
                ),
                sampler=dict(type="InfiniteSampler", shuffle=True),
            ),
            train_cfg=dict(by_epoch=False, max_iters=6),
            optim_wrapper=dict(optimizer=dict(type="AdamW", lr=1e-2)),
            default_hooks=dict(
                checkpoint=dict(interval=3, max_keep_ckpts=-1),
                logger=dict(interval=1),
            ),
            visualizer=dict(vis_backends=[]),
        )
    )
    options = copy.deepcopy(options)  # mmengine takes `_delete_` out of them
    cfg.merge_from_dict({key.replace("__", "."): v for key, v in options.items()})
    return cfg


# How the runs of one and of two processes differ from those of the other tests: what
# two ranks see together is one batch of a run without shuffling.
ONE_BATCH_OF_TWO = dict(
    model__train_language=dict(r=2, target_modules=["q_proj", "v_proj"]),
    train_dataloader__sampler=dict(type="DefaultSampler", shuffle=False),
    train_cfg__max_iters=4,
    optim_wrapper__optimizer=dict(type="SGD", lr=0.1, _delete_=True),
    default_hooks__checkpoint__interval=4,
)


def run_recorded(cfg: Any) -> tuple[Any, list[dict]]:
    """Train; also what each iteration saw and lost."""
    from mmengine.hooks import Hook
    from mmengine.runner import Runner

    steps: list[dict] = []

    class Record(Hook):
        def after_train_iter(
            self, runner, batch_idx, data_batch=None, outputs=None
        ) -> None:
            samples = data_batch["data_samples"]
            steps.append(
                dict(
                    ids=[one.get("sample_id") for one in samples],
                    images=sum(len(one) for one in data_batch["inputs"]),
                    loss=float(outputs["loss"]),
                )
            )

    runner = Runner.from_cfg(cfg)
    runner.register_hook(Record())
    runner.train()
    return runner, steps


def weights_of(runner: Any) -> dict[str, torch.Tensor]:
    """All weights, whether checkpoints hold them or not."""
    model = getattr(runner.model, "module", runner.model)
    return {name: value.detach() for name, value in model.named_parameters()}
