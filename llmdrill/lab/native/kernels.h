/* The arithmetic of step.c for one instruction set: included once for each, with PATH, TARGET and TILE (the tokens whose
   sums fit its registers) defined. TARGET must stand on every function, or vectors are taken apart before inlining. */

typedef float IN(Lanes) __attribute__((vector_size(4 * BLOCK)));
typedef uint32_t IN(Words) __attribute__((vector_size(4 * BLOCK)));
typedef uint16_t IN(Halves) __attribute__((vector_size(2 * BLOCK)));

TARGET INLINE void IN(product)(const void *weights, const Input *x, int64_t columns, float *out, const int tokens, int type) {
    IN(Lanes) sum[TILE][CHAINS], w;
    for (int t = 0; t < tokens; t++) memset(sum[t], 0, sizeof sum[t]);
    for (int64_t c = 0; c < columns; c += CHAINS)
        for (int j = 0; j < CHAINS; j++) {
            if (type == FP32) {
                const float *at = (const float *)weights + (c + j) * BLOCK;
                memcpy(&w, at, sizeof w);
                __builtin_prefetch((const char *)at + AHEAD_BYTES);
            } else {
                IN(Halves) half;
                memcpy(&half, (const uint16_t *)weights + (c + j) * BLOCK, sizeof half);
                if (j == 0) __builtin_prefetch((const char *)((const uint16_t *)weights + c * BLOCK) + AHEAD_BYTES);
                IN(Words) wide = __builtin_convertvector(half, IN(Words)) << 16;
                memcpy(&w, &wide, sizeof w);
            }
            for (int t = 0; t < tokens; t++) sum[t][j] += w * x[t].values[c + j];
        }
    for (int t = 0; t < tokens; t++) {
        w = sum[t][0] + sum[t][1];
        memcpy(out + t * BLOCK, &w, sizeof w);
    }
}

TARGET static void IN(multiply_fp32)(const void *weights, const Input *x, int64_t columns, int64_t tokens, float *out) {
    IN_TILES(IN(product), TILE, FP32)
}

TARGET static void IN(multiply_bf16)(const void *weights, const Input *x, int64_t columns, int64_t tokens, float *out) {
    IN_TILES(IN(product), TILE, BF16)
}

TARGET INLINE void IN(dot)(const void *const row[TOGETHER], const float *x, int64_t count, float *out, int type) {
    float a = 0, b = 0, c = 0, d = 0;
    const void *ra = row[0], *rb = row[1], *rc = row[2], *rd = row[3];
#pragma omp simd reduction(+ : a, b, c, d)
    for (int64_t i = 0; i < count; i++) {
        a += at(ra, i, type) * x[i], b += at(rb, i, type) * x[i];
        c += at(rc, i, type) * x[i], d += at(rd, i, type) * x[i];
    }
    out[0] = a, out[1] = b, out[2] = c, out[3] = d;
}

/* Round a row group by group; an INT8 dot product reads the result. */
TARGET static float IN(round)(const float *x, int64_t stride, int8_t *rounded, float *scales) {
    float offset = 0;
    for (int64_t g = 0; g < stride / GROUP; g++) {
        const float *from = x + g * GROUP;
        int8_t *to = rounded + g * GROUP;
        float largest = 0;
        int32_t sum = 0;
#pragma omp simd reduction(max : largest)
        for (int i = 0; i < GROUP; i++) largest = fabsf(from[i]) > largest ? fabsf(from[i]) : largest;
        float scale = largest / 127.f, inverse = largest > 1e-30f ? 127.f / largest : 0.f;
#pragma omp simd reduction(+ : sum)
        for (int i = 0; i < GROUP; i++) {
            int32_t whole = (int32_t)nearest(from[i] * inverse);
            to[i] = (int8_t)whole, sum += whole;
        }
        scales[g] = scale, offset += 128.f * scale * (float)sum;
    }
    return offset;
}

/* One head's query over `length` cached positions; the softmax is kept running from one piece to the next. */
TARGET INLINE void IN(attend_over)(const float *q, const void *keys, const void *values, int64_t length, int64_t size, float *out,
                        int type) {
    const int64_t width = type == FP32 ? 4 : 2;
    float scores[POSITIONS + TOGETHER], highest = -INFINITY, total = 0, scale = 1.f / sqrtf((float)size);
    memset(out, 0, (size_t)size * sizeof *out);
    for (int64_t start = 0; start < length; start += POSITIONS) {
        int64_t count = length - start < POSITIONS ? length - start : POSITIONS;
        const char *k = (const char *)keys + start * size * width, *v = (const char *)values + start * size * width;
        float before = highest;
        for (int64_t i = 0; i < count; i += TOGETHER) {
            const void *row[TOGETHER];
            for (int64_t j = 0; j < TOGETHER; j++) row[j] = k + (i + j < count ? i + j : count - 1) * size * width;
            IN(dot)(row, q, size, scores + i, type);
        }
#pragma omp simd reduction(max : highest)
        for (int64_t i = 0; i < count; i++) highest = scores[i] * scale > highest ? scores[i] * scale : highest;
        float kept = exponential(before - highest), sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < count; i++) sum += scores[i] = exponential(scores[i] * scale - highest);
        for (int64_t i = count; i < count + TOGETHER; i++) scores[i] = 0;
        total = total * kept + sum;
        for (int64_t j = 0; j < size; j++) out[j] *= kept;
        for (int64_t i = 0; i < count; i += TOGETHER) {
            const void *row[TOGETHER];
            for (int64_t j = 0; j < TOGETHER; j++) row[j] = v + (i + j < count ? i + j : count - 1) * size * width;
            const void *ra = row[0], *rb = row[1], *rc = row[2], *rd = row[3];
            float a = scores[i], b = scores[i + 1], c = scores[i + 2], d = scores[i + 3];
#pragma omp simd
            for (int64_t j = 0; j < size; j++)
                out[j] += a * at(ra, j, type) + b * at(rb, j, type) + c * at(rc, j, type) + d * at(rd, j, type);
        }
    }
    for (int64_t j = 0; j < size; j++) out[j] /= total;
}

TARGET static void IN(attend_fp32)(const float *q, const void *k, const void *v, int64_t n, int64_t d, float *out) {
    IN(attend_over)(q, k, v, n, d, out, FP32);
}

TARGET static void IN(attend_bf16)(const float *q, const void *k, const void *v, int64_t n, int64_t d, float *out) {
    IN(attend_over)(q, k, v, n, d, out, BF16);
}

TARGET static void IN(norm)(const float *x, const float *gain, int64_t count, float eps, float *out) {
    float squares = 0;
#pragma omp simd reduction(+ : squares)
    for (int64_t i = 0; i < count; i++) squares += x[i] * x[i];
    float scale = 1.f / sqrtf(squares / (float)count + eps);
#pragma omp simd
    for (int64_t i = 0; i < count; i++) out[i] = x[i] * scale * gain[i];
}

TARGET static void IN(gate)(float *gate, const float *up, int64_t count) {
#pragma omp simd
    for (int64_t i = 0; i < count; i++) gate[i] = gate[i] / (1.f + exponential(-gate[i])) * up[i];
}

TARGET static uint64_t IN(read)(const uint64_t *words, int64_t count) {
    uint64_t sum = 0;
#pragma omp simd reduction(^ : sum)
    for (int64_t i = 0; i < count; i++) sum ^= words[i];
    return sum;
}

#undef PATH
#undef TARGET
#undef TILE
