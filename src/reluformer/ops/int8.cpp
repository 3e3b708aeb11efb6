// Quantisation and rescaling around oneDNN's int8 product, on a CPU: see int8.py. Compiled by build.py.

#include "vector.hpp"

typedef uint8_t Bytes __attribute__((vector_size(LANES)));

// Quantises rows: q = round(x / scale) + levels as uint8, scale = max |x| / levels of each row; NaN makes it NaN.
extern "C" void int8_quantise(const int64_t* v) {
  const int64_t rows = v[0], width = v[1], levels = v[2], threads = v[3];
  const float* x = (const float*)v[4];
  uint8_t* q = (uint8_t*)v[5];
  float* scale = (float*)v[6];
#pragma omp parallel for num_threads((int)threads) if (threads > 1 && rows > 1)
  for (int64_t r = 0; r < rows; r++) {
    const float* row = x + r * width;
    uint8_t* to = q + r * width;
    float most = 0, broken = 0;
#pragma omp simd reduction(max : most) reduction(+ : broken)
    for (int64_t i = 0; i < width; i++) {
      const float size = std::fabs(row[i]);
      most = size > most ? size : most;
      broken += row[i] * 0.0f;
    }
    scale[r] = most / (float)levels + broken;
    const float factor = most > 0 ? (float)levels / most : 0.0f, shift = (float)levels + 0.5f;
    if (broken != 0) {
      std::fill(to, to + width, 0);
      continue;
    }
    int64_t i = 0;
    for (; i + LANES <= width; i += LANES) {
      const Bytes bytes = __builtin_convertvector(__builtin_convertvector(load(row + i) * factor + shift, Ints), Bytes);
      memcpy(to + i, &bytes, LANES);
    }
    for (; i < width; i++) to[i] = (uint8_t)(int32_t)(row[i] * factor + shift);
  }
}

// y = y · scale + bias of each row, in place; bias may be null.
extern "C" void int8_rescale(const int64_t* v) {
  const int64_t rows = v[0], width = v[1], threads = v[2];
  float* y = (float*)v[3];
  const float *scale = (const float*)v[4], *bias = (const float*)v[5];
#pragma omp parallel for num_threads((int)threads) if (threads > 1 && rows > 1)
  for (int64_t r = 0; r < rows; r++) {
    float* row = y + r * width;
    const float factor = scale[r];
    if (bias) {
#pragma omp simd
      for (int64_t i = 0; i < width; i++) row[i] = row[i] * factor + bias[i];
    } else {
#pragma omp simd
      for (int64_t i = 0; i < width; i++) row[i] *= factor;
    }
  }
}
