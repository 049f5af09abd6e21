"""Child registries; mmengine imports their locations when it meets ``lbbt_mm.X``."""

from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import FUNCTIONS as MMENGINE_FUNCTIONS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
from mmengine.registry import STRATEGIES as MMENGINE_STRATEGIES
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import Registry


def _child(name: str, parent: Registry, *rooms: str) -> Registry:
    locations = [f"lbbt_mm.{room}" for room in rooms]
    return Registry(name, parent=parent, scope="lbbt_mm", locations=locations)


MODELS = _child("model", MMENGINE_MODELS, "models")
DATASETS = _child("dataset", MMENGINE_DATASETS, "datasets")
TRANSFORMS = _child("transform", MMENGINE_TRANSFORMS, "datasets")
HOOKS = _child("hook", MMENGINE_HOOKS, "hooks")
METRICS = _child("metric", MMENGINE_METRICS, "evaluation")
OPTIM_WRAPPERS = _child("optim wrapper", MMENGINE_OPTIM_WRAPPERS, "optim")
STRATEGIES = _child("strategy", MMENGINE_STRATEGIES, "optim.sharded")
FUNCTIONS = _child(
    "function",
    MMENGINE_FUNCTIONS,
    "optim.sharded",
    "optim.sharded_llava",
    "datasets.views",
)
