"""From whatever a researcher has of ImageNet to the cache of streams/image_cache.py: `cbp-prepare-imagenet`."""
