"""What the runs of an experiment show: intervals and differences over seeds, and which runs have collapsed."""
