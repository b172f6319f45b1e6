"""From a configuration to results: a job, its runs, and the loop that trains them."""
