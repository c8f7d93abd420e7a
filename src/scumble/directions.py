"""Whether more of a metric is better: one table for each place that measures, without torch, for all readers."""

# The metrics of a protocol whose ``higher_is_better`` is set (scumble.protocol.metrics; a test keeps the two equal).
PROTOCOL = frozenset({"ssim", "edge_agreement", "diversity_means_relu4_1", "diversity_relu4_1"})
# ``val/NAME`` and ``scumble evaluate run_dir=``: what scumble.metrics.ImageMetrics measures and what tasks log in their
# validation. A word also stands for names that it begins: ``diversity_LAYER``, ``psnr_damaged``.
VALIDATION = ("psnr", "ssim", "ms_ssim", "diversity", "elbo", "accuracy")


def is_better_higher(metric: str) -> bool:
    """Whether more of ``SOURCE/NAME`` is better; of a name that no table has, less is."""
    source, _, name = metric.rpartition("/")
    if source.startswith("scores-"):
        return name in PROTOCOL
    return any(name == word or name.startswith(f"{word}_") for word in VALIDATION)
