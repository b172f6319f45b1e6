"""Normal random numbers in float32, half a nanosecond each.

Generators of 32-bit words side by side, and short polynomials instead of library calls, can be vectorized. Their error
is far below what any number of draws of a run could show (tests/engines/test_normals.py).
"""

import numpy as np

from cbp_experiments.compiling import inlined, jit

LANES = 256  # generators side by side
f32, i32, u32 = np.float32, np.int32, np.uint32


def new_generators(rng: np.random.Generator) -> np.ndarray:
    """Independent states of LANES generators, `uint32 [4 * LANES]`."""
    return rng.integers(2**32, size=4 * LANES, dtype=np.uint32)


@jit
def draw_normals(normals: np.ndarray, generators: np.ndarray) -> None:
    """Fill `normals` (float32, of even length) by Box and Muller (1958), each pair from two words of a generator."""
    half = len(normals) // 2
    for start in range(0, half, LANES):
        first, second = normals[start:], normals[half + start :]
        for j in range(min(LANES, half - start)):
            s0, s1 = generators[j], generators[j + LANES]
            s2, s3 = generators[j + 2 * LANES], generators[j + 3 * LANES]
            length, s0, s1, s2, s3 = next_word(s0, s1, s2, s3)
            angle, s0, s1, s2, s3 = next_word(s0, s1, s2, s3)
            generators[j], generators[j + LANES] = s0, s1
            generators[j + 2 * LANES], generators[j + 3 * LANES] = s2, s3
            radius = np.sqrt(minus_two_log(i32(length & u32(0x7FFFFFFF) | u32(1))))
            s, c = sine_and_cosine(i32(angle))
            left = i32(length & u32(0x80000000))  # the bit that the radius does not use: the sign of the cosine
            first[j], second[j] = radius * s, radius * np.int32(f32(c).view(np.int32) ^ left).view(np.float32)


@inlined
def next_word(
    s0: np.uint32, s1: np.uint32, s2: np.uint32, s3: np.uint32
) -> tuple[np.uint32, np.uint32, np.uint32, np.uint32, np.uint32]:
    """Return a word of xoshiro128+ and the next state. Its authors recommend the upper bits for floats.

    Blackman and Vigna 2021, Scrambled linear pseudorandom number generators, ACM Transactions on Mathematical Software
    47. (Every result is cast, because numba takes the sum of two uint32 for a uint64.)
    """
    t = u32(s1 << u32(9))
    t2, t3 = u32(s2 ^ s0), u32(s3 ^ s1)
    return u32(s0 + s3), u32(s0 ^ t3), u32(s1 ^ t2), u32(t2 ^ t), u32(u32(t3 << u32(11)) | u32(t3 >> u32(21)))


@inlined
def minus_two_log(k: np.int32) -> np.float32:
    """-2 log(k / 2^31) for k > 0, from k = m 2^e with 1/2 < m^2 < 2 and a minimax polynomial; the error is 3e-6.

    The smallest k gives a radius of 6.6; a k that float32 rounds to 2^31 gives 0.
    """
    root = 0x3F3504F3  # sqrt(1/2)
    bits = i32(f32(k).view(np.int32) - i32(root + (31 << 23)))
    e = i32(bits >> i32(23))  # minus 31
    m = np.int32(i32(bits & i32(0x7FFFFF)) + i32(root)).view(np.float32) - f32(1)
    p = f32(0.286397031)
    p = p * m - f32(0.446601346)
    p = p * m + f32(0.50944926)
    p = p * m - f32(0.66451746)
    p = p * m + f32(0.99970103)
    p = p * m - f32(2.00002556)
    return p * m + f32(e) * f32(-2 * np.log(2))


@inlined
def sine_and_cosine(k: np.int32) -> tuple[np.float32, np.float32]:
    """Of the angle pi/2 k / 2^31, in the right half of the circle: minimax polynomials, with errors of 6e-7, 7e-6."""
    x = f32(k) * f32(2.0**-31)
    y = x * x
    s = f32(-0.00433309542)
    s = s * y + f32(0.0794343448)
    s = s * y - f32(0.64589285)
    s = s * y + f32(1.57079101)
    c = f32(-0.0190957359)
    c = c * y + f32(0.25258024)
    c = c * y - f32(1.2334845)
    c = c * y + f32(0.999993295)
    return x * s, c
