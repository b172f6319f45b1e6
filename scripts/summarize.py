"""Summarize an experiment from the CSVs of its runs: python scripts/summarize.py permuted_mnist/methods"""

import sys

from cbp_experiments.analysis.summaries import main

sys.exit(main())
