"""What the networks compute on a CPU in compiled functions, on numpy arrays."""
