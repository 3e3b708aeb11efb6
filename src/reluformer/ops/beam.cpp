// The operations of a beam search step other than matrix products, on a CPU in fp32: see beam.py.
//
// Shapes: B batch, H heads, W rows of a batch entry, D head width, t slots that a row sees, R rows of logits, V
// vocabulary. Compiled by build.py; `omp simd` lets the compiler reorder the sums that it marks.

#include <algorithm>

#include "vector.hpp"

namespace {

struct Strided {  // of [B, H, n, D]; the last stride is 1
  float* data;
  int64_t batch, head, row;
  float* at(int64_t b, int64_t h) const { return data + b * batch + h * head; }
};

struct Problem {
  int64_t batch, heads, rows, seen, width, threads;
  const int64_t* path;  // [B, W, t]
  float* weights;       // [B, H, W, t]
  Strided slots, dense; // keys or values [B, H, C, D]; queries or outputs [B, H, W, D]
};

Problem problem(const int64_t* v) {
  const auto strided = [](const int64_t* w) { return Strided{(float*)w[0], w[1], w[2], w[3]}; };
  return {v[0], v[1], v[2], v[3], v[4], v[5], (const int64_t*)v[6], (float*)v[7], strided(v + 8), strided(v + 12)};
}

// Calls f(slot numbers, row's weights, row of `dense`, slots of the head) for every row.
template <class F>
void each_row(const Problem& p, F f) {
  const int64_t units = p.batch * p.heads;
#pragma omp parallel for num_threads((int)p.threads) if (p.threads > 1 && units > 1)
  for (int64_t unit = 0; unit < units; unit++) {
    const int64_t b = unit / p.heads, h = unit % p.heads;
    for (int64_t w = 0; w < p.rows; w++)
      f(p.path + (b * p.rows + w) * p.seen, p.weights + (unit * p.rows + w) * p.seen,
        p.dense.at(b, h) + w * p.dense.row, p.slots.at(b, h));
  }
}

inline float dot(const float* a, const float* b, int64_t n) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
  return sum;
}

constexpr int64_t CHUNK = 64;

void best_of_row(float* x, int64_t length, int64_t k, int64_t eos, int64_t banned_count, const int64_t* banned,
                 float* end, float* value, int64_t* token) {
  const float most = largest(x, length);
  // log p = (x - most) - rest: the sum of most and rest would round off a few bits.
  const float rest = (float)std::log(exponentials<false>(x, length, most));
  *end = x[eos] - most - rest;
  for (int64_t i = 0; i < banned_count; i++) x[banned[i]] = -INFINITY;
  std::fill(value, value + k, -INFINITY);
  std::fill(token, token + k, 0);
  for (int64_t first = 0; first < length; first += CHUNK) {
    const int64_t n = std::min(CHUNK, length - first);
    if (!(largest(x + first, n) > value[k - 1])) continue;
    for (int64_t i = first; i < first + n; i++) {
      if (!(x[i] > value[k - 1])) continue;
      int64_t at = k - 1;
      for (; at > 0 && x[i] > value[at - 1]; at--) value[at] = value[at - 1], token[at] = token[at - 1];
      value[at] = x[i], token[at] = i;
    }
  }
  for (int64_t i = 0; i < k; i++) value[i] = value[i] - most - rest;
}

}  // namespace

// weights = q · k; numbers: see beam.py, which packs them in this order.
extern "C" void beam_scores(const int64_t* numbers) {
  const Problem p = problem(numbers);
  each_row(p, [&](const int64_t* path, float* weights, const float* query, const float* keys) {
    for (int64_t j = 0; j < p.seen; j++)
      weights[j] = dot(query, keys + path[j] * p.slots.row, p.width);
  });
}

// dense = Σ weight · v; a weight of 0 costs nothing.
extern "C" void beam_mix(const int64_t* numbers) {
  const Problem p = problem(numbers);
  each_row(p, [&](const int64_t* path, const float* weights, float* out, const float* values) {
    std::fill(out, out + p.width, 0.0f);
    for (int64_t j = 0; j < p.seen; j++) {
      const float weight = weights[j], *value = values + path[j] * p.slots.row;
      if (weight == 0.0f) continue;
#pragma omp simd
      for (int64_t d = 0; d < p.width; d++) out[d] += weight * value[d];
    }
  });
}

// Log p of EOS [R], and log p and ids [R, k] of the k best tokens not banned, sorted. Overwrites the logits [R, V].
extern "C" void beam_best(const int64_t* v) {
  const int64_t rows = v[0], length = v[1], k = v[2], eos = v[3], threads = v[4], banned_count = v[5];
  const int64_t* banned = (const int64_t*)v[6];
  float *logits = (float*)v[7], *end = (float*)v[8], *value = (float*)v[9];
  int64_t* token = (int64_t*)v[10];
#pragma omp parallel for num_threads((int)threads) if (threads > 1 && rows > 1)
  for (int64_t r = 0; r < rows; r++)
    best_of_row(logits + r * length, length, k, eos, banned_count, banned, end + r, value + r * k, token + r * k);
}
