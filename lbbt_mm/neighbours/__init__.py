"""What other libraries do not promise and is used here, a module for each of them.

A private name stands in the module's ``PRIVATE``, with a file that uses it;
``tests/test_neighbours.py`` fails with both when the library renames it, and when a
private name is used here that is not listed. What several rooms ask for is a function
here. :data:`PATCHES` lists what is exchanged in other libraries while a program runs.
"""

PATCHES = {
    "lbbt_mm/config/chain.py: Config": (
        "mmengine's reader tells no one which file it is at, and runs files itself; "
        "while one config is read, in one thread"
    ),
    "lbbt_mm/datasets/wrapper.py: view.get_data_info": (
        "on a shallow copy of a dataset: its own __getitem__ asks itself for the label"
    ),
    "lbbt_mm/datasets/wrapper.py: view._rand_another": (
        "on the same copy: what is read in place of a broken image is one of ours"
    ),
    "lbbt_mm/demo/page.py: picture.preprocess": (
        "of one field of a page: gradio would write a file beside a subclass's source"
    ),
    "lbbt_mm/hooks/freeze_blocks.py: wrapper.backward": (
        "of one run's optimiser wrapper: no hook stands between backward pass and step"
    ),
    "lbbt_mm/hooks/language_init.py: model.init_weights": (
        "of one model: no hook runs between initialisation and load_from"
    ),
    "lbbt_mm/hooks/random_state.py: loop.run_iter": (
        "of one loop: mmengine counts the batches of a resumed epoch from 0"
    ),
    "lbbt_mm/hooks/seeded_batches.py: sampler.skip": (
        "of one sampler: it tells no one how many images a resumed run passes over"
    ),
    "lbbt_mm/models/detection/dropout_leak.py: MultiheadAttention.__init__": (
        "mmcv's default is one dict for all attentions; only for who imports the module"
    ),
    "lbbt_mm/models/norms.py: DefaultOptimWrapperConstructor.__call__": (
        "every constructor of every library inherits it, and knows torch's norms only"
    ),
    "lbbt_mm/models/norms.py: module.__class__": (
        "while that runs: it asks for isinstance, which nothing else can answer"
    ),
    "lbbt_mm/safety/checkpoint_guard.py: checkpoint.torch": (
        "mmengine's loaders of every scheme call torch.load, which runs code"
    ),
    "lbbt_mm/safety/checkpoint_guard.py: checkpoint.torch.load": "the same",
    "lbbt_mm/safety/checkpoint_guard.py: checkpoint._safe_torch_load": (
        "the same, in the maintained fork"
    ),
    "lbbt_mm/safety/checkpoint_guard.py: checkpoint.load_url": (
        "the same, for addresses; its own calls torch.hub's, which runs code too"
    ),
    "lbbt_mm/safety/checkpoint_guard.py: spec.loader.exec_module": (
        "of one import: to guard mmengine's runner without importing it"
    ),
    "lbbt_mm/safety/registered_names.py: registry.get_object_from_string": (
        "mmengine imports whatever a config names; while a stranger's model is built"
    ),
    "tools/_launch.py: runner.build_dataloader": (
        "of one runner: its loops ask it for data, which is checked before any worker"
    ),
    "tools/_lifetime.py: handler.handleError": (
        "of one log file: logging prints a traceback a line when the disk is full"
    ),
}
"""File and what it exchanges -> why no hook, option or subclass does it."""
