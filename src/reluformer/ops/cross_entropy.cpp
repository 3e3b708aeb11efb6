// Cross-entropy of rows of logits and its gradient, in place, on a CPU in fp32: see cross_entropy.py.
//
// Compiled by build.py. A row is read three times, but from memory only once.

#include "vector.hpp"

namespace {

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
