# AdamW as docs/plug_in.md has it, with warm-up and a cosine, per iteration.
_base_ = "../../../../../configs/_base_/schedules/adamw_6e.py"

# often changed
lr = 2e-4  # at batch 4
max_epochs = 24

# sometimes changed
weight_decay = 0.1
warmup_epochs = 2
val_interval = 4  # epochs
