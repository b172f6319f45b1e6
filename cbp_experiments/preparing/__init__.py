"""Makes the cache of streams/image_cache.py from whatever form of ImageNet a user has: `cbp-prepare-imagenet`."""
