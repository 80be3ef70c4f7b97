"""Training configs: one file a training, see `common` for every field."""
