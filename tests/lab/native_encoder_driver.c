/* Runs encode.c on random models and chunks, with every buffer exactly as large as it must be, for the sanitizers:
   driver PATH runs both precisions of one instruction set; it prints the sum of all hidden states, or "absent". */
#include "encode.c"

#include <stdio.h>

int llmdrill_best_path(void); /* step.c's */

static uint32_t state = 1;

static float draw(void) {
    state = state * 1664525u + 1013904223u;
    return ((float)(state >> 8) / 8388608.f - 1.f) * 0.2f;
}

static float *floats(int64_t count) {
    float *memory = malloc((size_t)count * sizeof *memory);
    for (int64_t i = 0; i < count; i++) memory[i] = draw();
    return memory;
}

static Matrix matrix(int64_t rows, int64_t columns, int64_t type) {
    const int64_t units = type == FP32 ? columns : columns / UNIT;
    Matrix m = {rows, units, malloc((size_t)(rows * units * 4)), type == FP32 ? NULL : floats(rows), floats(rows)};
    for (int64_t i = 0; i < rows * columns; i++)
        if (type == FP32) ((float *)m.values)[i] = draw();
        else ((int16_t *)m.values)[i] = (int16_t)(draw() * 5 * NORM / sqrtf((float)columns));
    for (int64_t row = 0; row < rows && type == INT16; row++) m.scales[row] = 1e-5f;
    return m;
}

static void forget(Matrix m) { free(m.values), free(m.scales), free((void *)m.bias); }

static double run(int path, int64_t type, int64_t heads, int64_t size, int64_t inner, int64_t sequences, const int64_t *lengths) {
    enum { LAYERS = 2, WORDS = 50, POSITIONS = 130 };
    const int64_t hidden = heads * size;
    Layer layers[LAYERS];
    int64_t start[10] = {0};
    for (int i = 0; i < LAYERS; i++)
        layers[i] = (Layer){matrix(3 * hidden, hidden, type), matrix(hidden, hidden, type), matrix(inner, hidden, type),
                            matrix(hidden, inner, type), floats(hidden), floats(hidden), floats(hidden), floats(hidden)};
    Model model = {LAYERS, hidden, heads, inner, type, 1e-12, layers, floats(WORDS * hidden), floats(POSITIONS * hidden), floats(hidden), floats(hidden)};
    for (int64_t s = 0; s < sequences; s++) start[s + 1] = start[s] + lengths[s];
    const int64_t tokens = start[sequences];
    int64_t *exact = malloc((size_t)(sequences + 1) * 8), *ids = malloc((size_t)tokens * 8);
    memcpy(exact, start, (size_t)(sequences + 1) * 8);
    for (int64_t t = 0; t < tokens; t++) ids[t] = t * 7 % WORDS;
    Chunk chunk = {sequences, exact, ids, malloc((size_t)(tokens * hidden) * 4)};
    double sum = 0;
    if (!llmdrill_encode(&model, &chunk, path) || !llmdrill_products(&model, tokens, path)) return -1;
    for (int64_t i = 0; i < tokens * hidden; i++) sum += fabsf(chunk.x[i]);
    for (int i = 0; i < LAYERS; i++) {
        forget(layers[i].qkv), forget(layers[i].out), forget(layers[i].up), forget(layers[i].down);
        free((void *)layers[i].attention_gain), free((void *)layers[i].attention_bias);
        free((void *)layers[i].output_gain), free((void *)layers[i].output_bias);
    }
    free((void *)model.words), free((void *)model.positions), free((void *)model.gain), free((void *)model.bias);
    free(chunk.x), free(exact), free(ids);
    return sum;
}

int main(int count, char **words) {
    int path = count > 1 ? atoi(words[1]) : 0;
    if (path > llmdrill_best_path()) return puts("absent"), 0;
    const int64_t one[] = {1}, mixed[] = {33, 1, 24, 13, 2}, longer[] = {130, 97};
    double sum = 0;
    for (int64_t type = FP32; type < TYPES; type++) {
        sum += run(path, type, 1, 32, 32, 1, one);
        sum += run(path, type, 3, 32, 160, 5, mixed); /* texts end within every kind of block */
        sum += run(path, type, 2, 64, 96, 2, longer); /* a head of two panels, more tokens than pass at once */
    }
    printf("%.6f\n", sum);
    return 0;
}
