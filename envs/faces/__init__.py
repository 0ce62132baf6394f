"""Interfaces of other frameworks: Isaac, Gymnasium and rsl_rl."""
