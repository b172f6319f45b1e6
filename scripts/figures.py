"""Draw figures from the CSVs of their runs, without training: python scripts/figures.py, or with some names: fig4"""

import sys

from cbp_experiments.figures.draw import main

sys.exit(main())
