"""Analyses the runs of an experiment: intervals and differences over seeds, and which runs have collapsed."""
