# As default.py, for runs of days: fewer lines in the log, and a checkpoint (weights and
# optimiser, 4 GB for GPT-2-medium) every few epochs only.
_base_ = "./default.py"

log_interval = 100  # iterations
checkpoint_interval = 5  # epochs

default_hooks = dict(
    runtime_info=dict(interval=log_interval),
    logger=dict(interval=log_interval),
    checkpoint=dict(interval=checkpoint_interval),
)
