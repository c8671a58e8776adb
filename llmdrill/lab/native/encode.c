/* The forward pass of a BERT encoder over sequences that lie one behind the other, without padding between them.

   One call does one chunk of sequences on the thread that calls, so threads share nothing but the weights; a chunk is
   small enough for its activations to stay in the cache. Every matrix product, attention's two among them, is one
   function: TILE rows of activations times two registers of the matrix's rows, all sums in registers.

   A unit is what one multiplication takes from each side, 4 bytes: one fp32, or two int16 of neighbouring columns.
   Matrices lie as (rows / PANEL, units, PANEL), activations as (rows / ROWS, units / LINE, ROWS, LINE); rows, and units
   to whole LINEs, are padded with zeros, so no loop has a rest.
   int16: every row, of the weights and of the activations, is divided by a scale that makes its length NORM, and
   rounded. Then no value leaves int16, no dot product of two rows leaves int32 (Cauchy-Schwarz), and sums are exact.
   What rounding does is about a ten-thousandth of a row's length: a tenth of what bf16 does.
   The loops are plain C (encode.h), compiled once for each instruction set; only int16 names instructions.
   The wrapper (encoder.py) checks every argument: nothing here does. */

#include "arithmetic.h"

#include <stdlib.h>

#define PANEL 32     /* rows of a matrix that lie together, one in each lane */
#define ROWS 12      /* rows of activations that do; every TILE divides it */
#define LINE 16      /* units of one cache line */
#define UNIT 2       /* columns of int16 in a unit */
#define QUERIES 24   /* whose scores are held at once */
#define TOKENS 96    /* that pass through the wide layer together */
#define MAX_HEAD 512
#define NORM 32700.f /* the length of a row of int16 */
#define LEAST 1e-37f /* squares, of a row of zeros */
#define MAGIC 12582912.f /* 1.5 * 2^23: a float of this size has no room for a fraction */

enum { FP32, INT16, TYPES };

typedef uint32_t Unit __attribute__((may_alias));
typedef float Four __attribute__((vector_size(16)));

typedef struct {
    int64_t rows, units; /* in memory: whole panels, whole lines */
    void *values;
    float *scales;     /* of each row; int16 only */
    const float *bias; /* may be null */
} Matrix;

typedef struct {
    Matrix qkv, out, up, down;
    const float *attention_gain, *attention_bias, *output_gain, *output_bias;
} Layer;

typedef struct {
    int64_t layers, hidden, heads, intermediate, type;
    double norm_eps;
    const Layer *layer;
    const float *words, *positions, *gain, *bias; /* positions: the token type's vector added */
} Model;

typedef struct {
    int64_t sequences;
    const int64_t *start; /* of each sequence in ids, and the end of the last: (sequences + 1,) */
    const int64_t *ids;
    float *x; /* (tokens, hidden): the last hidden state */
} Chunk;

/* Rows of activations as a product reads them. */
typedef struct {
    void *values;
    float *scales; /* of each row; int16 only */
} Rows;

typedef struct { /* each says in encode.h what it does */
    void (*multiply[TYPES])(const Matrix *m, const Rows *x, int64_t rows, float *out);
    void (*keys)(const float *k, int64_t stride, int64_t count, int64_t size, Matrix *keys, int type);
    void (*values)(const float *v, int64_t stride, int64_t count, int64_t size, Matrix *values, int type);
    void (*put)(const float *x, int64_t count, float inverse, int type, int64_t row, Rows *rows);
    float (*scale)(const float *x, int64_t count);
    float (*norm)(float *x, const float *add, const float *gain, const float *bias, int64_t count, float eps);
    float (*softmax)(float *x, int64_t count, float factor, float *sum);
    float (*gelu)(float *x, int64_t count);
} Kernels;

#define PATH scalar
#define TARGET
#define LANES 4
#define TILE 6
/* Add the products of pairs of int16. */
#define ADD_PAIRS(sum, w, x)                                                                            \
    ((sum) + ((Whole)((Words)(w) << 16) >> 16) * ((Whole)((Words)(x) << 16) >> 16) + ((w) >> 16) * ((x) >> 16))
#define LARGER(a, b) (Lanes)(((Whole)(a) & ((a) > (b))) | ((Whole)(b) & ~((a) > (b))))
#include "encode.h"

#if defined(__x86_64__)
#define PATH avx2
#define TARGET __attribute__((target("avx2,fma")))
#define LANES 8
#define TILE 6
#define ADD_PAIRS(sum, w, x) (Whole)_mm256_add_epi32((__m256i)(sum), _mm256_madd_epi16((__m256i)(w), (__m256i)(x)))
#define LARGER(a, b) (Lanes)_mm256_max_ps((__m256)(a), (__m256)(b))
#include "encode.h"

#define PATH avx512
#define TARGET __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")))
#define LANES 16
#define TILE 12
#define ADD_PAIRS(sum, w, x) (Whole)_mm512_add_epi32((__m512i)(sum), _mm512_madd_epi16((__m512i)(w), (__m512i)(x)))
#define LARGER(a, b) (Lanes)_mm512_max_ps((__m512)(a), (__m512)(b))
#include "encode.h"

#define PATH vnni
#define TARGET __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))
#define LANES 16
#define TILE 12
#define ADD_PAIRS(sum, w, x) (Whole)_mm512_dpwssd_epi32((__m512i)(sum), (__m512i)(w), (__m512i)(x))
#define LARGER(a, b) (Lanes)_mm512_max_ps((__m512)(a), (__m512)(b))
#include "encode.h"
#endif

#define KERNELS(path)                                                                                   \
    {{multiply_fp32_##path, multiply_int16_##path}, keys_##path, values_##path, put_##path, scale_##path, \
     norm_##path, softmax_##path, gelu_##path}
static const Kernels KERNELS_OF[PATHS] = {
    [SCALAR] = KERNELS(scalar),
#if defined(__x86_64__)
    [AVX2] = KERNELS(avx2), [AVX512] = KERNELS(avx512), [VNNI] = KERNELS(vnni),
#endif
};

/* ---- the forward pass of one chunk ------------------------------------------------------------------------------- */

typedef struct {
    const Model *model;
    const Kernels *kernels;
    const Chunk *chunk;
    int64_t tokens;
    char *memory;  /* one piece, in which all of the following lie */
    int64_t used;  /* bytes of it that are handed out */
    Rows input;    /* what the next product reads: of every token, */
    Rows wide;     /* of TOKENS, between the two products of the wide layer, */
    Rows queries;  /* of one head: queries, then shares of attention */
    float *result; /* of the last product, of every token */
    float *inner;  /* of the first product of the wide layer, of TOKENS */
    float *mixed;  /* what the heads have seen, of every token */
    float *scores, *seen; /* of QUERIES of one head */
    Matrix keys, values;  /* of one head */
} Work;

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static void *piece(Work *w, int64_t values) {
    const int64_t at = w->used;
    w->used += padded(values * 4, 64);
    return w->memory ? w->memory + at : NULL;
}

static Rows rows_piece(Work *w, int64_t rows, int64_t count) {
    return (Rows){piece(w, rows * padded(count, LINE * UNIT)), piece(w, rows)};
}

/* Hand out the working space; before there is any, this only adds up what is needed. */
static void lay_out(Work *w, int64_t longest) {
    const Model *m = w->model;
    const int64_t rows = padded(w->tokens, ROWS), keys = padded(longest, PANEL), size = padded(m->hidden / m->heads, PANEL);
    w->input = rows_piece(w, rows, m->hidden);
    w->wide = rows_piece(w, TOKENS, m->intermediate);
    w->queries = rows_piece(w, QUERIES, larger(size, keys));
    w->result = piece(w, rows * padded(3 * m->hidden, PANEL));
    w->inner = piece(w, TOKENS * padded(m->intermediate, PANEL));
    w->mixed = piece(w, rows * m->hidden);
    w->scores = piece(w, QUERIES * keys), w->seen = piece(w, QUERIES * size);
    w->keys = (Matrix){.values = piece(w, keys * size), .scales = piece(w, keys)};
    w->values = (Matrix){.values = piece(w, keys * size), .scales = piece(w, size)};
}

/* Make x, divided by `sum`, a row of what a product reads. */
static void put(Work *w, const float *x, int64_t count, float scale, float sum, int64_t row, Rows *rows) {
    const int type = (int)w->model->type;
    rows->scales[row] = scale / sum;
    w->kernels->put(x, count, 1 / (type == FP32 ? sum : scale), type, row, rows);
}

/* out (rows, m->rows) = x m^T + bias, with rows padded to whole ROWS. */
static void multiply(Work *w, const Matrix *m, const Rows *x, int64_t rows, float *out) {
    w->kernels->multiply[w->model->type](m, x, padded(rows, ROWS), out);
}

static void attend(Work *w, int64_t first, int64_t count, int64_t stride) {
    const Model *m = w->model;
    const Kernels *k = w->kernels;
    const int64_t size = m->hidden / m->heads;
    const float factor = 1 / sqrtf((float)size);
    for (int64_t head = 0; head < m->heads; head++) {
        const float *q = w->result + first * stride + head * size;
        k->keys(q + m->hidden, stride, count, size, &w->keys, (int)m->type);
        k->values(q + 2 * m->hidden, stride, count, size, &w->values, (int)m->type);
        for (int64_t from = 0; from < count; from += QUERIES) {
            const int64_t rows = smaller(count - from, QUERIES);
            for (int64_t row = 0; row < rows; row++) {
                const float *x = q + (from + row) * stride;
                put(w, x, size, k->scale(x, size), 1, row, &w->queries);
            }
            multiply(w, &w->keys, &w->queries, rows, w->scores);
            for (int64_t row = 0; row < rows; row++) {
                float sum, *x = w->scores + row * w->keys.rows, scale = k->softmax(x, count, factor, &sum);
                put(w, x, w->keys.rows, scale, sum, row, &w->queries);
            }
            multiply(w, &w->values, &w->queries, rows, w->seen);
            for (int64_t row = 0; row < rows; row++)
                memcpy(w->mixed + (first + from + row) * m->hidden + head * size, w->seen + row * w->values.rows, (size_t)size * 4);
        }
    }
}

/* Normalise x, or x + add, from one token on, and make it the input of the next product. */
static void normalise(Work *w, int64_t from, int64_t rows, const float *add, int64_t stride, const float *gain, const float *bias) {
    const int64_t hidden = w->model->hidden;
    for (int64_t row = from; row < from + rows; row++, add += stride) {
        float *x = w->chunk->x + row * hidden;
        const float scale = w->kernels->norm(x, stride ? add : NULL, gain, bias, hidden, (float)w->model->norm_eps);
        put(w, x, hidden, scale, 1, row, &w->input);
    }
}

static void layer(Work *w, const Layer *l) {
    const Model *m = w->model;
    const Chunk *c = w->chunk;
    multiply(w, &l->qkv, &w->input, w->tokens, w->result);
    for (int64_t s = 0; s < c->sequences; s++) attend(w, c->start[s], c->start[s + 1] - c->start[s], l->qkv.rows);
    for (int64_t row = 0; row < w->tokens; row++) {
        const float *x = w->mixed + row * m->hidden;
        put(w, x, m->hidden, w->kernels->scale(x, m->hidden), 1, row, &w->input);
    }
    multiply(w, &l->out, &w->input, w->tokens, w->result);
    normalise(w, 0, w->tokens, w->result, l->out.rows, l->attention_gain, l->attention_bias);
    for (int64_t from = 0; from < w->tokens; from += TOKENS) {
        const int64_t rows = smaller(w->tokens - from, TOKENS);
        const Rows input = {(Unit *)w->input.values + from * l->up.units, w->input.scales + from};
        multiply(w, &l->up, &input, rows, w->inner);
        for (int64_t row = 0; row < rows; row++) {
            float *x = w->inner + row * l->up.rows, scale = w->kernels->gelu(x, m->intermediate);
            put(w, x, m->intermediate, scale, 1, row, &w->wide);
        }
        multiply(w, &l->down, &w->wide, rows, w->result);
        normalise(w, from, rows, w->result, l->down.rows, l->output_gain, l->output_bias);
    }
}

static void look_up(Work *w) {
    const Model *m = w->model;
    const Chunk *c = w->chunk;
    for (int64_t s = 0; s < c->sequences; s++)
        for (int64_t t = c->start[s]; t < c->start[s + 1]; t++) {
            const float *word = m->words + c->ids[t] * m->hidden, *position = m->positions + (t - c->start[s]) * m->hidden;
            for (int64_t i = 0; i < m->hidden; i++) c->x[t * m->hidden + i] = word[i] + position[i];
        }
    normalise(w, 0, w->tokens, NULL, 0, m->gain, m->bias);
}

/* Get the working space of a chunk; returns 0 where memory is short. */
static int get_room(Work *w, int64_t longest) {
    void *memory = NULL;
    lay_out(w, longest);
    if (posix_memalign(&memory, 64, (size_t)w->used)) return 0;
    w->memory = memory, w->used = 0;
    lay_out(w, longest);
    return 1;
}

/* Fill chunk->x with the last hidden state; returns 0 where memory is short. */
int llmdrill_encode(const Model *model, const Chunk *chunk, int path) {
    Work w = {.model = model, .chunk = chunk, .kernels = &KERNELS_OF[path], .tokens = chunk->start[chunk->sequences]};
    int64_t longest = 1;
    for (int64_t s = 0; s < chunk->sequences; s++) longest = larger(longest, chunk->start[s + 1] - chunk->start[s]);
    if (!get_room(&w, longest)) return 0;
    look_up(&w);
    for (int64_t i = 0; i < model->layers; i++) layer(&w, &model->layer[i]);
    free(w.memory);
    return 1;
}

/* The matrix products of all layers and nothing else: the ceiling that encoding is held against. */
int llmdrill_products(const Model *model, int64_t tokens, int path) {
    Work w = {.model = model, .kernels = &KERNELS_OF[path], .tokens = tokens};
    if (!get_room(&w, 1)) return 0;
    memset(w.memory, 0x3f, (size_t)w.used); /* about 0.75: sums that are no denormal numbers */
    for (const Layer *l = model->layer; l < model->layer + model->layers; l++) {
        multiply(&w, &l->qkv, &w.input, tokens, w.result);
        multiply(&w, &l->out, &w.input, tokens, w.result);
        for (int64_t from = 0; from < tokens; from += TOKENS) {
            multiply(&w, &l->up, &w.input, smaller(tokens - from, TOKENS), w.inner);
            multiply(&w, &l->down, &w.wide, smaller(tokens - from, TOKENS), w.result);
        }
    }
    free(w.memory);
    return 1;
}
