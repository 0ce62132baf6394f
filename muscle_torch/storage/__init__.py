"""Files of a run: atomic writes, checkpoints, the run folder."""
