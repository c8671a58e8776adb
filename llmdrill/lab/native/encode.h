/* The arithmetic of encode.c for one instruction set: included once for each, with PATH, TARGET, LANES (of a register),
   TILE (rows whose sums fit the registers) and ADD_PAIRS defined. TARGET must stand on every function. */

#define Lanes IN(LanesOf)
#define Whole IN(WholeOf)
#define Words IN(WordsOf)
#define Loose IN(LooseOf)
#define WIDE 2 /* registers of a matrix's rows that meet each row of activations */
typedef float Lanes __attribute__((vector_size(4 * LANES)));
typedef int32_t Whole __attribute__((vector_size(4 * LANES)));
typedef uint32_t Words __attribute__((vector_size(4 * LANES)));
typedef float Loose __attribute__((vector_size(4 * LANES), aligned(4), may_alias)); /* wherever it lies in memory */

TARGET INLINE Lanes IN(at)(const float *x) { return *(const Loose *)x; }
TARGET INLINE void IN(to)(float *x, Lanes value) { *(Loose *)x = value; }
TARGET INLINE Lanes IN(size)(Lanes x) { return (Lanes)((Whole)x & 0x7fffffff); }

/* To the nearest whole number, for |x| < 2^22. */
TARGET INLINE Whole IN(whole)(Lanes x) { return __builtin_convertvector(x + MAGIC - MAGIC, Whole); }

TARGET INLINE float IN(sum)(Lanes x) {
    Four part[LANES / 4];
    memcpy(part, &x, sizeof x);
    for (int i = 1; i < LANES / 4; i++) part[0] += part[i];
    return (part[0][0] + part[0][1]) + (part[0][2] + part[0][3]);
}

/* 2^x for -126 <= x <= 0 to 3e-7: of the whole part the exponent, of the rest a polynomial, fitted as gelu's is. */
TARGET INLINE Lanes IN(power)(Lanes x) {
    const Lanes magic = x + MAGIC, rest = x - (magic - MAGIC); /* magic's last bits are the whole part */
    Lanes p = rest * 0.00132764712f + 0.00967554186f;
    p = p * rest + 0.0555071328f, p = p * rest + 0.240221197f, p = p * rest + 0.693146967f, p = p * rest + 1.f;
    return (Lanes)((Whole)p + (Whole)((Words)magic << 23));
}

/* TILE rows of activations times WIDE * LANES rows of a matrix: out = scale_x scale_m (x m^T) + bias. */
TARGET INLINE void IN(product)(const Matrix *m, int64_t row, const Rows *x, int64_t first, int64_t rows, float *out, const int type) {
    const Unit *w = (const Unit *)m->values + (row - row % PANEL) * m->units + row % PANEL;
    const Unit *from = (const Unit *)x->values + (first - first % ROWS) * m->units + first % ROWS * LINE;
    Lanes sum[TILE][WIDE];
    Whole whole[TILE][WIDE];
    for (int r = 0; r < TILE; r++)
        for (int j = 0; j < WIDE; j++) sum[r][j] = (Lanes){0}, whole[r][j] = (Whole){0};
    /* While these rows meet this panel, their share of the next one is fetched. */
    const int64_t share = rows > QUERIES ? (PANEL * TILE + rows - 1) / rows : 0;
    const Unit *ahead = w + m->units * PANEL + first / TILE * share * m->units;
    for (int64_t line = 0; line < m->units; line += LINE, from += ROWS * LINE) {
        for (int i = 0; i < share; i++, ahead += LINE) __builtin_prefetch(ahead, 0, 2);
        for (int u = 0; u < LINE; u++, w += PANEL) {
            const Lanes a = *(const Loose *)w, b = *(const Loose *)(w + LANES);
#pragma GCC unroll 12
            for (int r = 0; r < TILE; r++)
                if (type == FP32) {
                    const float value = from_bits(from[r * LINE + u]);
                    sum[r][0] += a * value, sum[r][1] += b * value;
                } else {
                    const Whole pair = (Whole){0} + (int32_t)from[r * LINE + u];
                    whole[r][0] = ADD_PAIRS(whole[r][0], (Whole)a, pair), whole[r][1] = ADD_PAIRS(whole[r][1], (Whole)b, pair);
                }
        }
    }
    for (int j = 0; j < WIDE; j++) {
        Lanes bias = {0}, scale = {0};
        if (m->bias) bias = *(const Loose *)(m->bias + row + j * LANES);
        if (type == INT16) scale = *(const Loose *)(m->scales + row + j * LANES);
        for (int r = 0; r < TILE; r++) {
            if (type == INT16) sum[r][j] = __builtin_convertvector(whole[r][j], Lanes) * (scale * x->scales[first + r]);
            *(Loose *)(out + (first + r) * m->rows + row + j * LANES) = sum[r][j] + bias;
        }
    }
}

TARGET static void IN(multiply_fp32)(const Matrix *m, const Rows *x, int64_t rows, float *out) {
    for (int64_t row = 0; row < m->rows; row += WIDE * LANES)
        for (int64_t first = 0; first < rows; first += TILE) IN(product)(m, row, x, first, rows, out, FP32);
}

TARGET static void IN(multiply_int16)(const Matrix *m, const Rows *x, int64_t rows, float *out) {
    for (int64_t row = 0; row < m->rows; row += WIDE * LANES)
        for (int64_t first = 0; first < rows; first += TILE) IN(product)(m, row, x, first, rows, out, INT16);
}

/* The scale that brings a row to the length NORM, from the sum of its squares. */
TARGET INLINE float IN(scale_of)(float squares) { return sqrtf(squares > LEAST ? squares : LEAST) / NORM; }

TARGET static float IN(scale)(const float *x, int64_t count) {
    Lanes squares = {0};
    for (int64_t i = 0; i < count; i += LANES) {
        const Lanes y = IN(at)(x + i);
        squares += y * y;
    }
    return IN(scale_of)(IN(sum)(squares));
}

/* Write x * inverse as one row of activations. */
TARGET static void IN(put)(const float *x, int64_t count, float inverse, int type, int64_t row, Rows *rows) {
    const int64_t unit = type == FP32 ? 1 : UNIT, units = count / unit;
    Unit *to = (Unit *)rows->values + (row - row % ROWS) * units + row % ROWS * LINE;
    for (int64_t at = 0; at < count; at += LINE * unit, to += ROWS * LINE)
        if (type == FP32)
#pragma omp simd
            for (int i = 0; i < LINE; i++) ((float *)to)[i] = x[at + i] * inverse;
        else
#pragma omp simd
            for (int i = 0; i < LINE * UNIT; i++) ((int16_t *)to)[i] = (int16_t)(int32_t)nearest(x[at + i] * inverse);
}

/* Lay out one head's keys (count, size) as a matrix whose product with queries is their scores. */
TARGET static void IN(keys)(const float *k, int64_t stride, int64_t count, int64_t size, Matrix *keys, int type) {
    const int64_t units = type == FP32 ? size : size / UNIT;
    union { int16_t half[MAX_HEAD]; uint32_t unit[MAX_HEAD]; } row;
    keys->rows = padded(count, PANEL), keys->units = units;
    memset((Unit *)keys->values + (keys->rows - PANEL) * units, 0, (size_t)(PANEL * units * 4));
    memset(keys->scales, 0, (size_t)keys->rows * 4);
    for (int64_t t = 0; t < count; t++) {
        Unit *to = (Unit *)keys->values + (t - t % PANEL) * units + t % PANEL;
        const float *from = k + t * stride;
        if (type == FP32) memcpy(row.unit, from, (size_t)size * 4);
        else {
            const float scale = keys->scales[t] = IN(scale)(from, size), inverse = 1 / scale;
            for (int64_t i = 0; i < size; i++) row.half[i] = (int16_t)(int32_t)nearest(from[i] * inverse);
        }
        for (int64_t u = 0; u < units; u++) to[u * PANEL] = row.unit[u];
    }
}

/* Lay out one head's values (count, size), turned, as a matrix whose product with shares of attention is what is seen. */
TARGET static void IN(values)(const float *v, int64_t stride, int64_t count, int64_t size, Matrix *values, int type) {
    const int64_t unit = type == FP32 ? 1 : UNIT, units = padded(count, PANEL) / unit;
    values->rows = size, values->units = units;
    for (int64_t from = 0; from < size; from += LANES, v += LANES) {
        Unit *to = (Unit *)values->values + (from - from % PANEL) * units + from % PANEL;
        Lanes squares = {0}, inverse = {0};
        for (int64_t t = 0; t < count && type == INT16; t++) {
            const Lanes x = IN(at)(v + t * stride);
            squares += x * x;
        }
        for (int i = 0; i < LANES && type == INT16; i++)
            values->scales[from + i] = IN(scale_of)(squares[i]), inverse[i] = 1 / values->scales[from + i];
        for (int64_t u = 0; u < units; u++, to += PANEL) {
            const int64_t t = u * unit;
            const Lanes a = t < count ? IN(at)(v + t * stride) : (Lanes){0}, b = t + 1 < count ? IN(at)(v + (t + 1) * stride) : (Lanes){0};
            if (type == FP32) IN(to)((float *)to, a);
            else IN(to)((float *)to, (Lanes)((IN(whole)(a * inverse) & 0xffff) | IN(whole)(b * inverse) << 16));
        }
    }
}

/* Layer normalisation of x, or of x + add; returns the scale of the result. */
TARGET static float IN(norm)(float *x, const float *add, const float *gain, const float *bias, int64_t count, float eps) {
    Lanes sums = {0}, spreads = {0}, squares = {0};
    for (int64_t i = 0; i < count; i += LANES) {
        const Lanes y = add ? IN(at)(x + i) + IN(at)(add + i) : IN(at)(x + i);
        IN(to)(x + i, y), sums += y;
    }
    const float mean = IN(sum)(sums) / (float)count;
    for (int64_t i = 0; i < count; i += LANES) {
        const Lanes y = IN(at)(x + i) - mean;
        spreads += y * y;
    }
    const float scale = 1.f / sqrtf(IN(sum)(spreads) / (float)count + eps);
    for (int64_t i = 0; i < count; i += LANES) {
        const Lanes y = (IN(at)(x + i) - mean) * scale * IN(at)(gain + i) + IN(at)(bias + i);
        IN(to)(x + i, y), squares += y * y;
    }
    return IN(scale_of)(IN(sum)(squares));
}

/* Softmax of `count` scores times `factor`, but for the division by their sum; returns the scale of the result. */
TARGET static float IN(softmax)(float *x, int64_t count, float factor, float *sum) {
    const int64_t all = padded(count, PANEL);
    Lanes most = IN(at)(x), sums = {0};
    for (int64_t i = count; i < all; i++) x[i] = -INFINITY;
    for (int64_t i = 0; i < all; i += LANES) most = LARGER(most, IN(at)(x + i));
    float highest = most[0];
    for (int i = 1; i < LANES; i++) highest = most[i] > highest ? most[i] : highest;
    const float in_twos = factor * 1.44269504f, start = highest * in_twos;
    for (int64_t i = 0; i < all; i += LANES) {
        const Lanes y = IN(power)(LARGER(IN(at)(x + i) * in_twos - start, (Lanes){0} - 126.f));
        IN(to)(x + i, y), sums += y;
    }
    *sum = IN(sum)(sums);
    return IN(scale_of)(*sum); /* none is above 1, so their squares add up to no more */
}

/* x / 2 (1 + erf(x / sqrt 2)); returns the scale of the result.
   The tail of the normal distribution is 2^(-z^2) times a polynomial in z = |x| sqrt(log2(e) / 2), which was fitted for
   |x| up to 5.9 by least squares reweighted towards the largest error; what comes out is off by at most 5e-7. */
TARGET static float IN(gelu)(float *x, int64_t count) {
    Lanes squares = {0};
    for (int64_t i = 0; i < count; i += LANES) {
        const Lanes at = IN(at)(x + i), size = IN(size)(at), z = LARGER(size * -0.8493218f, (Lanes){0} - 5.0109986f), zz = z * z;
        const Lanes a = z * 0.469488666f + 0.499988936f, b = z * 0.211183525f + 0.344923184f, c = z * 0.0442282267f + 0.107976836f;
        const Lanes d = z * 0.00282896492f + 0.0135386344f, e = z * 1.95767447e-05f + 0.000352925874f; /* z is below 0 here */
        const Lanes tail = ((((e * zz + d) * zz + c) * zz + b) * zz + a) * IN(power)(-zz);
        const Lanes y = LARGER(at, (Lanes){0}) - size * tail;
        IN(to)(x + i, y), squares += y * y;
    }
    return IN(scale_of)(IN(sum)(squares));
}

#undef Lanes
#undef Whole
#undef Words
#undef Loose
#undef WIDE
#undef PATH
#undef TARGET
#undef LANES
#undef TILE
#undef ADD_PAIRS
#undef LARGER
