"""Biomechanics: recordings, gait cycles, EMG, muscle checks, inverse dynamics. Import the submodules you need."""
