"""Checkpoints of the published system: download, decode, translate their configuration."""
