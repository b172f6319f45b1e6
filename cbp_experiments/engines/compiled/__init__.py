"""The online engine compiled: one run at mini-batch 1, as functions on arrays. kernel.py holds the training loop."""
