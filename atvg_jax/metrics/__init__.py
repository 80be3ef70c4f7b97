"""Metrics of images and of landmarks: pure functions of arrays, each docstring with the source of its formula.

* `image_metrics`: PSNR and SSIM, of a whole crop and of boxes in it (mouth, lips).
* `cpbd`: CPBD, sharpness without a reference.
* `landmark_metrics`: LMD, correlation of the mouth's opening over time, lag, jitter.
* `published_metrics`: what the published evaluation script computes under the names PSNR, SSIM and LMD.

Metrics that are networks (LPIPS, SyncNet, FID) are in `atvg_jax.evaluate.metric_networks`.

To add a metric: put its function into the module of what it looks at, with a test in `tests/metrics/`; call it in
`atvg_jax.evaluate.clip_scores` where a clip's other scores are made; give it a line in `COLUMNS` there, which puts it
into every table, page and file; and say what it is in docs/evaluation.md.
"""
