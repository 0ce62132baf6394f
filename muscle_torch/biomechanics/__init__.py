"""Biomechanics: recordings, gait cycles, EMG, muscle checks, inverse dynamics. Nothing is imported until asked for."""
