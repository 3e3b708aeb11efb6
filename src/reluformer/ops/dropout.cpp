// Dropout fused with the addition of a residual connection, on a CPU in fp32: see dropout.py.
//
// Element i is slot i % BLOCK of row i / BLOCK to dropout's generator.

#include <algorithm>

#include "vector.hpp"

namespace {

constexpr int64_t BLOCK = 1024;
constexpr int64_t LEAST = 16 * BLOCK;  // elements below which one thread is faster than two
static_assert(BLOCK % LANES == 0, "a block is whole vectors");

// out = x ∘ factors + added of one block's n elements.
template <bool ADDED>
void block(const Dropout& dropout, int64_t index, int64_t n, const float* x, const float* added, float* out) {
  const uint64_t draws = dropout.row(0, index);
  Words slots = (Words)iota();
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES, slots += LANES) {
    Vector y = load(x + i) * dropout.factors(draws, slots);
    if (ADDED) y += load(added + i);
    store(out + i, y);
  }
  if (i == n) return;
  float last[LANES];
  store(last, dropout.factors(draws, slots));
  for (int l = 0; i < n; i++, l++) out[i] = x[i] * last[l] + (ADDED ? added[i] : 0.0f);
}

}  // namespace

// numbers: see dropout.py, which packs them in this order.
extern "C" void dropout(const int64_t* v, uint32_t threshold, float scale) {
  const int64_t n = v[0], threads = v[1];
  const Dropout dropout{threshold, scale, (uint64_t)v[2]};
  const float *x = (float*)v[3], *added = (float*)v[4];
  float* out = (float*)v[5];
#pragma omp parallel for num_threads((int)threads) if (threads > 1 && n > LEAST)
  for (int64_t first = 0; first < n; first += BLOCK) {
    const int64_t size = std::min(BLOCK, n - first);
    if (added)
      block<true>(dropout, first / BLOCK, size, x + first, added + first, out + first);
    else
      block<false>(dropout, first / BLOCK, size, x + first, nullptr, out + first);
  }
}
