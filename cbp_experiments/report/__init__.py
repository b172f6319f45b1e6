"""The page results/report.html: every figure, what the paper found, and what the runs that are there say to that."""
