"""Where does the spread of many runs come from: the encoder, the labels that were drawn, or neither?"""

import numpy as np

from medssl.errors import MedsslError


def sources_of_spread(values) -> dict[str, float | None]:
    """{"encoders", "draws", "rest"}: standard deviations, from a metric [E, R] of E encoders on the same R label draws.

    A run is thought of as mean + a_encoder + b_draw + rest. The variances of a, b and the rest follow from mean squares
    (two-way analysis of variance, one run a cell), with m_e and m_r the means of a row and of a column:

        MS_E = R sum (m_e - m)^2 / (E - 1)            var a = (MS_E - MS_rest) / R
        MS_R = E sum (m_r - m)^2 / (R - 1)            var b = (MS_R - MS_rest) / E
        MS_rest = sum (v - m_e - m_r + m)^2 / ((E - 1) (R - 1)) = var rest

    A variance that comes out below 0 is 0. Three encoders tell theirs to within a factor of three or so. None: with one
    encoder or one draw there is nothing to tell it from.
    """
    v = np.asarray(values, float)
    if v.ndim != 2 or 0 in v.shape or not np.isfinite(v).all():
        raise MedsslError(f"the values have shape {list(v.shape)}.", "finite numbers [encoders, draws]",
                          "np.reshape(grid.values()[fraction], (encoders, draws))")
    (E, R), rows, columns = v.shape, v.mean(1, keepdims=True), v.mean(0, keepdims=True)
    if min(E, R) == 1:
        alone = float(v.std(ddof=1)) if v.size > 1 else None
        return {"encoders": alone if R == 1 else None, "draws": alone if E == 1 else None, "rest": None}
    rest = ((v - rows - columns + v.mean()) ** 2).sum() / ((E - 1) * (R - 1))
    by_encoder = (R * rows.var(ddof=1) - rest) / R
    by_draw = (E * columns.var(ddof=1) - rest) / E
    return {name: float(np.sqrt(max(0.0, part))) for name, part in
            (("encoders", by_encoder), ("draws", by_draw), ("rest", rest))}
