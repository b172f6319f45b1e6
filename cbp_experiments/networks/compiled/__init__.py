"""Compiled functions of the networks, on numpy arrays on a CPU."""
