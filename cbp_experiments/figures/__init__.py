"""Figures from the CSVs of runs: one file per figure, a DataFrame in, Axes out; draw.py lists them."""
