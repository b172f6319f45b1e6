"""Turns a configuration into results: a job, its runs, and the loop that trains them."""
