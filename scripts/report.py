"""Write results/report.html from the CSVs of the runs, without training: python scripts/report.py"""

import sys

from cbp_experiments.report.page import main

sys.exit(main())
