/* One step of a Llama-family decoder: a few new tokens in, their logits out, one parallel region for all of it.

   At one token a step reads every weight once and does little with it, so the time is that of reading memory. Hence:
   weights as fp32, bf16 or int8, each row read once for all new tokens; no call, no allocation and no library between
   the layers; threads that wait for each other by spinning.

   Weights lie in BLOCKs of rows, one row in each lane: (rows / BLOCK, columns / unit, BLOCK, unit), where a unit is one
   column, or four of int8. Columns are padded with zeros to whole GROUPs and rows to whole BLOCKs, so no loop has a rest.
   int8 has one scale a row; the activations that meet it are rounded to int8 with one scale a GROUP.
   The loops are plain C (kernels.h), compiled once for each instruction set; only the int8 product names instructions.
   However many tokens a step has, a token's sums are added up in the same order, so its logits are the same bits.
   The wrapper (engine.py) checks every argument: nothing here does. */

#include "arithmetic.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#if defined(__x86_64__)
#define PAUSE() _mm_pause()
#else
#define PAUSE() ((void)0)
#endif

#define GROUP 64          /* columns: one scale of the activations, and one cache line of int8 */
#define BLOCK 16          /* rows that are multiplied together, one in each lane */
#define UNIT 4            /* columns of int8 that one instruction adds up */
#define CHAINS 2          /* sums that grow in turn, so that an addition need not wait for the one before it */
#define MAX_ROWS 32       /* new tokens of one step, of all sequences together */
#define MAX_HEAD_DIM 512
#define AHEAD_BYTES 4096  /* how far in front of the weights in use memory is asked for more */
#define POSITIONS 128     /* cached positions whose scores are held at once */
#define TOGETHER 4        /* and of which the keys meet the query together */
#define SPINS_ASLEEP 4000 /* a worker looks this often for the next step (100-200 us) before it sleeps */
#define SPINS_YIELD 2000  /* and at a barrier this often before it offers its core to somebody else */

enum { FP32, BF16, INT8, TYPES };

typedef struct {
    int64_t rows, columns, stride; /* as the model has them; columns in memory */
    const void *values;
    const float *scales; /* of each row; int8 only */
} Matrix;

typedef struct {
    const float *attention_norm, *mlp_norm;
    const float *qkv_bias, *qk_norm; /* may be null; qk_norm: (heads + kv_heads, head_dim) */
    Matrix qkv, out, gate, up, down;
} Layer;

typedef struct {
    int64_t layers, hidden, heads, kv_heads, head_dim, intermediate, weight_type, cache_type;
    double norm_eps;
    const Layer *layer;
    const float *norm, *cos, *sin; /* cos and sin: (positions, head_dim / 2) */
    Matrix head;
} Model;

typedef struct {
    int64_t rows;                           /* new tokens */
    const int64_t *sequence, *position;     /* of each; those of one sequence in rising order */
    float *x;                               /* (rows, hidden): their embeddings, overwritten */
    void *cache;                            /* (layers, 2, sequences, kv_heads, capacity, head_dim) */
    int64_t sequences, capacity;
    float *logits;                          /* (rows, vocab) */
} Step;

/* One row of activations as a dot product reads it. */
typedef struct {
    const float *values;
    const int8_t *rounded;
    const float *scales; /* of each GROUP */
    float offset;        /* 128 * sum of scale * rounded: what shifting int8 weights to unsigned adds */
} Input;

/* Multiply a BLOCK of rows with the inputs of some tokens: out (tokens, BLOCK), the scales of rows left out. */
typedef void Multiply(const void *weights, const Input *x, int64_t columns, int64_t tokens, float *out);
typedef void Attend(const float *q, const void *keys, const void *values, int64_t length, int64_t size, float *out);
typedef float Round(const float *x, int64_t stride, int8_t *rounded, float *scales);
typedef void Norm(const float *x, const float *gain, int64_t count, float eps, float *out);
typedef void Gate(float *gate, const float *up, int64_t count);
typedef uint64_t Read(const uint64_t *words, int64_t count);

typedef struct {
    Multiply *multiply[TYPES];
    Attend *attend[BF16 + 1];
    Round *round;
    Norm *norm;
    Gate *gate;
    Read *read;
} Kernels;
/* ---- arithmetic, compiled once for each instruction set ---------------------------------------------------------- */

INLINE uint32_t to_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

INLINE float at(const void *values, int64_t index, int type) {
    return type == FP32 ? ((const float *)values)[index] : from_bits((uint32_t)((const uint16_t *)values)[index] << 16);
}

INLINE uint16_t to_bf16(float value) { /* to the nearest, ties to even, as torch rounds */
    uint32_t bits = to_bits(value);
    return value != value ? 0x7fc0 : (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

INLINE float exponential(float x) { /* relative error under 2e-7, and it vectorises */
    x = x < -87.f ? -87.f : x > 88.f ? 88.f : x;
    float n = nearest(x * 1.44269504f), r = x - n * 0.693359375f + n * 2.12194440e-4f;
    float p = 1.9875691e-4f;
    p = p * r + 1.3981999e-3f, p = p * r + 8.3334519e-3f, p = p * r + 4.1665796e-2f;
    p = p * r + 1.6666666e-1f, p = p * r + 5.0000001e-1f;
    return (p * r * r + r + 1.f) * from_bits((uint32_t)((int32_t)n + 127) << 23);
}

/* Call a product for as many tokens at a time as its sums have registers for. */
#define IN_TILES(product, tile, ...)                                                  \
    for (int64_t t = 0, n; t < tokens; t += n, out += n * BLOCK, x += n) {            \
        n = tokens - t;                                                               \
        if (tile >= 8 && n >= 8) n = 8, product(weights, x, columns, out, 8, __VA_ARGS__);      \
        else if (tile >= 4 && n >= 4) n = 4, product(weights, x, columns, out, 4, __VA_ARGS__); \
        else if (n >= 2) n = 2, product(weights, x, columns, out, 2, __VA_ARGS__);              \
        else n = 1, product(weights, x, columns, out, 1, __VA_ARGS__);                          \
    }

#define PATH scalar
#define TARGET
#define TILE 2
#include "kernels.h"

static void multiply_int8_scalar(const void *weights, const Input *x, int64_t columns, int64_t tokens, float *out) {
    for (int64_t t = 0; t < tokens; t++, out += BLOCK) {
        memset(out, 0, BLOCK * sizeof *out);
        for (int64_t g = 0; g < columns; g += GROUP) {
            int32_t sum[BLOCK] = {0};
            for (int64_t c = g; c < g + GROUP; c += UNIT)
                for (int64_t i = 0; i < BLOCK * UNIT; i++)
                    sum[i / UNIT] += ((const int8_t *)weights)[c * BLOCK + i] * x[t].rounded[c + i % UNIT];
            for (int64_t i = 0; i < BLOCK; i++) out[i] += x[t].scales[g / GROUP] * (float)sum[i];
        }
    }
}

#if defined(__x86_64__)
#define PATH avx2
#define TARGET __attribute__((target("avx2,fma")))
#define TILE 2
#include "kernels.h"

#define PATH avx512
#define TARGET __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")))
#define TILE 8
#include "kernels.h"

#define FOR_AVX2 __attribute__((target("avx2,fma")))
#define FOR_VNNI __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))

FOR_AVX2 INLINE void product_int8_avx2(const int8_t *weights, const Input *x, int64_t columns, float *out,
                                       const int tokens, int half) {
    __m256 total[2];
    for (int t = 0; t < tokens; t++) total[t] = _mm256_setzero_ps();
    for (int64_t g = 0; g < columns; g += GROUP) {
        __m256i sum[2];
        for (int t = 0; t < tokens; t++) sum[t] = _mm256_setzero_si256();
        for (int64_t c = g; c < g + GROUP; c += UNIT) {
            const __m256i w = _mm256_loadu_si256((const void *)(weights + c * BLOCK + half * 32)), size = _mm256_abs_epi8(w);
            for (int t = 0; t < tokens; t++) { /* |w| * (x with w's sign): no sum overflows */
                int32_t unit;
                memcpy(&unit, x[t].rounded + c, sizeof unit);
                __m256i pairs = _mm256_maddubs_epi16(size, _mm256_sign_epi8(_mm256_set1_epi32(unit), w));
                sum[t] = _mm256_add_epi32(sum[t], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
            }
        }
        for (int t = 0; t < tokens; t++)
            total[t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum[t]), _mm256_set1_ps(x[t].scales[g / GROUP]), total[t]);
    }
    for (int t = 0; t < tokens; t++) _mm256_storeu_ps(out + t * BLOCK + half * 8, total[t]);
}

FOR_AVX2 INLINE void halves_int8_avx2(const void *weights, const Input *x, int64_t columns, float *out, const int tokens, int _) {
    (void)_;
    product_int8_avx2(weights, x, columns, out, tokens, 0), product_int8_avx2(weights, x, columns, out, tokens, 1);
}

FOR_AVX2 static void multiply_int8_avx2(const void *weights, const Input *x, int64_t columns, int64_t tokens, float *out) {
    IN_TILES(halves_int8_avx2, 2, 0)
}

FOR_VNNI INLINE void product_int8_vnni(const void *weights, const Input *x, int64_t columns, float *out,
                                       const int tokens, int _) {
    const __m512i shift = _mm512_set1_epi8((char)0x80); /* the instruction wants one side unsigned: w + 128 */
    __m512 total[8];
    (void)_;
    for (int t = 0; t < tokens; t++) total[t] = _mm512_setzero_ps();
    for (int64_t g = 0; g < columns; g += GROUP) {
        __m512i sum[8][CHAINS];
        for (int t = 0; t < tokens; t++) sum[t][0] = sum[t][1] = _mm512_setzero_si512();
        for (int64_t c = g; c < g + GROUP; c += CHAINS * UNIT)
            for (int j = 0; j < CHAINS; j++) {
                const char *at = (const char *)weights + (c + j * UNIT) * BLOCK;
                _mm_prefetch(at + AHEAD_BYTES, _MM_HINT_T0);
                const __m512i w = _mm512_xor_si512(_mm512_loadu_si512(at), shift);
                for (int t = 0; t < tokens; t++) {
                    int32_t unit;
                    memcpy(&unit, x[t].rounded + c + j * UNIT, sizeof unit);
                    sum[t][j] = _mm512_dpbusd_epi32(sum[t][j], w, _mm512_set1_epi32(unit));
                }
            }
        for (int t = 0; t < tokens; t++) {
            const __m512 whole = _mm512_cvtepi32_ps(_mm512_add_epi32(sum[t][0], sum[t][1]));
            total[t] = _mm512_fmadd_ps(whole, _mm512_set1_ps(x[t].scales[g / GROUP]), total[t]);
        }
    }
    for (int t = 0; t < tokens; t++) _mm512_storeu_ps(out + t * BLOCK, _mm512_sub_ps(total[t], _mm512_set1_ps(x[t].offset)));
}

FOR_VNNI static void multiply_int8_vnni(const void *weights, const Input *x, int64_t columns, int64_t tokens, float *out) {
    IN_TILES(product_int8_vnni, 8, 0)
}
#endif

#define KERNELS(path, int8)                                                                               \
    {{multiply_fp32_##path, multiply_bf16_##path, multiply_int8_##int8}, {attend_fp32_##path, attend_bf16_##path}, \
     round_##path, norm_##path, gate_##path, read_##path}
static const Kernels KERNELS_OF[PATHS] = {
    [SCALAR] = KERNELS(scalar, scalar),
#if defined(__x86_64__)
    [AVX2] = KERNELS(avx2, avx2), [AVX512] = KERNELS(avx512, avx2), [VNNI] = KERNELS(avx512, vnni),
#endif
};

/* ---- the engine: threads and working space ----------------------------------------------------------------------- */

typedef struct { /* of one thread: the rows of activations that its dot products read */
    float *normed, *scales;
    int8_t *rounded;
    Input input[MAX_ROWS];
} Own;

typedef struct Engine {
    Model model;
    Step step;
    const Kernels *kernels;
    float *qkv, *mixed, *inner, *up; /* (rows, …), each row padded to whole groups */
    int64_t width, mixed_width, inner_width, widest;
    Own *own;
    const uint64_t *reading;
    int64_t words;
    void (*work)(struct Engine *, int);
    int threads, started;
    pid_t process;
    pthread_t *worker;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    _Atomic int round, stopping, arrived, barrier, numbered;
    _Atomic uint64_t read;
} Engine;

static void *room(int64_t bytes) {
    void *memory = NULL;
    if (posix_memalign(&memory, 64, (size_t)padded(bytes > 0 ? bytes : 1, 64))) return NULL;
    return memset(memory, 0, (size_t)padded(bytes > 0 ? bytes : 1, 64));
}

static void meet(Engine *e) {
    int turn = atomic_load_explicit(&e->barrier, memory_order_relaxed);
    if (atomic_fetch_add(&e->arrived, 1) + 1 == e->started) {
        atomic_store_explicit(&e->arrived, 0, memory_order_relaxed);
        atomic_fetch_add(&e->barrier, 1);
        return;
    }
    for (int spins = 0; atomic_load_explicit(&e->barrier, memory_order_acquire) == turn; spins++)
        if (spins < SPINS_YIELD) PAUSE();
        else sched_yield();
}

static void *worker(void *argument) {
    Engine *e = argument;
    int thread = atomic_fetch_add(&e->numbered, 1);
    for (int seen = 0;; seen++) {
        for (int spins = 0; spins < SPINS_ASLEEP && atomic_load(&e->round) == seen; spins++) PAUSE();
        pthread_mutex_lock(&e->lock);
        while (atomic_load(&e->round) == seen) pthread_cond_wait(&e->wake, &e->lock);
        pthread_mutex_unlock(&e->lock);
        if (atomic_load(&e->stopping)) return NULL;
        e->work(e, thread);
        meet(e);
    }
}

/* Threads do not outlive a fork, so a child starts its own; where the system refuses one, the others do its part. */
static void start_workers(Engine *e) {
    pthread_mutex_init(&e->lock, NULL), pthread_cond_init(&e->wake, NULL);
    atomic_store(&e->round, 0), atomic_store(&e->arrived, 0), atomic_store(&e->numbered, 1);
    e->process = getpid();
    for (e->started = 1; e->started < e->threads; e->started++)
        if (pthread_create(&e->worker[e->started], NULL, worker, e)) break;
}

static void announce(Engine *e) {
    pthread_mutex_lock(&e->lock);
    atomic_fetch_add(&e->round, 1);
    pthread_cond_broadcast(&e->wake);
    pthread_mutex_unlock(&e->lock);
}

static void in_parallel(Engine *e, void (*work)(Engine *, int)) {
    if (e->process != getpid()) start_workers(e);
    e->work = work;
    announce(e);
    work(e, 0);
    meet(e);
}

/* The part of `count` things that this thread does. */
static void part(const Engine *e, int thread, int64_t count, int64_t *from, int64_t *to) {
    *from = count * thread / e->started, *to = count * (thread + 1) / e->started;
}

/* ---- the step ---------------------------------------------------------------------------------------------------- */

static void take(Engine *e, Own *own, int64_t row, const float *values, int64_t stride) {
    Input *input = &own->input[row];
    input->values = values;
    if (e->model.weight_type != INT8) return;
    int8_t *rounded = own->rounded + row * e->widest;
    float *scales = own->scales + row * (e->widest / GROUP);
    input->rounded = rounded, input->scales = scales;
    input->offset = e->kernels->round(values, stride, rounded, scales);
}

static void take_normed(Engine *e, Own *own, const float *gain) {
    const int64_t hidden = e->model.hidden;
    for (int64_t row = 0; row < e->step.rows; row++) {
        float *to = own->normed + row * e->width;
        e->kernels->norm(e->step.x + row * hidden, gain, hidden, (float)e->model.norm_eps, to);
        take(e, own, row, to, e->width);
    }
}

static void take_all(Engine *e, Own *own, const float *values, int64_t stride) {
    for (int64_t row = 0; row < e->step.rows; row++) take(e, own, row, values + row * stride, stride);
}

/* Multiply this thread's rows of a matrix with every input: out = m x + bias, or out += m x. */
static void multiply(Engine *e, int thread, const Matrix *m, const float *bias, float *out, int64_t out_stride, int add) {
    static const int64_t bytes[TYPES] = {4, 2, 1};
    Multiply *product = e->kernels->multiply[e->model.weight_type];
    float result[MAX_ROWS * BLOCK];
    int64_t from, to, row_bytes = m->stride * bytes[e->model.weight_type];
    part(e, thread, padded(m->rows, BLOCK) / BLOCK, &from, &to);
    for (int64_t first = from * BLOCK; first < to * BLOCK; first += BLOCK) {
        const int64_t count = m->rows - first < BLOCK ? m->rows - first : BLOCK;
        product((const char *)m->values + first * row_bytes, e->own[thread].input, m->stride, e->step.rows, result);
        for (int64_t token = 0; token < e->step.rows; token++) {
            float *o = out + token * out_stride + first;
            const float *value = result + token * BLOCK;
            for (int64_t i = 0; i < count; i++)
                o[i] = (add ? o[i] : 0) + (bias ? bias[first + i] : 0) + value[i] * (m->scales ? m->scales[first + i] : 1);
        }
    }
}

/* inner = silu(gate x) * up x; a thread has the same rows of both matrices, so nobody waits in between. */
static void multiply_gated(Engine *e, int thread, const Layer *layer) {
    const int64_t rows = layer->gate.rows;
    int64_t from, to;
    multiply(e, thread, &layer->gate, NULL, e->inner, e->inner_width, 0);
    multiply(e, thread, &layer->up, NULL, e->up, e->inner_width, 0);
    part(e, thread, padded(rows, BLOCK) / BLOCK, &from, &to);
    from *= BLOCK, to = to * BLOCK < rows ? to * BLOCK : rows;
    for (int64_t token = 0, at = from; token < e->step.rows; token++, at += e->inner_width)
        e->kernels->gate(e->inner + at, e->up + at, to - from);
}

static char *cached(const Engine *e, int64_t layer, int value, int64_t row, int64_t kv_head, int64_t position) {
    const Model *m = &e->model;
    int64_t index = ((layer * 2 + value) * e->step.sequences + e->step.sequence[row]) * m->kv_heads + kv_head;
    return (char *)e->step.cache + (index * e->step.capacity + position) * m->head_dim * (m->cache_type == FP32 ? 4 : 2);
}

/* Rotate queries in place; keys too, and store them and the values in the cache. */
static void rotate_and_store(Engine *e, int thread, int64_t layer) {
    const Model *m = &e->model;
    const int64_t each = m->heads + 2 * m->kv_heads, half = m->head_dim / 2;
    int64_t from, to;
    part(e, thread, e->step.rows * each, &from, &to);
    for (int64_t item = from; item < to; item++) {
        int64_t row = item / each, head = item % each, kv_head = head - m->heads, position = e->step.position[row];
        float *x = e->qkv + item * m->head_dim;
        const float *cos = m->cos + position * half, *sin = m->sin + position * half;
        int value = kv_head >= m->kv_heads;
        if (m->layer[layer].qk_norm && !value)
            e->kernels->norm(x, m->layer[layer].qk_norm + head * m->head_dim, m->head_dim, (float)m->norm_eps, x);
        for (int64_t i = 0; i < half && !value; i++) {
            float first = x[i], second = x[i + half];
            x[i] = first * cos[i] - second * sin[i], x[i + half] = second * cos[i] + first * sin[i];
        }
        if (kv_head < 0) continue;
        char *to_cache = cached(e, layer, value, row, value ? kv_head - m->kv_heads : kv_head, position);
        for (int64_t i = 0; i < m->head_dim; i++)
            if (m->cache_type == FP32) ((float *)to_cache)[i] = x[i];
            else ((uint16_t *)to_cache)[i] = to_bf16(x[i]);
    }
}

static void attend(Engine *e, int thread, int64_t layer) {
    const Model *m = &e->model;
    int64_t from, to;
    part(e, thread, e->step.rows * m->heads, &from, &to);
    for (int64_t item = from; item < to; item++) {
        int64_t row = item / m->heads, head = item % m->heads, kv_head = head / (m->heads / m->kv_heads);
        const float *q = e->qkv + (row * (m->heads + 2 * m->kv_heads) + head) * m->head_dim;
        e->kernels->attend[m->cache_type](q, cached(e, layer, 0, row, kv_head, 0), cached(e, layer, 1, row, kv_head, 0),
                                          e->step.position[row] + 1, m->head_dim,
                                          e->mixed + row * e->mixed_width + head * m->head_dim);
    }
}

static void decode(Engine *e, int thread) {
    const Model *m = &e->model;
    Own *own = &e->own[thread];
    for (int64_t i = 0; i < m->layers; i++) {
        const Layer *layer = &m->layer[i];
        take_normed(e, own, layer->attention_norm);
        multiply(e, thread, &layer->qkv, layer->qkv_bias, e->qkv, layer->qkv.rows, 0);
        meet(e);
        rotate_and_store(e, thread, i);
        meet(e);
        attend(e, thread, i);
        meet(e);
        take_all(e, own, e->mixed, e->mixed_width);
        multiply(e, thread, &layer->out, NULL, e->step.x, m->hidden, 1);
        meet(e);
        take_normed(e, own, layer->mlp_norm);
        multiply_gated(e, thread, layer);
        meet(e);
        take_all(e, own, e->inner, e->inner_width);
        multiply(e, thread, &layer->down, NULL, e->step.x, m->hidden, 1);
        meet(e);
    }
    take_normed(e, own, m->norm);
    multiply(e, thread, &m->head, NULL, e->step.logits, m->head.rows, 0);
}

/* Read memory and nothing else: the ceiling that a step is held against. */
static void read_part(Engine *e, int thread) {
    int64_t from, to;
    part(e, thread, e->words, &from, &to);
    atomic_fetch_xor(&e->read, e->kernels->read(e->reading + from, to - from));
}

/* ---- what Python calls ------------------------------------------------------------------------------------------- */

int llmdrill_best_path(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return SCALAR;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl"))
        return AVX2;
    return __builtin_cpu_supports("avx512vnni") ? VNNI : AVX512;
#else
    return SCALAR;
#endif
}

void llmdrill_close(Engine *e) {
    if (!e) return;
    if (e->process == getpid()) {
        atomic_store(&e->stopping, 1);
        announce(e);
        for (int i = 1; i < e->started; i++) pthread_join(e->worker[i], NULL);
    }
    for (int i = 0; e->own && i < e->threads; i++)
        free(e->own[i].normed), free(e->own[i].scales), free(e->own[i].rounded);
    free(e->own), free(e->worker), free(e->qkv), free(e->mixed), free(e->inner), free(e->up), free(e);
}

/* Null where memory is short. The model's arrays must outlive the engine. */
Engine *llmdrill_open(const Model *model, int threads, int path) {
    Engine *e = room(sizeof *e);
    if (!e) return NULL;
    e->model = *model, e->threads = threads, e->kernels = &KERNELS_OF[path];
    e->width = padded(model->hidden, GROUP), e->mixed_width = padded(model->heads * model->head_dim, GROUP);
    e->inner_width = padded(model->intermediate, GROUP);
    e->widest = e->width > e->mixed_width ? e->width : e->mixed_width;
    e->widest = e->widest > e->inner_width ? e->widest : e->inner_width;
    e->qkv = room(MAX_ROWS * (model->heads + 2 * model->kv_heads) * model->head_dim * 4);
    e->mixed = room(MAX_ROWS * e->mixed_width * 4), e->inner = room(MAX_ROWS * e->inner_width * 4);
    e->up = room(MAX_ROWS * e->inner_width * 4);
    e->own = room(threads * (int64_t)sizeof *e->own), e->worker = room(threads * (int64_t)sizeof *e->worker);
    int whole = e->qkv && e->mixed && e->inner && e->up && e->own && e->worker;
    for (int i = 0; whole && i < threads; i++) {
        e->own[i].normed = room(MAX_ROWS * e->width * 4), e->own[i].scales = room(MAX_ROWS * e->widest / GROUP * 4);
        e->own[i].rounded = room(MAX_ROWS * e->widest);
        whole = e->own[i].normed && e->own[i].scales && e->own[i].rounded;
    }
    if (whole) start_workers(e);
    else llmdrill_close(e), e = NULL;
    return e;
}

void llmdrill_step(Engine *e, const Step *step) {
    e->step = *step;
    in_parallel(e, decode);
}

uint64_t llmdrill_read(Engine *e, const void *memory, int64_t bytes) {
    e->reading = memory, e->words = bytes / 8;
    in_parallel(e, read_part);
    return atomic_load(&e->read);
}
