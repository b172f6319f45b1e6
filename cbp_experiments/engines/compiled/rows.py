"""The online engine's arithmetic on rows of a weight matrix, where nearly all of its time goes.

A weight matrix is stored as `w [in, out]`, so that each input has one row, padded with zeros to whole vector registers.
Every function works on the rows of the `count` inputs `rows[:count]` that are not zero, four or eight at a time, so
that the vector they share stays in registers. Sums begin with a zero of the weights' dtype, because numba takes a
float32 plus an integer for a float64, which halves the vectors.
"""

from numpy import ndarray

from cbp_experiments.compiling import jit


@jit
def add_rows(w: ndarray, rows: ndarray, x: ndarray, count: int, out: ndarray) -> None:
    """out += sum over q of x[q] w[row q]: the forward pass."""
    n = w.shape[1]
    q = 0
    while q + 8 <= count:
        r0, r1, r2, r3, r4, r5, r6, r7 = (
            rows[q],
            rows[q + 1],
            rows[q + 2],
            rows[q + 3],
            rows[q + 4],
            rows[q + 5],
            rows[q + 6],
            rows[q + 7],
        )
        x0, x1, x2, x3, x4, x5, x6, x7 = x[q], x[q + 1], x[q + 2], x[q + 3], x[q + 4], x[q + 5], x[q + 6], x[q + 7]
        for j in range(n):
            out[j] += (x0 * w[r0, j] + x1 * w[r1, j] + x2 * w[r2, j] + x3 * w[r3, j]) + (
                x4 * w[r4, j] + x5 * w[r5, j] + x6 * w[r6, j] + x7 * w[r7, j]
            )
        q += 8
    for p in range(q, count):
        row, xp = rows[p], x[p]
        for j in range(n):
            out[j] += xp * w[row, j]


@jit
def update_rows(w: ndarray, rows: ndarray, x: ndarray, count: int, step: ndarray) -> None:
    """w[row q] -= x[q] step: the update of the first layer, whose inputs need no gradient."""
    n = w.shape[1]
    q = 0
    while q + 4 <= count:
        r0, r1, r2, r3 = rows[q], rows[q + 1], rows[q + 2], rows[q + 3]
        x0, x1, x2, x3 = x[q], x[q + 1], x[q + 2], x[q + 3]
        for j in range(n):
            s = step[j]
            w[r0, j] -= x0 * s
            w[r1, j] -= x1 * s
            w[r2, j] -= x2 * s
            w[r3, j] -= x3 * s
        q += 4
    for p in range(q, count):
        row, xp = rows[p], x[p]
        for j in range(n):
            w[row, j] -= xp * step[j]


@jit
def update_rows_tracked(w: ndarray, rows: ndarray, x: ndarray, count: int, step: ndarray, column_sums: ndarray) -> None:
    """Like update_rows; also keeps the sums of |w| of each column up to date."""
    n = w.shape[1]
    q = 0
    while q + 4 <= count:
        r0, r1, r2, r3 = rows[q], rows[q + 1], rows[q + 2], rows[q + 3]
        x0, x1, x2, x3 = x[q], x[q + 1], x[q + 2], x[q + 3]
        for j in range(n):
            s = step[j]
            u0, u1, u2, u3 = w[r0, j], w[r1, j], w[r2, j], w[r3, j]
            v0, v1, v2, v3 = u0 - x0 * s, u1 - x1 * s, u2 - x2 * s, u3 - x3 * s
            w[r0, j], w[r1, j], w[r2, j], w[r3, j] = v0, v1, v2, v3
            column_sums[j] += ((abs(v0) - abs(u0)) + (abs(v1) - abs(u1))) + ((abs(v2) - abs(u2)) + (abs(v3) - abs(u3)))
        q += 4
    for p in range(q, count):
        row, xp = rows[p], x[p]
        for j in range(n):
            u = w[row, j]
            v = u - xp * step[j]
            column_sums[j] += abs(v) - abs(u)
            w[row, j] = v


@jit
def backward_rows(w: ndarray, rows: ndarray, x: ndarray, count: int, step: ndarray, back: ndarray) -> None:
    """back[q] = w[row q] . step, then w[row q] -= x[q] step, in one pass over the row."""
    zero = w.dtype.type(0)
    n = w.shape[1]
    q = 0
    while q + 4 <= count:
        r0, r1, r2, r3 = rows[q], rows[q + 1], rows[q + 2], rows[q + 3]
        x0, x1, x2, x3 = x[q], x[q + 1], x[q + 2], x[q + 3]
        b0, b1, b2, b3 = zero, zero, zero, zero
        for j in range(n):
            s = step[j]
            u0, u1, u2, u3 = w[r0, j], w[r1, j], w[r2, j], w[r3, j]
            b0 += u0 * s
            b1 += u1 * s
            b2 += u2 * s
            b3 += u3 * s
            w[r0, j] = u0 - x0 * s
            w[r1, j] = u1 - x1 * s
            w[r2, j] = u2 - x2 * s
            w[r3, j] = u3 - x3 * s
        back[q], back[q + 1], back[q + 2], back[q + 3] = b0, b1, b2, b3
        q += 4
    for p in range(q, count):
        row, xp, b = rows[p], x[p], zero
        for j in range(n):
            b += w[row, j] * step[j]
            w[row, j] -= xp * step[j]
        back[p] = b


@jit
def backward_rows_tracked(
    w: ndarray,
    rows: ndarray,
    x: ndarray,
    count: int,
    step: ndarray,
    back: ndarray,
    row_sums: ndarray,
    column_sums: ndarray,
) -> None:
    """Like backward_rows; also keeps the sums of |w| of each row and column up to date."""
    zero = w.dtype.type(0)
    n = w.shape[1]
    q = 0
    while q + 4 <= count:
        r0, r1, r2, r3 = rows[q], rows[q + 1], rows[q + 2], rows[q + 3]
        x0, x1, x2, x3 = x[q], x[q + 1], x[q + 2], x[q + 3]
        b0, b1, b2, b3 = zero, zero, zero, zero
        a0, a1, a2, a3 = zero, zero, zero, zero
        for j in range(n):
            s = step[j]
            u0, u1, u2, u3 = w[r0, j], w[r1, j], w[r2, j], w[r3, j]
            b0 += u0 * s
            b1 += u1 * s
            b2 += u2 * s
            b3 += u3 * s
            v0, v1, v2, v3 = u0 - x0 * s, u1 - x1 * s, u2 - x2 * s, u3 - x3 * s
            w[r0, j], w[r1, j], w[r2, j], w[r3, j] = v0, v1, v2, v3
            m0, m1, m2, m3 = abs(v0), abs(v1), abs(v2), abs(v3)
            a0 += m0
            a1 += m1
            a2 += m2
            a3 += m3
            column_sums[j] += ((m0 - abs(u0)) + (m1 - abs(u1))) + ((m2 - abs(u2)) + (m3 - abs(u3)))
        back[q], back[q + 1], back[q + 2], back[q + 3] = b0, b1, b2, b3
        row_sums[rows[q]], row_sums[rows[q + 1]], row_sums[rows[q + 2]], row_sums[rows[q + 3]] = a0, a1, a2, a3
        q += 4
    for p in range(q, count):
        row, xp, b, a = rows[p], x[p], zero, zero
        for j in range(n):
            u = w[row, j]
            v = u - xp * step[j]
            b += u * step[j]
            a += abs(v)
            column_sums[j] += abs(v) - abs(u)
            w[row, j] = v
        back[p] = b
        row_sums[rows[p]] = a
