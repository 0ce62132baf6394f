"""muscle_torch: muscle-driven human bodies that learn to move by imitation."""

__version__ = "0.1.0"
