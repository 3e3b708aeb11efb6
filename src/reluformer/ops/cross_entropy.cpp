// Cross-entropy of rows of logits and its gradient, in place, on a CPU in fp32: see cross_entropy.py.
//
// Compiled by build.py; `omp simd` lets the compiler reorder the sums that it marks. A row is read three times, but from
// memory only once.

#include <algorithm>

#include "vector.hpp"

namespace {

constexpr int64_t CHUNK = 512;  // summed in fp32; chunks are added in fp64

// e^(x - most) and their sum; stored in x if STORE.
template <bool STORE>
double exponentials(float* x, int64_t length, float most) {
  double total = 0;
  for (int64_t first = 0; first < length; first += CHUNK) {
    const int64_t last = std::min(first + CHUNK, length);
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = first; i < last; i++) {
      const float e = exponential(x[i] - most);
      if (STORE) x[i] = e;
      sum += e;
    }
    total += sum;
  }
  return total;
}

template <bool STORE>
float row(float* x, int64_t length, int64_t target, float weight) {
  const float most = largest(x, length);
  const double distance = (double)x[target] - most;
  const double total = exponentials<STORE>(x, length, most);
  if (STORE) {
    const float share = (float)(1 / total);
#pragma omp simd
    for (int64_t i = 0; i < length; i++) x[i] *= share;
    x[target] -= weight;
  }
  return (float)(std::log(total) - distance);
}

}  // namespace

// numbers: see cross_entropy.py, which packs them in this order.
extern "C" void cross_entropy(const int64_t* v, float weight) {
  const int64_t rows = v[0], length = v[1], threads = v[2];
  float *logits = (float*)v[4], *loss = (float*)v[6];
  const int64_t* target = (const int64_t*)v[5];
  const auto run = v[3] ? row<true> : row<false>;
#pragma omp parallel for num_threads((int)threads) if (threads > 1 && rows > 1)
  for (int64_t r = 0; r < rows; r++) loss[r] = run(logits + r * length, length, target[r], weight);
}
