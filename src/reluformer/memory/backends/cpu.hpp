// Building blocks of cpu.cpp: the product of two matrices in registers, packing, memory.
#pragma once

#include <cstdlib>

#include "vector.hpp"

namespace {

constexpr int ROWS = 6;  // of accumulators: ROWS x COLUMNS vectors and their operands fit into the registers
#ifndef TILE
#define TILE 96
#endif
constexpr int BLOCK = TILE;
static_assert(BLOCK % LANES == 0, "a block is whole vectors");

// c += a · b: a(m, t) = a[m*am + t*ak], b(t, :) = N vectors at b + t*bk.
template <int M, int N>
inline __attribute__((always_inline)) void product(Vector (&c)[M][N], int64_t k, const float* a, int64_t am, int64_t ak,
                                                   const float* b, int64_t bk) {
  for (int64_t t = 0; t < k; t++, a += ak, b += bk) {
    Vector row[N];
#pragma GCC unroll 4
    for (int n = 0; n < N; n++) row[n] = load(b + n * LANES);
#pragma GCC unroll 8
    for (int m = 0; m < M; m++)
#pragma GCC unroll 4
      for (int n = 0; n < N; n++) c[m][n] += a[m * am] * row[n];
  }
}

template <int M, int N>
struct Shape {};

// Calls f(Shape<m, n>) for m <= ROWS, n <= COLUMNS.
template <int N, class F>
inline void with_rows(int m, F&& f) {
  switch (m) {
    case 1: return f(Shape<1, N>());
    case 2: return f(Shape<2, N>());
    case 3: return f(Shape<3, N>());
    case 4: return f(Shape<4, N>());
    case 5: return f(Shape<5, N>());
    default: return f(Shape<6, N>());
  }
}
template <class F>
inline void with_shape(int m, int n, F&& f) {
  if (n == 1) return with_rows<1>(m, f);
  if (n == 2 || COLUMNS == 2) return with_rows<2>(m, f);
  if (n == 3) return with_rows<(COLUMNS > 2 ? 3 : 1)>(m, f);
  return with_rows<COLUMNS>(m, f);
}

// Strips of at most ROWS rows, of about the same height.
inline int64_t strip(int64_t rows) { int64_t n = (rows + ROWS - 1) / ROWS; return n ? (rows + n - 1) / n : 1; }

// The terms of each strip of a tile's product: from <= t < to, by the strip's first row.
struct Terms {
  int16_t from[BLOCK], to[BLOCK];
};

// Adds a tile's product: C [m, width] += A · B or Aᵀ · B with A the tile; B and C have rows of `width` floats.
template <bool TRANSPOSED>
void accumulate(int64_t m, const float* a, const float* b, float* c, int64_t width, const Terms& terms) {
  const int64_t height = strip(m);
  for (int64_t n0 = 0; n0 < width; n0 += COLUMNS * LANES) {
    const int n = (int)((width - n0 < COLUMNS * LANES ? width - n0 : COLUMNS * LANES) / LANES);
    for (int64_t m0 = 0; m0 < m; m0 += height) {
      const int64_t from = terms.from[m0], k = terms.to[m0] - from;
      if (k <= 0) continue;
      const float *left = TRANSPOSED ? a + m0 + from * BLOCK : a + m0 * BLOCK + from, *right = b + from * width + n0;
      float* out = c + m0 * width + n0;
      with_shape((int)(m - m0 < height ? m - m0 : height), n, [&]<int M, int N>(Shape<M, N>) {
        Vector acc[M][N];
        for (int i = 0; i < M; i++)
          for (int j = 0; j < N; j++) acc[i][j] = load(out + i * width + j * LANES);
        product<M, N>(acc, k, left, TRANSPOSED ? 1 : BLOCK, TRANSPOSED ? BLOCK : 1, right, width);
        for (int i = 0; i < M; i++)
          for (int j = 0; j < N; j++) store(out + i * width + j * LANES, acc[i][j]);
      });
    }
  }
}

// A [m, depth] · B [depth, columns] strip by strip; calls done(Shape, accumulators, first row, first column) for each.
template <class Done>
void scores(int64_t m, int64_t columns, int64_t depth, const float* a, int64_t am, const float* b, Done&& done) {
  const int64_t height = strip(m);
  for (int64_t n0 = 0; n0 < columns; n0 += COLUMNS * LANES) {
    const int n = (int)((columns - n0 < COLUMNS * LANES ? columns - n0 : COLUMNS * LANES) / LANES);
    for (int64_t m0 = 0; m0 < m; m0 += height) {
      const int rows = (int)(m - m0 < height ? m - m0 : height);
      if (done.skip(m0, rows, n0, n)) continue;
      with_shape(rows, n, [&]<int M, int N>(Shape<M, N> shape) {
        Vector acc[M][N] = {};
        product<M, N>(acc, depth, a + m0 * am, am, 1, b + n0, BLOCK);
        done(shape, acc, m0, n0);
      });
    }
  }
}

struct Strided {  // [B, H, n, D], the last dimension dense
  float* data;
  int64_t batch, head, row;
  float* at(int64_t b, int64_t h) const { return data + b * batch + h * head; }
};

inline void copy(const float* from, int64_t n, float scale, float* to) {
  int64_t d = 0;
  for (; d + LANES <= n; d += LANES) store(to + d, load(from + d) * scale);
  for (; d < n; d++) to[d] = from[d] * scale;
}

struct One {
  float operator()(int64_t) const { return 1.0f; }
};

// Packs rows of a tensor, times scale(row), into a dense [n, width], padded with 0. `rows`: their indices; if null, all
// in order. Each may lie in a page of its own, where the hardware does not prefetch.
template <class Scale = One>
void pack(const float* from, int64_t stride, const int32_t* rows, int64_t n, int64_t depth, int64_t width, float* to,
          Scale scale = {}) {
  constexpr int AHEAD = 8;
  for (int64_t i = 0; i < n; i++, to += width) {
    if (i + AHEAD < n) {
      const float* next = from + (rows ? rows[i + AHEAD] : i + AHEAD) * stride;
      for (int64_t d = 0; d < depth; d += 16) __builtin_prefetch(next + d);
    }
    copy(from + (rows ? rows[i] : i) * stride, depth, scale(i), to);
    for (int64_t d = depth; d < width; d++) to[d] = 0;
  }
}

// Transposes a dense [n, width] into [width, BLOCK]; columns from n up to a whole vector are 0.
void transpose(const float* from, int64_t n, int64_t width, float* to) {
  for (int64_t d0 = 0; d0 < width; d0 += LANES)
    for (int64_t j0 = 0; j0 < n; j0 += LANES) {
      Vector r[LANES];
      for (int i = 0; i < LANES; i++) r[i] = j0 + i < n ? load(from + (j0 + i) * width + d0) : Vector{};
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC unroll 8
      for (int step = LANES / 2; step; step /= 2) {
        Ints upper, lower;
        for (int l = 0; l < LANES; l++) {
          upper[l] = l & step ? LANES + (l ^ step) : l;
          lower[l] = l & step ? LANES + l : l ^ step;
        }
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++)
          if (!(i & step)) {
            Vector a = r[i], b = r[i | step];
            r[i] = __builtin_shuffle(a, b, upper);
            r[i | step] = __builtin_shuffle(a, b, lower);
          }
      }
      for (int i = 0; i < LANES; i++) store(to + (d0 + i) * BLOCK + j0, r[i]);
#else
      for (int i = 0; i < LANES; i++)
        for (int l = 0; l < LANES; l++) to[(d0 + i) * BLOCK + j0 + l] = r[l][i];
#endif
    }
}

// A thread's scratch memory, kept between calls; it grows with the longest sequence.
struct Arena {
  char* base = nullptr;
  size_t size = 0, used = 0;
  ~Arena() { free(base); }
  void reserve(size_t bytes) {
    used = 0;
    if (bytes <= size) return;
    free(base);
    base = (char*)aligned_alloc(64, size = (bytes + 4095) / 4096 * 4096);
    if (!base) abort();
  }
  template <class T>
  T* take(int64_t n) {
    T* p = (T*)(base + used);
    used += ((size_t)n * sizeof(T) + 63) / 64 * 64;
    return p;
  }
};
thread_local Arena arena;

}  // namespace
