/* What step.c and encode.c share: functions and loops that are compiled once for each instruction set. */

#ifndef ARITHMETIC_H
#define ARITHMETIC_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))
#define JOIN(name, path) name##_##path
#define NAME(name, path) JOIN(name, path)
#define IN(name) NAME(name, PATH) /* a function's name for the instruction set that is being compiled */

enum { SCALAR, AVX2, AVX512, VNNI, PATHS }; /* instruction sets; what this processor has, step.c says */

INLINE float from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

INLINE float nearest(float x) { /* to the nearest whole number, for |x| < 2^22, in any instruction set */
    return x + 12582912.f - 12582912.f;
}

INLINE int64_t padded(int64_t count, int64_t to) { return (count + to - 1) / to * to; }

#endif
