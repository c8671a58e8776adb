/* Runs steps of step.c on random models, with every buffer exactly as large as it must be, for the sanitizers:
   driver PATH runs all precisions of one instruction set; it prints the sum of all logits, or "absent". */
#include "step.c"

#include <stdio.h>

static uint32_t state = 1;

static float draw(void) {
    state = state * 1664525u + 1013904223u;
    return ((float)(state >> 8) / 8388608.f - 1.f) * 0.2f;
}

static void *floats(int64_t count) {
    float *memory = malloc((size_t)count * sizeof *memory);
    for (int64_t i = 0; i < count; i++) memory[i] = draw();
    return memory;
}

static Matrix matrix(int64_t rows, int64_t columns, int type) {
    int64_t stride = padded(columns, GROUP), count = padded(rows, BLOCK) * stride, bytes = type == FP32 ? 4 : type == BF16 ? 2 : 1;
    Matrix m = {rows, columns, stride, malloc((size_t)(count * bytes)), type == INT8 ? floats(rows) : NULL};
    for (int64_t i = 0; i < count; i++) {
        float value = i / stride < rows && i % stride < columns ? draw() : 0;
        int64_t row = i / stride, column = i % stride, unit = type == INT8 ? UNIT : 1;
        int64_t to = row / BLOCK * BLOCK * stride + column / unit * BLOCK * unit + row % BLOCK * unit + column % unit;
        if (type == FP32) ((float *)m.values)[to] = value;
        else if (type == BF16) ((uint16_t *)m.values)[to] = to_bf16(value);
        else ((int8_t *)m.values)[to] = (int8_t)(value * 600);
    }
    return m;
}

static void forget(Matrix m) { free((void *)m.values), free((void *)m.scales); }

static double run(int path, int type, int cache_type, int threads, int64_t heads, int64_t kv_heads, int64_t size, int64_t hidden,
                  int64_t inner, int64_t vocab, int64_t tokens) {
    enum { LAYERS = 2, SEQUENCES = 2, CAPACITY = 150 };
    Layer layers[LAYERS];
    for (int i = 0; i < LAYERS; i++) {
        int64_t rows = (heads + 2 * kv_heads) * size;
        layers[i] = (Layer){floats(hidden), floats(hidden), i ? floats(rows) : NULL,
                            i ? NULL : floats((heads + kv_heads) * size), matrix(rows, hidden, type),
                            matrix(hidden, heads * size, type), matrix(inner, hidden, type), matrix(inner, hidden, type), matrix(hidden, inner, type)};
    }
    int64_t cache_bytes = LAYERS * 2 * SEQUENCES * kv_heads * CAPACITY * size * (cache_type == FP32 ? 4 : 2);
    Model model = {LAYERS, hidden, heads, kv_heads, size, inner, type, cache_type, 1e-5, layers, floats(hidden),
                   floats(CAPACITY * size / 2), floats(CAPACITY * size / 2), matrix(vocab, hidden, type)};
    void *cache = calloc(1, (size_t)cache_bytes);
    Engine *engine = llmdrill_open(&model, threads, path);
    double sum = 0;
    for (int64_t start = 0; start + tokens <= CAPACITY; start += tokens) {
        int64_t rows = SEQUENCES * tokens, *sequence = malloc((size_t)rows * 8), *position = malloc((size_t)rows * 8);
        for (int64_t row = 0; row < rows; row++) sequence[row] = row / tokens, position[row] = start + row % tokens;
        float *x = floats(rows * hidden), *logits = malloc((size_t)(rows * vocab) * 4);
        Step step = {rows, sequence, position, x, cache, SEQUENCES, CAPACITY, logits};
        llmdrill_step(engine, &step);
        for (int64_t i = 0; i < rows * vocab; i++) sum += logits[i];
        free(sequence), free(position), free(x), free(logits);
    }
    llmdrill_read(engine, cache, cache_bytes);
    llmdrill_close(engine);
    for (int i = 0; i < LAYERS; i++) {
        forget(layers[i].qkv), forget(layers[i].out), forget(layers[i].gate), forget(layers[i].up), forget(layers[i].down);
        free((void *)layers[i].attention_norm), free((void *)layers[i].mlp_norm), free((void *)layers[i].qkv_bias);
        free((void *)layers[i].qk_norm);
    }
    forget(model.head), free((void *)model.norm), free((void *)model.cos), free((void *)model.sin), free(cache);
    return sum;
}

int main(int count, char **words) {
    int path = count > 1 ? atoi(words[1]) : 0;
    if (path > llmdrill_best_path()) return puts("absent"), 0;
    double sum = 0;
    for (int type = FP32; type < TYPES; type++)
        for (int cache = FP32; cache <= BF16; cache++) {
            sum += run(path, type, cache, 3, 4, 2, 16, 64, 128, 100, 1);
            sum += run(path, type, cache, 2, 3, 1, 10, 50, 77, 33, 3); /* nothing is a multiple of anything */
            sum += run(path, type, cache, 1, 2, 2, 64, 128, 65, 7, 16); /* as many rows as fit */
        }
    printf("%.6f\n", sum);
    return 0;
}
