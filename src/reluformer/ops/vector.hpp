// Shared by all kernels: vectors, exp and log, dropout's generator.
// Plain vector extensions of GCC and clang, no intrinsics.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <initializer_list>

namespace {

#if defined(__AVX512F__)
constexpr int BYTES = 64, COLUMNS = 4;
#elif defined(__AVX__)
constexpr int BYTES = 32, COLUMNS = 2;
#elif defined(__SSE__)
constexpr int BYTES = 16, COLUMNS = 2;
#else
constexpr int BYTES = 16, COLUMNS = 4;
#endif
typedef float Vector __attribute__((vector_size(BYTES)));
typedef uint32_t Words __attribute__((vector_size(BYTES)));
typedef int32_t Ints __attribute__((vector_size(BYTES)));
constexpr int LANES = BYTES / 4;

inline Vector load(const float* p) { Vector v; memcpy(&v, p, sizeof v); return v; }
inline void store(float* p, Vector v) { memcpy(p, &v, sizeof v); }
inline Vector fill(float x) { return x - Vector{}; }
inline Ints iota() { Ints v{}; for (int l = 0; l < LANES; l++) v[l] = l; return v; }
inline float sum(Vector v) {
  float w[LANES];
  store(w, v);
#pragma GCC unroll 4
  for (int half = LANES / 2; half; half /= 2)
    for (int l = 0; l < half; l++) w[l] += w[l + half];
  return w[0];
}
inline bool any(Ints v) { int64_t w[BYTES / 8], s = 0; memcpy(w, &v, sizeof v); for (int64_t x : w) s |= x; return s != 0; }
inline int64_t whole(int64_t n) { return (n + LANES - 1) / LANES * LANES; }

// exp x for x <= 0, within 2 units in the last place (Cephes); 0 below -87, NaN for NaN.
inline Vector exponential(Vector x) {
  const Vector bounded = x < -87.0f ? fill(-87.0f) : x;
  const Vector n = (bounded * 1.44269504f + 12582912.0f) - 12582912.0f;  // 1.5 * 2^23: rounds to whole numbers
  const Vector r = (bounded - n * 0.693359375f) + n * 2.12194440e-4f;
  Vector y = fill(1.9875691500e-4f);
  for (float c : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f}) y = y * r + c;
  y = y * r * r + r + 1.0f;
  const Ints bits = (__builtin_convertvector(n, Ints) + 127) << 23;
  return x < -87.0f ? Vector{} : y * (Vector)bits;
}
inline Vector root(Vector x) {
  for (int l = 0; l < LANES; l++) x[l] = __builtin_sqrtf(x[l]);
  return x;
}

// The largest of n numbers; -infinity of none. NaN is ignored.
inline float largest(const float* x, int64_t n) {
  float most = -INFINITY;
#pragma omp simd reduction(max : most)
  for (int64_t i = 0; i < n; i++) most = x[i] > most ? x[i] : most;
  return most;
}

// The sum of e^(x - most) over n numbers, which replace x if STORE. Chunks are summed in fp32, and added in fp64.
// Explicit vectors, since without AVX-512's masks GCC leaves a loop over single numbers scalar.
template <bool STORE>
double exponentials(float* x, int64_t n, float most) {
  constexpr int64_t CHUNK = 512;
  double total = 0;
  for (int64_t first = 0; first < n; first += CHUNK) {
    const int64_t last = std::min(first + CHUNK, n);
    int64_t i = first;
    Vector sums{};
    for (; i + LANES <= last; i += LANES) {
      const Vector e = exponential(load(x + i) - most);
      if (STORE) store(x + i, e);
      sums += e;
    }
    if (i < last) {
      Vector e = fill(-INFINITY);  // whose exponential is 0
      memcpy(&e, x + i, (last - i) * sizeof(float));
      e = exponential(e - most);
      if (STORE) memcpy(x + i, &e, (last - i) * sizeof(float));
      sums += e;
    }
    total += sum(sums);
  }
  return total;
}

// log x for x > 0, within 2 units in the last place (Cephes); undefined for NaN and infinity.
inline Vector logarithm(Vector x) {
  x = x < 1.17549435e-38f ? fill(1.17549435e-38f) : x;
  Ints bits = (Ints)x, exponent = (bits >> 23) - 126;
  Vector m = (Vector)((bits & 0x007fffff) | 0x3f000000);  // in [0.5, 1)
  Ints low = m < 0.707106781186547524f;
  exponent += low;
  m = m - 1.0f + (Vector)((Ints)m & low);
  Vector e = __builtin_convertvector(exponent, Vector), z = m * m;
  Vector y = fill(7.0376836292e-2f);
  for (float c : {-1.1514610310e-1f, 1.1676998740e-1f, -1.2420140846e-1f, 1.4249322787e-1f, -1.6668057665e-1f,
                  2.0000714765e-1f, -2.4999993993e-1f, 3.3333331174e-1f})
    y = y * m + c;
  return e * 0.693359375f + (m + (y * m * z + e * -2.12194440e-4f - 0.5f * z));
}

// Dropout's counter-based generator; dropout.py implements the same in torch.
inline uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}
inline Words mix(Words x) {
  x = (x ^ (x >> 16)) * 0x7feb352du;
  x = (x ^ (x >> 15)) * 0x846ca68bu;
  return x ^ (x >> 16);
}

struct Dropout {
  uint32_t threshold;  // weights with a draw below it are dropped; 0: no dropout
  float scale;         // of the others
  uint64_t seed;
  uint64_t row(int64_t head, int64_t i) const {
    return mix(seed + 0x9e3779b97f4a7c15ull * ((uint64_t)head * 0x100000000ull + (uint64_t)i + 1));
  }
  Vector factors(uint64_t row, Words slots) const {
    Words draw = mix(slots * 0x9e3779b9u + (uint32_t)row) ^ (uint32_t)(row >> 32);
    return draw < threshold ? Vector{} : fill(scale);
  }
};

}  // namespace
