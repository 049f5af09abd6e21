"""Child registries; mmengine imports their locations when it meets ``lbbt_mm.X``."""

from typing import Any

from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import FUNCTIONS as MMENGINE_FUNCTIONS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import LOOPS as MMENGINE_LOOPS
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
LOOPS = _child("loop", MMENGINE_LOOPS, "optim")
METRICS = _child("metric", MMENGINE_METRICS, "metrics")
OPTIM_WRAPPERS = _child("optim wrapper", MMENGINE_OPTIM_WRAPPERS, "optim")
STRATEGIES = _child("strategy", MMENGINE_STRATEGIES, "optim.sharded")
FUNCTIONS = _child(
    "function",
    MMENGINE_FUNCTIONS,
    "optim.sharded",
    "datasets.views",
)


def find_type(node: object, registry: Registry, scope: str | None = None) -> Any:
    """Find the class that a config builds: what it means, whatever it is called.

    A subclass of the user's and a name registered as an alias are found too, which a
    comparison of names misses.

    Args:
        node: A dict of a config, or its ``type`` alone.
        registry: Where it is registered.
        scope: Where names without a prefix are looked up; that of the process if None.

    Returns:
        The class or function; None if there is none of that name.

    Examples:
        >>> find_type(dict(type="lbbt_mm.RandomLabelDataset"), DATASETS)
        <class 'lbbt_mm.datasets.random_label.RandomLabelDataset'>
    """
    get = getattr(node, "get", None)
    kind = get("type") if callable(get) else node
    if not isinstance(kind, str) or not kind:
        return kind or None
    root = registry.root
    try:
        with root.switch_scope_and_registry(scope) as found:
            kind = found.get(kind)
        # What needs a library is registered as a function: see lbbt_mm/models/lazy.py.
        return getattr(kind, "load", lambda: kind)()
    except Exception:  # mmengine raises whatever importing the name raised
        return None


def builds(node: object, registry: Registry, *classes: type) -> bool:
    """Whether a config builds an instance of a class, or of a subclass.

    Args:
        node: See :func:`find_type`.
        registry: See :func:`find_type`.
        classes: Any of them.
    """
    kind = find_type(node, registry)
    return isinstance(kind, type) and issubclass(kind, classes)


def names_of(node: object, registry: Registry, scope: str | None = None) -> set[str]:
    """Name all that a config's class is, without importing what it is compared with.

    Args:
        node: See :func:`find_type`.
        registry: See :func:`find_type`.
        scope: See :func:`find_type`.

    Returns:
        The name in the config without its scope, and those of the class that it means
        and of all that this one inherits from.
    """
    get = getattr(node, "get", None)
    kind = get("type") if callable(get) else node
    names = {kind.rpartition(".")[2]} if isinstance(kind, str) else set()
    found = find_type(node, registry, scope)
    if isinstance(found, type):
        names |= {one.__name__ for one in found.__mro__}
    return names
