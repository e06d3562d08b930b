/* The loops that take most of the time, in one pass each where numpy needs a dozen.

   Every function has a twin in numpy, which is used where this is not compiled and gives the same
   bits; tests compare the two. Only the sums of theta_weighed are inexact: they look for factors,
   and decode nothing. The caller (compiled/__init__.py) checks all lengths. Words are
   little-endian; nothing is allocated; nothing here knows Python. Integers are int64_t, all of
   them: Python passes them so, and a machine of 32 bits finds others in the wrong place. */

#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

/* 0, -1, 1, -2 as 0, 1, 2, 3, modulo 2^BITS, and back */
#define ZIGZAG(WORD, SIGNED, BITS, x) (WORD)((WORD)((x) << 1) ^ (WORD)((SIGNED)(x) >> (BITS - 1)))
#define UNZIGZAG(WORD, x) (WORD)(((x) >> 1) ^ (WORD) - ((x)&1))

/* ---- products of thin factors ------------------------------------------------------------------ */

#if defined(__AVX512F__)
enum { VECTOR_BYTES = 64, AT_ONCE = 8 };
#elif defined(__AVX2__)
enum { VECTOR_BYTES = 32, AT_ONCE = 4 };
#else
enum { VECTOR_BYTES = 16, AT_ONCE = 4 };
#endif

#define VECTOR_OF(TYPE, BYTES) \
    __attribute__((vector_size(BYTES), aligned(sizeof(TYPE)), may_alias)) TYPE
typedef VECTOR_OF(float, VECTOR_BYTES) floats;
typedef VECTOR_OF(uint32_t, VECTOR_BYTES) words;
typedef VECTOR_OF(int32_t, VECTOR_BYTES) integers;
typedef VECTOR_OF(double, VECTOR_BYTES) doubles; /* and as many of the others: */
typedef VECTOR_OF(float, VECTOR_BYTES / 2) floats_few;
typedef VECTOR_OF(uint32_t, VECTOR_BYTES / 2) words_few;
typedef VECTOR_OF(int32_t, VECTOR_BYTES / 2) integers_few;

/* two BF16 numbers a word, which may begin at any of them */
#define PAIRS_OF(BYTES) __attribute__((vector_size(BYTES), aligned(2), may_alias)) uint32_t
typedef PAIRS_OF(VECTOR_BYTES) pairs;
typedef PAIRS_OF(VECTOR_BYTES / 2) pairs_few;

#define LANES(REAL) ((int64_t)(VECTOR_BYTES / sizeof(REAL)))
#define IN_ORDER(j, lanes) (j)
#define IN_PAIRS(j, lanes) ((j) / 2 + (j) % 2 * (lanes))

enum { NEAR_BYTES = 24 * 1024 }; /* Python lets no rank exceed 64, so a panel has 8 KiB at most */

/* left [rows, rank] @ right [rank, width], and FINISH(sums, sums, where, how many, ...) of each two
   vectors: columns lie in them IN_ORDER, or every other one in the second.

   The right factor is put together in panels of two vectors, as many as the nearest cache holds;
   sums of a few rows stay in registers. */
#define PRODUCT(REAL, VECTOR, ORDER, FINISH, ...)                                                  \
    REAL block[NEAR_BYTES / sizeof(REAL)];                                                         \
    const VECTOR zero = {0};                                                                       \
    enum { LANES = VECTOR_BYTES / sizeof(REAL), PANEL = 2 * LANES };                               \
    const int64_t most = PANEL * (NEAR_BYTES / (rank * 2 * VECTOR_BYTES));                         \
    for (int64_t first = 0; first < width; first += most) {                                        \
        int64_t last = first + most < width ? first + most : width;                                \
        REAL *here = block;                                                                        \
        for (int64_t c = first; c < last; c += PANEL)                                              \
            for (int64_t r = 0; r < rank; r++, here += PANEL) {                                    \
                REAL rest[PANEL] = {0};                                                            \
                const REAL *some = right + r * columns + c;                                        \
                if (last - c < PANEL) some = memcpy(rest, some, (last - c) * sizeof(REAL));        \
                for (int j = 0; j < PANEL; j++) here[ORDER(j, LANES)] = some[j];                   \
            }                                                                                      \
        int64_t row = 0;                                                                           \
        for (; row + AT_ONCE <= rows; row += AT_ONCE)                                              \
            ROWS(REAL, VECTOR, AT_ONCE, FINISH, __VA_ARGS__)                                       \
        for (; row < rows; row++) ROWS(REAL, VECTOR, 1, FINISH, __VA_ARGS__)                       \
    }

#define UNROLLED _Pragma("GCC unroll 8") for (int k = 0; k < ROWS; k++)

#define ROWS(REAL, VECTOR, COUNT, FINISH, ...)                                                     \
    {                                                                                              \
        enum { ROWS = COUNT };                                                                     \
        const REAL *factor = block;                                                                \
        for (int64_t c = first; c < last; c += PANEL) {                                            \
            VECTOR one[ROWS], other[ROWS];                                                         \
            UNROLLED one[k] = other[k] = zero;                                                     \
            for (int64_t r = 0; r < rank; r++, factor += PANEL) {                                  \
                VECTOR these = *(const VECTOR *)factor, those = *(const VECTOR *)(factor + LANES); \
                UNROLLED {                                                                         \
                    one[k] += left[(row + k) * rank + r] * these;                                  \
                    other[k] += left[(row + k) * rank + r] * those;                                \
                }                                                                                  \
            }                                                                                      \
            if (last - c >= PANEL) {                                                               \
                UNROLLED FINISH(one[k], other[k], (row + k) * width + c, PANEL, __VA_ARGS__);      \
            } else {                                                                               \
                for (int k = 0; k < ROWS; k++)                                                     \
                    FINISH(one[k], other[k], (row + k) * width + c, last - c, __VA_ARGS__);        \
            }                                                                                      \
        }                                                                                          \
    }

/* ---- low rank: round(base + left @ right) ---------------------------------------------------- */

/* Products of factors are exact, in whatever order they are summed and with fused multiply-adds or
   none; only adding the base rounds. A sum that begins with 0 is never -0. */

/* What rounds binary32 numbers to BF16 ones, in the upper half; from 0x7F7F8000 on they are not
   finite, and the base's stay. */
#define ROUND_BF16(SIGNED, u, base)                                                                \
    do {                                                                                           \
        __typeof__(u) fits = (__typeof__(u))((SIGNED)(u & 0x7FFFFFFF) < 0x7F7F8000);               \
        u = ((u + 0x7FFF + ((u >> 16) & 1)) & fits) | (base & ~fits);                              \
    } while (0)

/* Two numbers lie in a word. */
INLINE void finish_bf16(floats one, floats other, const uint16_t *base, uint16_t *out) {
    words both = *(const pairs *)base, low = both << 16, high = both & 0xFFFF0000;
    words u = (words)(one + (floats)low), v = (words)(other + (floats)high);
    ROUND_BF16(integers, u, low);
    ROUND_BF16(integers, v, high);
    *(pairs *)out = u >> 16 | (v & 0xFFFF0000);
}

#define WIDE(few) __builtin_convertvector((floats_few)(few), doubles)
#define NARROW(sum) (words_few) __builtin_convertvector(sum, floats_few)

INLINE void finish_bf16_wide(doubles one, doubles other, const uint16_t *base, uint16_t *out) {
    words_few both = *(const pairs_few *)base, low = both << 16, high = both & 0xFFFF0000;
    words_few u = NARROW(one + WIDE(low)), v = NARROW(other + WIDE(high));
    ROUND_BF16(integers_few, u, low);
    ROUND_BF16(integers_few, v, high);
    *(pairs_few *)out = u >> 16 | (v & 0xFFFF0000);
}

INLINE void finish_f32_wide(doubles one, doubles other, const uint32_t *base, uint32_t *out) {
    for (int k = 0; k < 2; k++) {
        words_few old = ((const words_few *)base)[k], u = NARROW((k ? other : one) + WIDE(old));
        words_few unfit = (words_few)((u & 0x7F800000) == 0x7F800000);
        ((words_few *)out)[k] = (u & ~unfit) | (old & unfit);
    }
}

#define LOW_RANK(NAME, REAL, VECTOR, ORDER, WORD, FINISH)                                          \
    INLINE void finish_##NAME(VECTOR one, VECTOR other, int64_t at, int64_t n, const WORD *base,   \
                              WORD *out) {                                                         \
        if (n == 2 * LANES(REAL)) {                                                                \
            FINISH(one, other, base + at, out + at);                                               \
        } else {                                                                                   \
            WORD old[2 * LANES(REAL)] = {0}, new[2 * LANES(REAL)];                                 \
            memcpy(old, base + at, n * sizeof(WORD));                                              \
            FINISH(one, other, old, new);                                                          \
            memcpy(out + at, new, n * sizeof(WORD));                                               \
        }                                                                                          \
    }                                                                                              \
    void theta_##NAME(const REAL *left, const REAL *right, const WORD *base, WORD *out,            \
                      int64_t rows, int64_t width, int64_t rank, int64_t columns) {                \
        PRODUCT(REAL, VECTOR, ORDER, finish_##NAME, base, out);                                    \
    }

/* left [rows, rank]; right [rank, width] of rows that are `columns` long; base, out [rows, width] */
LOW_RANK(low_rank_bf16, float, floats, IN_PAIRS, uint16_t, finish_bf16)
LOW_RANK(low_rank_bf16_wide, double, doubles, IN_PAIRS, uint16_t, finish_bf16_wide)
LOW_RANK(low_rank_f32_wide, double, doubles, IN_ORDER, uint32_t, finish_f32_wide)

/* ---- residuals, sorted by the exponents of what was predicted ---------------------------------- */

/* A stable counting sort. Four quarters are gone through side by side: exponents are mostly the
   same, and each quarter has counters of its own, so that none waits for the one before. */

enum { KEYS = 2048, QUARTERS = 4 };

#define QUARTERED(WORD, BODY)                                                                      \
    do {                                                                                           \
        int64_t quarter = n / QUARTERS, last = n - (QUARTERS - 1) * quarter;                       \
        for (int64_t j = 0; j < last; j++)                                                         \
            for (int q = j < quarter ? 0 : QUARTERS - 1; q < QUARTERS; q++) {                      \
                int64_t i = q * quarter + j;                                                       \
                uint32_t key = (uint32_t)(predicted[i] >> shift) & (uint32_t)mask;                 \
                BODY;                                                                              \
            }                                                                                      \
    } while (0)

#define SORTED(WORD, SIGNED, BITS)                                                                 \
    INLINE void starts_##BITS(const WORD *predicted, int64_t n, int shift, uint32_t mask,          \
                              uint32_t (*at)[KEYS]) {                                              \
        for (int q = 0; q < QUARTERS; q++) memset(at[q], 0, (mask + 1) * sizeof(uint32_t));        \
        QUARTERED(WORD, at[q][key]++);                                                             \
        uint32_t before = 0;                                                                       \
        for (uint32_t key = 0; key <= mask; key++)                                                 \
            for (int q = 0; q < QUARTERS; q++) {                                                   \
                uint32_t count = at[q][key];                                                       \
                at[q][key] = before;                                                               \
                before += count;                                                                   \
            }                                                                                      \
    }                                                                                              \
    /* new - predicted in zigzag order, sorted */                                                  \
    void theta_missed_##BITS(const WORD *new, const WORD *predicted, WORD *out, int64_t n,         \
                             int64_t shift, int64_t mask) {                                        \
        uint32_t at[QUARTERS][KEYS];                                                               \
        starts_##BITS(predicted, n, (int)shift, (uint32_t)mask, at);                               \
        QUARTERED(WORD, WORD missed = (WORD)(new[i] - predicted[i]);                               \
                  out[at[q][key]++] = ZIGZAG(WORD, SIGNED, BITS, missed));                         \
    }                                                                                              \
    /* what was missed, added to what was predicted */                                             \
    void theta_restored_##BITS(const WORD *stored, const WORD *predicted, WORD *out, int64_t n,    \
                               int64_t shift, int64_t mask) {                                      \
        uint32_t at[QUARTERS][KEYS];                                                               \
        starts_##BITS(predicted, n, (int)shift, (uint32_t)mask, at);                               \
        QUARTERED(WORD, WORD missed = stored[at[q][key]++];                                        \
                  out[i] = (WORD)(predicted[i] + UNZIGZAG(WORD, missed)));                         \
    }

SORTED(uint8_t, int8_t, 8)
SORTED(uint16_t, int16_t, 16)
SORTED(uint32_t, int32_t, 32)
SORTED(uint64_t, int64_t, 64)

/* ---- byte planes ------------------------------------------------------------------------------- */

/* Words as planes of their bytes, one after another, the lowest first; the sign of floats is rotated
   to the low end. */
#define PLANES(WORD, BITS)                                                                         \
    void theta_split_##BITS(const WORD *words, uint8_t *planes, int64_t n,                         \
                            int64_t rotate) {                                                      \
        for (int k = 0; k < BITS / 8; k++) {                                                       \
            uint8_t *plane = planes + k * n;                                                       \
            if (rotate)                                                                            \
                for (int64_t i = 0; i < n; i++) {                                                  \
                    WORD word = (WORD)(words[i] << 1) | (WORD)(words[i] >> (BITS - 1));            \
                    plane[i] = (uint8_t)(word >> (8 * k));                                         \
                }                                                                                  \
            else                                                                                   \
                for (int64_t i = 0; i < n; i++) plane[i] = (uint8_t)(words[i] >> (8 * k));         \
        }                                                                                          \
    }                                                                                              \
    void theta_join_##BITS(const uint8_t *const *planes, WORD *words, int64_t n,                   \
                           int64_t rotate) {                                                       \
        for (int64_t start = 0; start < n; start += 4096) {                                        \
            int64_t end = start + 4096 < n ? start + 4096 : n;                                     \
            for (int64_t i = start; i < end; i++) {                                                \
                WORD word = 0;                                                                     \
                for (int k = 0; k < BITS / 8; k++) word |= (WORD)((WORD)planes[k][i] << (8 * k));  \
                words[i] = rotate ? (WORD)(word >> 1) | (WORD)(word << (BITS - 1)) : word;         \
            }                                                                                      \
        }                                                                                          \
    }

PLANES(uint16_t, 16)
PLANES(uint32_t, 32)
PLANES(uint64_t, 64)

/* ---- where numbers differ ---------------------------------------------------------------------- */

enum { BLOCK = 65536, GROUP = 64 };

/* Of each number in which `new` differs from `base`: the gap to the one before or to its block's
   begin, its bits, and its difference in zigzag order; each has room for n. Counts of blocks; how
   many in all. */
#define CHANGES(WORD, SIGNED, BITS)                                                                \
    int64_t theta_changes_##BITS(const WORD *new, const WORD *base, int64_t n, uint32_t *counts,   \
                                 uint16_t *gaps, WORD *values, WORD *differences) {                \
        int64_t found = 0;                                                                         \
        for (int64_t start = 0; start < n; start += BLOCK) {                                       \
            int64_t end = start + BLOCK < n ? start + BLOCK : n, before = start - 1;               \
            int64_t first = found;                                                                 \
            for (int64_t i = start; i < end; i += GROUP) {                                         \
                int64_t last = i + GROUP < end ? i + GROUP : end;                                  \
                WORD any = 0;                                                                      \
                for (int64_t j = i; j < last; j++) any |= new[j] ^ base[j];                        \
                if (!any) continue;                                                                \
                int64_t here[GROUP + 1];                                                           \
                int count = 0;                                                                     \
                for (int64_t j = i; j < last; j++) {                                               \
                    here[count] = j;                                                               \
                    count += new[j] != base[j];                                                    \
                }                                                                                  \
                for (int k = 0; k < count; k++) {                                                  \
                    int64_t at = here[k];                                                          \
                    WORD difference = (WORD)(new[at] - base[at]);                                  \
                    gaps[found] = (uint16_t)(at - before - 1);                                     \
                    values[found] = new[at];                                                       \
                    differences[found] = ZIGZAG(WORD, SIGNED, BITS, difference);                   \
                    before = at;                                                                   \
                    found++;                                                                       \
                }                                                                                  \
            }                                                                                      \
            counts[start / BLOCK] = (uint32_t)(found - first);                                     \
        }                                                                                          \
        return found;                                                                              \
    }                                                                                              \
    /* Changes numbers `first` and on, `n` of them, by what blocks from `block` on say of them: sets \
       bits, or adds differences. The number of changes; -1 where one lies beyond its block or the \
       `total` of numbers. */                                                                      \
    int64_t theta_patch_##BITS(WORD *out, int64_t first, int64_t n, int64_t total, int64_t block,  \
                               int64_t blocks, const uint32_t *counts, const uint16_t *gaps,       \
                               const WORD *values, int64_t add) {                                  \
        int64_t done = 0;                                                                          \
        for (int64_t b = 0; b < blocks; b++) {                                                     \
            int64_t start = (block + b) * BLOCK, at = start - 1;                                   \
            int64_t end = start + BLOCK < total ? start + BLOCK : total;                           \
            for (uint32_t k = 0; k < counts[b]; k++, done++) {                                     \
                at += gaps[done] + 1;                                                              \
                if (at >= end) return -1;                                                          \
                if (at < first || at >= first + n) continue;                                       \
                WORD value = values[done];                                                         \
                out[at - first] = add ? (WORD)(out[at - first] + UNZIGZAG(WORD, value)) : value;   \
            }                                                                                      \
        }                                                                                          \
        return done;                                                                               \
    }

CHANGES(uint8_t, int8_t, 8)
CHANGES(uint16_t, int16_t, 16)
CHANGES(uint32_t, int32_t, 32)
CHANGES(uint64_t, int64_t, 64)

/* ---- BF16 as binary32 -------------------------------------------------------------------------- */

typedef union {
    uint32_t word;
    float value;
} single;

void theta_widen_bf16(const uint16_t *bits, uint32_t *out, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = (uint32_t)bits[i] << 16;
}

void theta_round_bf16(const uint32_t *values, const uint16_t *otherwise, uint16_t *out, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        uint32_t u = values[i], high = (u + 0x7FFF + ((u >> 16) & 1)) >> 16;
        int fits = (u & 0x7F800000) != 0x7F800000 && (high & 0x7F80) != 0x7F80;
        out[i] = fits ? (uint16_t)high : otherwise[i];
    }
}

/* ---- what sharpens factors --------------------------------------------------------------------- */

/* new - base, 0 where that is not finite. */
void theta_subtract_bf16(const uint16_t *new, const uint16_t *base, float *out, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        single one = {.word = (uint32_t)new[i] << 16}, other = {.word = (uint32_t)base[i] << 16};
        single difference = {.value = one.value - other.value};
        difference.word = (difference.word & 0x7F800000) == 0x7F800000 ? 0 : difference.word;
        out[i] = difference.value;
    }
}

void theta_subtract_f32(const float *new, const float *base, double *out, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        union {
            uint64_t word;
            double value;
        } difference = {.value = (double)new[i] - (double)base[i]};
        uint64_t fits = -(uint64_t)((difference.word >> 52 & 0x7FF) != 0x7FF);
        difference.word &= fits;
        out[i] = difference.value;
    }
}

/* The inverse square of the power of two below each number, with a floor; see updates/sharpen.py. */
INLINE uint32_t weight(uint32_t word, uint32_t least) {
    uint32_t exponent = word & 0x7F800000, most = least + (30u << 23);
    exponent = exponent > least ? exponent : least;
    exponent = exponent < most ? exponent : most;
    return (127u << 23) + 2 * least - 2 * exponent;
}

void theta_weights_bf16(const uint16_t *new, int64_t least, uint32_t *out, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = weight((uint32_t)new[i] << 16, (uint32_t)least);
}

void theta_weights_f32(const uint32_t *new, int64_t least, uint32_t *out, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = weight(new[i], (uint32_t)least);
}

/* out = (difference - left @ right) * weights; left [rows, rank], right [rank, columns] */
#define WEIGHED(NAME, REAL, VECTOR, FEW)                                                           \
    INLINE void finish_##NAME(VECTOR one, VECTOR other, int64_t at, int64_t n,                     \
                              const REAL *difference, const float *weights, REAL *out) {           \
        for (int64_t k = 0; k < 2; k++, at += LANES(REAL), n -= LANES(REAL)) {                     \
            VECTOR sum = k ? other : one;                                                          \
            if (n >= LANES(REAL)) {                                                                \
                VECTOR weight = __builtin_convertvector(*(const FEW *)(weights + at), VECTOR);     \
                *(VECTOR *)(out + at) = (*(const VECTOR *)(difference + at) - sum) * weight;       \
            } else {                                                                               \
                for (int64_t i = 0; i < n; i++)                                                    \
                    out[at + i] = (difference[at + i] - sum[i]) * weights[at + i];                 \
            }                                                                                      \
        }                                                                                          \
    }                                                                                              \
    void theta_weighed_##NAME(const REAL *left, const REAL *right, const REAL *difference,         \
                              const float *weights, REAL *out, int64_t rows, int64_t rank,         \
                              int64_t columns) {                                                   \
        const int64_t width = columns;                                                             \
        PRODUCT(REAL, VECTOR, IN_ORDER, finish_##NAME, difference, weights, out);                  \
    }

WEIGHED(f32, float, floats, floats)
WEIGHED(f64, double, doubles, floats_few)

/* ---- which of the libraries to take ------------------------------------------------------------ */

/* The CRC-32 of this file: Python takes no library that was made of another. */
const uint32_t theta_source = THETA_SOURCE;

/* The level of x86-64 that this machine has, at least 2; 0 on others. */
int theta_level(void) {
#if defined(__x86_64__)
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") ||
        !__builtin_cpu_supports("bmi") || !__builtin_cpu_supports("bmi2"))
        return 2;
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                   __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                   __builtin_cpu_supports("avx512vl")
               ? 4
               : 3;
#else
    return 0;
#endif
}
