"""Redraw a figure from the CSVs of its runs, without training: python scripts/figures.py demo"""

import sys

from cbp_experiments.figures.draw import main

sys.exit(main())
