"""Random numbers that depend on where they are used, never on what was drawn before.

Everything random in a run (pairs, augmentation, dropout, noise) is drawn from a seed made by :func:`mix` out of the
run's seed, the name of a stream, the step and the rank. A resumed run therefore draws what the uninterrupted one would
have drawn, without any saved generator state.
"""

from hashlib import blake2b

# One number per use, so that no two uses of the same (seed, step) share their numbers.
ORDER, SAMPLE, STEP, PAINTER, VALIDATION, SEARCH = range(6)


def mix(*integers: int) -> int:
    """A 63-bit hash of 64-bit integers: a seed for ``torch.Generator`` or ``numpy.random.default_rng``."""
    data = b"".join((integer & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "little") for integer in integers)
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little") >> 1
