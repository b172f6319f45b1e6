"""Rename runs that were named by an older version, once: python scripts/rename_results.py results"""

import sys

from cbp_experiments.cli.renaming import main

sys.exit(main())
