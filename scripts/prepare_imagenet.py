"""Make the cache of 32x32 images from ImageNet: python scripts/prepare_imagenet.py SOURCE"""

import sys

from cbp_experiments.preparing.command import main

if __name__ == "__main__":  # worker processes import this file
    sys.exit(main())
