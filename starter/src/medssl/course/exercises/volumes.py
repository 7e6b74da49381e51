"""Week 12: from a voxel to a place in the patient, and a block of tokens whose size is given in millimetres."""

from collections.abc import Callable

import numpy as np

from medssl.course.exercises.check import check


def voxel_to_world(mine: Callable) -> Callable:
    """Week 12: voxel_to_world(affine, zyx) -> millimetres to the right, to the front, to the head [3].

        mm = A · (x, y, z) + t,      A = affine[:3, :3],  t = affine[:3, 3]

    where zyx [3] is a voxel as the array counts it, (z, y, x): the affine wants it the other way round.
    """

    def right(affine, zyx):
        return affine[:3, :3] @ zyx[::-1] + affine[:3, 3]

    mistakes = {
        "the affine wants (x, y, z), the array counts (z, y, x): zyx[::-1]": lambda a, v: right(a, v[::-1]),
        "the place of voxel 0 is missing: + affine[:3, 3]": lambda a, v: a[:3, :3] @ v[::-1],
        "the matrix is transposed: columns are the steps of x, y and z": lambda a, v: a[:3, :3].T @ v[::-1] + a[:3, 3],
        "only the spacing is used: an axis may run to the left, or obliquely; take all of affine[:3, :3]":
            lambda a, v: np.linalg.norm(a[:3, :3], axis=0) * v[::-1] + a[:3, 3],
        "the answer is in the order of the array; right, front, head was asked for": lambda a, v: right(a, v)[::-1],
        "this goes from millimetres to voxels: multiply, do not solve":
            lambda a, v: np.linalg.solve(a[:3, :3], v[::-1] - a[:3, 3]),
    }
    plain = np.array([[-0.8, 0, 0, 120], [0, -0.8, 0, 90], [0, 0, 5, -300], [0, 0, 0, 1.0]])
    oblique = np.array([[0, 0.5, 2.9, -20], [1.5, 0.2, 0, 40], [0.1, -1.4, 0.8, 7], [0, 0, 0, 1.0]])
    cases = [(plain, np.array([10.0, 20, 300])), (oblique, np.array([3.0, 4, 5])), (oblique, np.array([0.5, 7, 2]))]
    return check(mine, right, cases, "affine[:3, :3] @ zyx[::-1] + affine[:3, 3]", mistakes)


def block_tokens(mine: Callable) -> Callable:
    """Week 12: block_tokens(grid, mm, first, size_mm) -> the numbers of a block's tokens, in growing order.

    grid: tokens along (z, y, x). mm: how far apart they are, (z, y, x). first: the block's first token (z, y, x).
    size_mm: (z, y, x). It takes round(size_mm / mm) tokens of each axis, at least one, fewer where the grid ends.
    Tokens are counted row by row, slice by slice: x runs fastest.
    """

    def numbers(grid, first, size, order="C"):
        block = np.zeros(grid, bool)
        block[tuple(slice(a, a + n) for a, n in zip(first, size, strict=True))] = True
        return np.flatnonzero(block.ravel(order))

    def tokens(mm, size_mm, least=1):
        return np.maximum(least, np.rint(np.asarray(size_mm) / np.asarray(mm))).astype(int)

    def right(grid, mm, first, size_mm):
        return numbers(grid, first, tokens(mm, size_mm))

    mistakes = {
        "as many tokens along z as along x: divide each axis by its own mm":
            lambda grid, mm, first, size: numbers(grid, first, tokens(mm[2], size)),
        "counted with z fastest: x runs fastest, the number is (z · rows + y) · columns + x":
            lambda grid, mm, first, size: numbers(grid, first, tokens(mm, size), "F"),
        "the mm are taken as (x, y, z): all four are (z, y, x)":
            lambda grid, mm, first, size: numbers(grid, first, tokens(mm[::-1], size)),
        "millimetres taken for tokens: divide by mm":
            lambda grid, mm, first, size: numbers(grid, first, tokens(1, size)),
        "the last token is left out: first + n is where the slice ends, and it is not in it":
            lambda grid, mm, first, size: numbers(grid, first, tokens(mm, size) - 1),
        "one token too many: a slice from first to first + n holds n":
            lambda grid, mm, first, size: numbers(grid, first, tokens(mm, size) + 1),
        "no token along an axis that is coarser than the block: take at least one":
            lambda grid, mm, first, size: numbers(grid, first, tokens(mm, size, least=0)),
        "cut off: round(size / mm), or a block of 29 mm in steps of 10 has two tokens":
            lambda grid, mm, first, size: numbers(grid, first, np.maximum(1, np.asarray(size) // mm).astype(int)),
    }
    cases = [((4, 5, 6), (20.0, 8.0, 8.0), (1, 2, 1), (40, 24, 24)),
             ((3, 6, 7), (30.0, 6.0, 5.0), (0, 1, 3), (10, 17, 14)),
             ((5, 4, 3), (5.0, 10.0, 12.0), (3, 2, 1), (29, 12, 26))]
    hint = "n = max(1, round(size / mm)) along each axis, then (z · rows + y) · columns + x for each of its tokens"
    return check(mine, right, cases, hint, mistakes)
