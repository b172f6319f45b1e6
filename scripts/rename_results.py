"""Give runs that an older version named their present names, once: python scripts/rename_results.py results"""

import sys

from cbp_experiments.cli.renaming import main

sys.exit(main())
