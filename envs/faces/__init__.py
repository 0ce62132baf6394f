"""The environment behind other interfaces: Isaac-style tensors, Gymnasium, rsl_rl."""
