"""Metrics of generated images: visual quality, diversity, distortion."""

from scumble.metrics.images import ImageMetrics
from scumble.metrics.lpips import LPIPS

__all__ = ["LPIPS", "ImageMetrics"]
