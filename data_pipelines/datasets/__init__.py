"""The data sets: one folder each.

A new one is a folder `NAME/` with `NAME_source.py`, whose `list_clips(source)` knows the layout of the raw files, and
`NAME_dataset_builder.py`, its TFDS builder, as in `grid/`; its name goes into the choices of `atvg prepare`
(`atvg_jax/cli_options.py`).
"""
