"""A config that came with a file builds registered names, and nothing else."""

from __future__ import annotations

import pickle
import subprocess
import sys

import mmengine
import pytest
from mmengine.config import ConfigDict
from mmengine.registry import DATASETS, FUNCTIONS, MODELS, TRANSFORMS

from lbbt_mm.models.checkpoint_config import building_foreign, foreign_config
from lbbt_mm.safety.registered_names import (
    ForeignConfigError,
    check_config,
    registered_names_only,
)

EVIL = dict(type="os.system", command="true")
NESTED = {
    "model": dict(model=EVIL),
    "model.data_preprocessor": dict(
        model=dict(type="lbbt_mm.LLaVA", data_preprocessor=EVIL)
    ),
    "model.parts[1][0]": dict(model=dict(parts=[dict(a=1), [EVIL]])),
    "model.init_cfg[0].override": dict(
        model=dict(init_cfg=[dict(type="Pretrained", override=EVIL)])
    ),
    "loader.dataset.pipeline[0]": dict(loader=dict(dataset=dict(pipeline=[EVIL]))),
    "loader.collate_fn": dict(loader=dict(collate_fn=EVIL)),
    "a.b": ConfigDict(a=dict(b=EVIL)),
}


@pytest.mark.parametrize("place", NESTED)
def test_a_dotted_name_at_every_depth(place) -> None:
    with pytest.raises(ForeignConfigError) as caught:
        check_config(NESTED[place], "a.pth")
    assert f"asks for 'os.system' at {place}.type" in str(caught.value)
    assert "config in a.pth" in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        *("builtins.eval", "eval", "antigravity", "subprocess.Popen", "torch.load"),
        *("mmengine.utils.misc.subprocess.call", "mmengine.Config.fromfile"),
        *("mmengine.registry.registry.get_object_from_string", "torch.hub.load"),
        *("", ".", "lbbt_mm.", "lbbt_mm..os", "no_such_package.Model"),
        *("LAION", "mmengine.NoSuchThing", "mmengine.runner.Runner.from_cfg"),
        *("mmengine.runner.Runner", "mmdet.CityScapesMetric", "mmengine.DumpResults"),
        *("mmdet.evaluation.metrics.CityScapesMetric", "LocalVisBackend", "EMAHook"),
        subprocess.Popen,
        subprocess.run,
        None,
        3,
        ["os.system"],
    ],
)
def test_types_that_nobody_registered(name) -> None:
    with pytest.raises(ForeignConfigError):
        check_config(dict(type=name), "a.pth")


@pytest.mark.parametrize(
    "tree",
    [
        dict(type="BN", _scope_="os"),
        dict(teacher_config="evil.py"),
        dict(ann_file="evil.pkl"),
        dict(ann_file="evil.yaml "),
        dict(trust_remote_code=True),
        dict(decode_backend="pickle"),
        dict(backend_args=dict(backend="memcached", sys_path="/run/folder")),
        dict(type="mmdet.RefCocoDataset", split_file="refs.json"),
        dict(type="mmpretrain.TIMMBackbone", checkpoint_path="a.pth"),
        dict(type="mmseg.VPD", diffusion_cfg=dict(target="os.system")),
        dict(type="AdamW", dtype="float or __import__('os').system('true')"),
        dict(warp_mode="exit()"),
        dict(nms=dict(type="__import__('os').system('true')")),
        dict(call=len),
        dict(call=object()),
    ],
    ids=lambda node: str(node).split(" object at")[0],
)
def test_what_runs_code_by_another_way(tree) -> None:
    with pytest.raises(ForeignConfigError):
        check_config(dict(model=tree), "a.pth")


def test_scopes_are_those_of_the_libraries() -> None:
    with pytest.raises(ForeignConfigError, match="scope 'os' at default_scope"):
        check_config({}, "a.pth", "os")
    assert "this" not in sys.modules
    with pytest.raises(ForeignConfigError):
        check_config(dict(type="this.X"), "a.pth")
    assert "this" not in sys.modules


def test_depth_ends_in_a_sentence() -> None:
    tree: list = []
    for _ in range(5000):
        tree = [tree]
    with pytest.raises(ForeignConfigError, match="levels"):
        check_config(tree, "a.pth")


def test_registered_names_pass() -> None:
    for name in (
        *("lbbt_mm.LanguageBackbone", "mmdet.DETR", "mmpretrain.VisionTransformer"),
        *("mmseg.EncoderDecoder", "AdamW", "default_collate", "Pretrained", "Conv2d"),
        *("mmdet.models.detectors.detr.DETR", "torch.optim.AdamW", "mmdet.models.DETR"),
    ):
        check_config(dict(type=name), "a.pth")
    check_config(dict(type="CocoDataset"), "a.pth", "mmdet")
    check_config(dict(nms=dict(type="nms"), classes=["f(x) (y)", "a.b"]), "a.pth")


@pytest.mark.parametrize("registry", [MODELS, DATASETS, TRANSFORMS, FUNCTIONS])
def test_nor_while_building(registry) -> None:
    # A class may read another config itself, which nobody has checked.
    with registered_names_only():
        for name in ("os.getcwd", "builtins.eval", "subprocess.Popen"):
            with pytest.raises((KeyError, RuntimeError)):
                found = registry.build(dict(type=name))
                assert found is None
        assert registry.get("mmdet.models.detectors.detr.DETR") is not None
    assert MODELS.build(dict(type="os.getcwd")), "a user's own config may"


def test_nothing_is_unpickled_while_building(tmp_path) -> None:
    path = tmp_path / "refs.json"
    path.write_bytes(pickle.dumps(dict(a=1)))
    with registered_names_only():
        # As mmdet's RefCocoDataset reads its splits, whatever their name.
        with pytest.raises(TypeError, match="pkl"):
            mmengine.load(path, file_format="pkl")
    assert mmengine.load(path, file_format="pkl") == dict(a=1)


def test_a_text_of_a_config() -> None:
    text = "model = dict(type='os.system', command='ls')\nfilename = 'a'\n"
    assert foreign_config(text, "a.pth", []).model.command == "ls"
    with pytest.raises(ForeignConfigError, match="'os.system' at model.type"):
        foreign_config(text, "a.pth", ["model"])
    with pytest.raises(ValueError, match="expected a dict as model, got"):
        foreign_config("model = [1]", "a.pth", ["model"])
    with pytest.raises(ValueError, match=r"a.pth describes cannot be built \(TypeErr"):
        with building_foreign("a.pth"):
            MODELS.build(dict(type="BaseTTAModel"))  # which wants a module
    for text in ("a = " + "[" * 5000 + "]" * 5000, "a = \0", "a = ("):
        with pytest.raises(ValueError, match="not a config as a run dumps it"):
            foreign_config(text, "a.pth", ["model"])
