"""How the learning rate moves: a factor of the base rate as a function of the step."""

import math


def warmup_cosine(step: int, total: int, warmup: int) -> float:
    """Linear from near 0 to 1 over `warmup` steps, then half a cosine down to 0 at `total`.

    factor = (step + 1) / warmup                                   while step < warmup
    factor = (1 + cos(pi * (step - warmup) / (total - warmup))) / 2        afterwards
    """
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def constant(step: int, total: int, warmup: int) -> float:
    """Linear warm-up, then 1."""
    return min(1.0, (step + 1) / warmup) if warmup else 1.0


SCHEDULES = {"cosine": warmup_cosine, "constant": constant}
