"""LLaVA and LangBridge at the paper's size: configs resolve, fit, and train narrow."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

import pytest
import torch
from llava_tiny import tiny_tokenizer
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, FUNCTIONS, METRICS, MODELS
from PIL import Image

from lbbt_mm.config import load_config
from lbbt_mm.config.names import changed_keys, effective
from lbbt_mm.config.run_name import run_name
from lbbt_mm.models.multimodal.shared_vocabulary import SharedVocabulary

from shipped import LLAVA, load  # isort: skip

ALL = [path for path in LLAVA if "plain-questions" not in path.stem]
TRAINED = [path for path in ALL if not path.stem.endswith("_test")]
TESTED = [path for path in ALL if path.stem.endswith("_test")]
SHARDED = [path for path in TRAINED if load(path).get("strategy")]
PROCESSES = 8
ANSWERS = {  # the language model of a name's first field
    "llava-1.5-7b": "lmsys/vicuna-7b-v1.5",
    "llava-1.6-mistral-7b": "mistralai/Mistral-7B-Instruct-v0.2",
    "llava-1.6-vicuna-13b": "lmsys/vicuna-13b-v1.5",
    "langbridge-qwen2-0.5b": "Qwen/Qwen2-0.5B-Instruct",
    "langbridge-qwen2-7b": "Qwen/Qwen2-7B-Instruct",
    "langbridge-llama3-8b": "meta-llama/Meta-Llama-3-8B-Instruct",
    "langbridge-qwen2.5-14b": "Qwen/Qwen2.5-14B-Instruct",
}
FORMATS = {k: k for k in ("scienceqa", "textvqa", "gqa")} | {"mm-vet": "mmvet"}
each = dict(ids=lambda path: path.stem)


def loader(cfg: Config) -> Config:
    return cfg.get("train_dataloader") or cfg.test_dataloader


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A causal language model of each family, 32 channels wide, and 200 words."""
    import transformers as hf

    folder = tmp_path_factory.mktemp("models")
    tokenizer = tiny_tokenizer()
    sizes = dict(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        max_position_embeddings=4096,
    )
    families = dict(
        llama=hf.LlamaConfig, mistral=hf.MistralConfig, qwen2=hf.Qwen2Config
    )
    for family, config in families.items():
        model = hf.AutoModelForCausalLM.from_config(config(**sizes))
        model.save_pretrained(folder / family)
        tokenizer.save_pretrained(folder / family)
    SharedVocabulary.from_tokenizers([tokenizer], 200).save(folder / "words.json")
    found = {family: str(folder / family) for family in families}
    return found | dict(vocabulary=str(folder / "words.json"))


def narrow(path: Path, tiny: dict[str, str], **options) -> Config:
    """The config with a tiny language model and one block in its vision encoder."""
    cfg = copy.deepcopy(load_config(path, options) if options else load(path))
    name, model = cfg.model.language_model.lower(), cfg.model
    family = next((f for f in ("mistral", "qwen2") if f in name), "llama")
    model.language_model = tiny[family]
    if model.vision_encoder.type == "lbbt_mm.LanguageBackbone":
        model.vision_encoder.update(num_layers=1, pretrained=False)
    else:
        small = dict(embed_dims=32, num_layers=1, num_heads=2)
        model.vision_encoder.arch = dict(small, feedforward_channels=64)
    if "vocabulary" in model.projector:
        model.projector.vocabulary = tiny["vocabulary"]
    return cfg


def record(number: int, image: bool) -> dict:
    asked = "<image>\nWhat is this?" if image else "How many?"
    turns = [("human", asked), ("gpt", "a red bag"), ("human", "So?"), ("gpt", "two")]
    turns = turns[: 4 if image else 2]
    found = dict(id=number, conversations=[{"from": f, "value": v} for f, v in turns])
    return dict(found, image="a.png") if image else found


def batch_of(cfg: Config, folder: Path) -> dict:
    """Two conversations by the config's data set, of which one has a wide image."""
    dataset = copy.deepcopy(cfg.train_dataloader.dataset)
    place = folder / dataset.data_prefix.img_path / "a.png"
    place.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (90, 40), (200, 30, 30)).save(place)
    records = [record(0, True), record(1, False)]
    (folder / dataset.ann_file).write_text(json.dumps(records))
    dataset.data_root = str(folder)
    built = DATASETS.build(dataset)
    found = [built[i] for i in range(2)]
    return {key: [one[key] for one in found] for key in found[0]}


# Without building anything -----------------------------------------------------------


def test_every_row_is_there() -> None:
    names = {path.stem for path in ALL}
    mixtures = {"llava-1.5-7b": "llava-665k", "llava-1.6-mistral-7b": "llava-next-779k"}
    mixtures |= {"llava-1.6-vicuna-13b": "llava-next-779k"}
    mixtures |= {"langbridge-qwen2-0.5b": "llava-665k"}
    expected = {
        "llava-1.5-7b_language_stage2-lora_llava-665k",
        "langbridge-qwen2-0.5b_vit-l_stage1_llava-558k",
        "langbridge-qwen2-7b_language_stage2-transferred_llava-665k",
    }
    for model, mixture in mixtures.items():
        expected |= {f"{model}_language_stage1_llava-558k", f"{model}_test"}
        expected.add(f"{model}_language_stage2_{mixture}")
    assert names == expected


@pytest.mark.parametrize("path", ALL, **each)
def test_it_is_what_its_name_says(path: Path) -> None:
    check_name(path)
    check_pipeline_and_model_agree(path)
    if path in TRAINED:
        check_stage(path)
        if "_language_" in path.stem:
            check_the_initialisation_is_one_knob(path)
    if path in SHARDED:
        check_sharding_names_what_exists(path)


def check_name(path: Path) -> None:
    cfg, (model, second, *_) = load(path), path.stem.split("_")
    assert cfg.model.language_model == ANSWERS[model]
    assert "_delete_" not in cfg.pretty_text
    encoder = cfg.model.vision_encoder
    if second != "vit-l":
        blocks = (encoder.language_model, encoder.get("num_layers"))
        assert blocks == ("gpt2-medium", None) and encoder.pretrained
    assert encoder.patch_size == 16 and encoder.out_type == "featmap"
    assert cfg.model.train_encoder and cfg.model.train_projector
    if model.startswith("langbridge"):
        assert cfg.model.projector.type == "lbbt_mm.LangBridgeProjector"
    elif "_stage1_" not in path.stem:
        # Mistral's tokeniser brings its own.
        expected = None if "mistral" in model else "vicuna_v1"
        assert cfg.model.get("chat_template") == expected


def check_pipeline_and_model_agree(path: Path) -> None:
    cfg = load(path)
    tiles, pack = loader(cfg).dataset.pipeline
    assert (tiles.type, pack.type) == ("lbbt_mm.ImageTiles", "lbbt_mm.PackConversation")
    assert tiles.size == cfg.model.vision_encoder.img_size == 336
    grid = cfg.model.grid_pinpoints
    assert grid == tiles.grid_pinpoints
    assert bool(grid) == path.stem.startswith("llava-1.6")
    if grid:
        assert len({tuple(pinpoint) for pinpoint in grid}) == 5


def check_the_initialisation_is_one_knob(path: Path) -> None:
    language, scratch = load(path), load_config(path, {"pretrained": False})
    keys = changed_keys(effective(language), effective(scratch))
    if "_stage2" in path.stem and "transferred" not in path.stem:
        # Each goes on from its own first stage, in the folder that it is trained in.
        keys.remove("load_from")
        (first,) = [p for p in TRAINED if p.stem == Path(language.load_from).parts[1]]
        folder = run_name(first, {"pretrained": False})
        assert scratch.load_from == f"work_dirs/{folder}/epoch_1.pth"
    assert keys == ["model.vision_encoder.pretrained"]


@pytest.mark.parametrize("path", TESTED, **each)
def test_sets_of_questions(path: Path) -> None:
    for test_set in FORMATS:
        check_set_of_questions(path, test_set)


def check_set_of_questions(path: Path, test_set: str) -> None:
    cfg = load_config(path, {"test_set": test_set})
    images = cfg.test_dataloader.dataset
    assert images.format == FORMATS[test_set]
    assert images.data_root == f"data/{test_set}"
    assert load_config(
        path, {"test_set": test_set, "test_data_root": "d"}
    ).test_dataloader.dataset.data_root == "d"  # fmt: skip
    assert ("generation" in cfg.model) == (test_set == "mm-vet")
    if test_set == "mm-vet":  # each model's answers have a file of their own
        name = f"{path.stem}_mm-vet"
        assert cfg.test_evaluator.out_file == f"work_dirs/{name}/answers.json"
        assert cfg.model.generation.max_new_tokens == 256
        found = load_config(path, {"test_set": test_set, "out_file": "mine.json"})
        assert found.test_evaluator.out_file == "mine.json"


@pytest.mark.parametrize("name", ["llama3-8b", "qwen2.5-14b"])
def test_another_model_that_is_transferred_to(name: str) -> None:
    (path,) = [p for p in TRAINED if "transferred" in p.stem]
    (size,) = [v for k, v in ANSWERS.items() if k == f"langbridge-{name}"]
    cfg = load_config(path, {"language_model": size, "transferred": f"{name}.pth"})
    keys = changed_keys(effective(load(path)), effective(cfg))
    assert keys == ["load_from", "model.language_model"]
    assert f"language_model={size} transferred=FILE" in path.read_text(encoding="utf-8")


def check_stage(path: Path) -> None:
    cfg = load(path)
    batch = PROCESSES * cfg.train_dataloader.batch_size
    first = "_stage1_" in path.stem
    assert batch == cfg.auto_scale_lr.base_batch_size == (256 if first else 128)
    lr = cfg.optim_wrapper.optimizer.lr
    assert lr == (1e-3 if first else 2e-4 if "lora" in path.stem else 2e-5)
    assert cfg.optim_wrapper.optimizer.weight_decay == 0
    assert cfg.train_cfg.max_epochs == 1
    if first:
        assert cfg.model.train_language == "none" and cfg.load_from is None
        assert cfg.model.chat_template == "plain" and cfg.model.dtype == "bfloat16"
        return
    if "lora" not in path.stem:
        # Trained weights are float32; autocast and FSDP compute in bfloat16.
        assert cfg.model.train_language == "all" and "dtype" not in cfg.model
    _, stage1, file = Path(cfg.load_from).parts
    (before,) = [p for p in TRAINED if p.stem == stage1]
    assert load(before).model.vision_encoder == cfg.model.vision_encoder
    assert load(before).model.projector == cfg.model.projector
    if "transferred" in path.stem:
        assert file == f"{path.stem.split('_')[0].removeprefix('langbridge-')}.pth"
    else:
        assert load(before).model.language_model == cfg.model.language_model
        assert file == f"epoch_{load(before).train_cfg.max_epochs}.pth"


def check_sharding_names_what_exists(path: Path) -> None:
    cfg = load(path)
    assert cfg.runner_type == "FlexibleRunner"
    wrapper = cfg.strategy.model_wrapper
    assert callable(FUNCTIONS.get(wrapper.auto_wrap_policy))
    check = FUNCTIONS.get(cfg.strategy.activation_checkpointing.check_fn)
    assert callable(check)
    assert "with_cp" not in cfg.model  # one way to recompute
    head = path.read_text(encoding="utf-8")
    assert f"{PROCESSES} processes" in head and re.search("Not(hing)? .*run", head)


def test_what_needs_sharding_is_sharded() -> None:
    whole = [p for p in TRAINED if load(p).model.train_language == "all"]
    assert [p for p in whole if "0.5b" not in p.stem] == SHARDED


# Narrow ------------------------------------------------------------------------------


@pytest.mark.parametrize("path", TRAINED, **each)
def test_one_step(path: Path, tiny: dict[str, str], tmp_path: Path) -> None:
    cfg = narrow(path, tiny)
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.train()
    cfg.optim_wrapper.optimizer.fused = False  # torch 2.1 cannot on CPU
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    losses = model.train_step(batch_of(cfg, tmp_path), wrapper)
    assert torch.isfinite(losses["loss"]) and losses["skipped"] == 0
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    parts = ["vision_encoder", "projector", "language_model"]
    trained = 2 if cfg.model.train_language == "none" else 3
    assert {n.split(".")[0] for n in changed} - {"image_newline"} == set(
        parts[:trained]
    )
    assert ("image_newline" in changed) == bool(cfg.model.grid_pinpoints)
    rates = {
        name.split(".")[0]: rate
        for name, parameter in model.named_parameters()
        for rate in rates_of(wrapper, parameter)
    }
    assert rates["projector"] == pytest.approx(1e-3 if trained == 2 else 2e-5)
    slow = 0.1 if "llava-next" in path.stem else 1  # LLaVA-NeXT's rate
    assert rates["vision_encoder"] == pytest.approx(slow * rates["projector"])
    if trained == 3:
        lora = "lora" in path.stem
        assert rates["language_model"] == pytest.approx(2e-4 if lora else 2e-5)
        assert lora == any("lora_" in name for name in changed)


def rates_of(wrapper, parameter: torch.nn.Parameter) -> list[float]:
    groups = wrapper.optimizer.param_groups
    return [g["lr"] for g in groups if any(parameter is one for one in g["params"])]


def write_questions(folder: Path, kind: str) -> None:
    """One question in the test set's own files."""
    asked = dict(question="What is this?", image_id="a", imageId="a", imagename="a.jpg")
    image = folder / {"scienceqa": "images/test/7"}.get(kind, "images") / "a.jpg"
    if kind == "textvqa":
        image = folder / "train_images/a.jpg"
        content = dict(data=[dict(asked, question_id=7, answers=["bag"] * 10)])
    elif kind == "scienceqa":
        choices = dict(choices=["bag", "shoe"], answer=0, subject="art", image="a.jpg")
        content = {"7": asked | choices}
        splits = json.dumps(dict(test=["7"]))
        (folder / "pid_splits.json").write_text(splits)
    else:
        content = {"7": dict(asked, answer="bag", capability=["ocr"])}
    image.parent.mkdir(parents=True)
    Image.new("RGB", (40, 90), (30, 30, 200)).save(image)
    files = dict(
        textvqa="TextVQA_0.5.1_val.json",
        scienceqa="problems.json",
        gqa="testdev_balanced_questions.json",
        mmvet="mm-vet.json",
    )
    (folder / files[kind]).write_text(json.dumps(content))


# All sets by one model, and one set by all models.
SOME = [
    (path, test_set)
    for path in TESTED
    for test_set in FORMATS
    if "llava-1.5" in path.stem or test_set == "scienceqa"
]


@pytest.mark.parametrize(("path", "test_set"), SOME)
def test_a_test_set_is_answered(
    path: Path, test_set: str, tiny: dict[str, str], tmp_path: Path
) -> None:
    cfg = narrow(path, tiny, test_set=test_set)
    dataset = cfg.test_dataloader.dataset
    write_questions(tmp_path, dataset.format)
    dataset.data_root = str(tmp_path)
    cfg.model.setdefault("generation", {})["max_new_tokens"] = 2
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.eval()
    one = DATASETS.build(dataset)[0]
    answered = model.test_step({key: [value] for key, value in one.items()})
    if dataset.format == "mmvet":
        cfg.test_evaluator.out_file = str(tmp_path / "answers.json")
    metric = METRICS.build(cfg.test_evaluator)
    metric.process({}, [sample.to_dict() for sample in answered])
    expected = "questions" if dataset.format == "mmvet" else "accuracy"
    assert any(key.endswith(expected) for key in metric.evaluate(1))


@pytest.mark.parametrize("lora", ["", "-lora"])
def test_a_second_stage_is_tested_by_its_test_config(
    lora: str, tiny: dict[str, str]
) -> None:
    """The checkpoint holds all that trained: either initialisation's fits."""
    stem = f"llava-1.5-7b_language_stage2{lora}_llava-665k"
    (second,) = [p for p in TRAINED if p.stem == stem]
    (test,) = [p for p in TESTED if p.stem == "llava-1.5-7b_test"]
    options = dict(test_set="textvqa", **(dict(with_lora=True) if lora else {}))
    trained = MODELS.build(narrow(second, tiny, pretrained=False).model)
    tested = MODELS.build(narrow(test, tiny, **options).model)
    state = trained.state_dict()
    for value in state.values():
        if value.is_floating_point():
            value.copy_(torch.randn_like(value))
    tested.load_state_dict(state)
    ours = dict(tested.named_parameters())
    for name, parameter in trained.named_parameters():
        torch.testing.assert_close(ours[name], parameter.to(ours[name].dtype))
