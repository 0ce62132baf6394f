"""Checkpoints of the published system: download them, decode them, translate their configuration."""
