// ReLU attention on a CPU in fp32, forward and backward, without the Q x K scores: see cpu.py for what it computes.
//
// A unit of work is a part of one head. Its keys are read in blocks of BLOCK visible slots, packed and transposed, and
// its rows in blocks of BLOCK; the weights of one pair of blocks are a tile that stays in cache. Every product of two
// matrices is `product` below: M rows by N vectors of accumulators in registers. Hidden slots are left out while
// packing, so that a row sees the packed slots before its limit, and nothing else has to know of masks.
//
// Compiled by build.py with -O3 -march=native -fopenmp; plain vector extensions of GCC and clang, no intrinsics.

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

namespace {

#if defined(__AVX512F__)
constexpr int BYTES = 64, COLUMNS = 4;
#elif defined(__AVX__)
constexpr int BYTES = 32, COLUMNS = 2;
#else
constexpr int BYTES = 16, COLUMNS = 4;
#endif
typedef float Vector __attribute__((vector_size(BYTES)));
typedef uint32_t Words __attribute__((vector_size(BYTES)));
typedef int32_t Ints __attribute__((vector_size(BYTES)));
constexpr int LANES = BYTES / 4;
constexpr int ROWS = 6;  // of accumulators: ROWS x COLUMNS vectors, and what multiplies them, fit the registers
#ifndef TILE
#define TILE 96
#endif
constexpr int BLOCK = TILE;
static_assert(BLOCK % (COLUMNS * LANES) == 0 || BLOCK % LANES == 0, "a block is whole vectors");

inline Vector load(const float* p) { Vector v; memcpy(&v, p, sizeof v); return v; }
inline void store(float* p, Vector v) { memcpy(p, &v, sizeof v); }
inline Vector fill(float x) { return x - Vector{}; }
inline Ints iota() { Ints v{}; for (int l = 0; l < LANES; l++) v[l] = l; return v; }
inline float sum(Vector v) { float s = 0; for (int l = 0; l < LANES; l++) s += v[l]; return s; }
inline bool any(Ints v) { int64_t w[BYTES / 8], s = 0; memcpy(w, &v, sizeof v); for (int64_t x : w) s |= x; return s != 0; }
inline int64_t whole(int64_t n) { return (n + LANES - 1) / LANES * LANES; }

// log x for x > 0, within 2 units in the last place (Cephes); NaN and infinity give numbers of no meaning.
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

// Dropout's counter-based generator; counter.py has the same in torch.
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
  float kept;          // what the others are multiplied with
  uint64_t seed;
  uint64_t row(int64_t head, int64_t i) const {
    return mix(seed + 0x9e3779b97f4a7c15ull * ((uint64_t)head * 0x100000000ull + (uint64_t)i + 1));
  }
  Vector factors(uint64_t row, Words slots) const {
    Words draw = mix(slots * 0x9e3779b9u + (uint32_t)row) ^ (uint32_t)(row >> 32);
    return draw < threshold ? Vector{} : fill(kept);
  }
};

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

// A tile's products, C [m, width] += A · B with B rows `stride` floats apart; k(m0) gives the range of terms of the
// strip at row m0.
template <bool TRANSPOSED, class Range>
void accumulate(int64_t m, const float* a, const float* b, float* c, int64_t width, Range&& range) {
  const int64_t height = strip(m);
  for (int64_t n0 = 0; n0 < width; n0 += COLUMNS * LANES) {
    const int n = (int)((width - n0 < COLUMNS * LANES ? width - n0 : COLUMNS * LANES) / LANES);
    for (int64_t m0 = 0; m0 < m; m0 += height) {
      const int64_t rows = m - m0 < height ? m - m0 : height;
      int64_t from, to;
      range(m0, rows, from, to);
      if (from >= to) continue;
      with_shape((int)rows, n, [&]<int M, int N>(Shape<M, N>) {
        Vector acc[M][N];
        float* out = c + m0 * width + n0;
        for (int i = 0; i < M; i++)
          for (int j = 0; j < N; j++) acc[i][j] = load(out + i * width + j * LANES);
        const float* left = TRANSPOSED ? a + m0 + from * BLOCK : a + m0 * BLOCK + from;
        product<M, N>(acc, to - from, left, TRANSPOSED ? 1 : BLOCK, TRANSPOSED ? BLOCK : 1, b + from * width + n0, width);
        for (int i = 0; i < M; i++)
          for (int j = 0; j < N; j++) store(out + i * width + j * LANES, acc[i][j]);
      });
    }
  }
}

// A [m, depth] · B [depth, columns] strip by strip; done(Shape, accumulators, first row, first column) takes them.
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

// Rows of a tensor -> a dense [n, width], the rest of each row 0. `rows` names them; none: all in order.
void pack(const float* from, int64_t stride, const int32_t* rows, int64_t n, int64_t depth, int64_t width, float scale,
          float* to) {
  for (int64_t i = 0; i < n; i++, to += width) {
    const float* row = from + (rows ? rows[i] : i) * stride;
    for (int64_t d = 0; d < depth; d++) to[d] = row[d] * scale;
    for (int64_t d = depth; d < width; d++) to[d] = 0;
  }
}

// A dense [n, width] -> [width, BLOCK], columns from n to a whole vector 0.
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

// A thread's memory between calls; it grows with the longest sequence.
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

struct Problem {
  int64_t batch, heads, rows, slots, depth, causal, threads, parts;
  Strided query, key, value, output;   // output: of the forward pass, or its gradient
  const uint8_t* visible;              // [B, K], or none
  float *total, *logs;                 // [B, H, Q], or none: the row statistics, or their gradients
  Strided query_grad, key_grad, value_grad;
  int64_t query_grad_part;             // floats between the parts' shares of query_grad
  float scale;
  Dropout dropout;
};

// What a unit works on: rows first to last of one head (forward), or its blocks of slots (backward).
struct Head {
  const Problem& p;
  int64_t b, h, width, seen = 0;
  int32_t *slots = nullptr, *limits;

  Head(const Problem& p, int64_t unit) : p(p), b(unit / p.heads), h(unit % p.heads), width(whole(p.depth)) {}
  static int64_t bytes(const Problem& p) { return 4 * (whole(p.slots + BLOCK) + whole(p.rows)) + 128; }

  // Lists the visible slots, and how many of them each row sees.
  void look() {
    slots = arena.take<int32_t>(p.slots + BLOCK);
    limits = arena.take<int32_t>(p.rows);
    for (int64_t j = 0; j < p.slots; j++)
      if (!p.visible || p.visible[b * p.slots + j]) slots[seen++] = (int32_t)j;
    memset(slots + seen, 0, BLOCK * 4);
    for (int64_t i = 0, n = p.causal ? 0 : seen; i < p.rows; i++) {
      while (n < seen && slots[n] <= p.slots - p.rows + i) n++;
      limits[i] = (int32_t)n;
    }
  }
  int64_t id() const { return b * p.heads + h; }
  float* row(float* statistics) const { return statistics ? statistics + id() * p.rows : nullptr; }
};

// The weights of a tile from its scores: ReLU, slots beyond a row's limit hidden; sums on the way.
template <bool STATISTICS>
struct Weights {
  const Head& head;
  int64_t i0, j0;
  float* tile;
  bool diagonal, drop;
  float *total, *logs;
  bool found = false;
  uint8_t filled[BLOCK] = {};  // the strips, by first row, that have a positive weight

  bool skip(int64_t m0, int rows, int64_t n0, int n) {
    if (n0 == 0) filled[m0] = 0;
    if (!diagonal || head.limits[i0 + m0 + rows - 1] > j0 + n0) return false;
    for (int m = 0; m < rows; m++) memset(tile + (m0 + m) * BLOCK + n0, 0, (size_t)n * BYTES);
    return true;
  }
  template <int M, int N>
  void operator()(Shape<M, N>, Vector (&c)[M][N], int64_t m0, int64_t n0) {
    Ints positive{};
    for (int m = 0; m < M; m++) {
      const int64_t i = i0 + m0 + m;
      const int32_t limit = (int32_t)(head.limits[i] - j0 - n0);
      const uint64_t draws = drop ? head.p.dropout.row(head.id(), i) : 0;
      Vector s{}, l{};
      for (int n = 0; n < N; n++) {
        Vector x = c[m][n] < 0.0f ? Vector{} : c[m][n];  // NaN stays
        if (diagonal) x = iota() + n * LANES < limit ? x : Vector{};
        positive |= x != 0.0f;
        if (STATISTICS) s += x, l += x * logarithm(x);
        if (drop) {
          Words slots;
          memcpy(&slots, head.slots + j0 + n0 + n * LANES, sizeof slots);
          x *= head.p.dropout.factors(draws, slots);
        }
        store(tile + (m0 + m) * BLOCK + n0 + n * LANES, x);
      }
      if (STATISTICS) total[i] += sum(s), logs[i] += sum(l);
    }
    if (any(positive)) filled[m0] = found = true;
  }
};

// The gradient of a tile's scores from that of its weights; dropped weights become what the output was made of.
template <bool STATISTICS>
struct Slopes {
  const Head& head;
  int64_t i0, j0;
  float *tile, *slopes;
  const uint8_t* filled;
  const float *total, *logs;
  bool drop;

  bool skip(int64_t m0, int rows, int64_t n0, int n) {
    if (filled[m0]) return false;
    for (int m = 0; m < rows; m++) memset(slopes + (m0 + m) * BLOCK + n0, 0, (size_t)n * BYTES);
    return true;
  }
  template <int M, int N>
  void operator()(Shape<M, N>, Vector (&c)[M][N], int64_t m0, int64_t n0) {
    for (int m = 0; m < M; m++) {
      const int64_t i = i0 + m0 + m;
      const uint64_t draws = drop ? head.p.dropout.row(head.id(), i) : 0;
      for (int n = 0; n < N; n++) {
        const int64_t at = (m0 + m) * BLOCK + n0 + n * LANES;
        Vector x = load(tile + at), g = c[m][n];
        if (drop) {
          Words slots;
          memcpy(&slots, head.slots + j0 + n0 + n * LANES, sizeof slots);
          Vector factors = head.p.dropout.factors(draws, slots);
          g *= factors;
          store(tile + at, x * factors);
        }
        if (STATISTICS) g += total[i] + logs[i] * (logarithm(x) + 1.0f);
        store(slopes + at, x > 0.0f ? g : Vector{});
      }
    }
  }
};

template <bool STATISTICS>
void forward(const Problem& p, int64_t unit) {
  Head head(p, unit / p.parts);
  const int64_t part = unit % p.parts, width = head.width;
  const int64_t first = p.rows * part / p.parts, last = p.rows * (part + 1) / p.parts, rows = last - first;
  arena.reserve(Head::bytes(p) + 4 * (2 * rows * width + 2 * BLOCK * width + BLOCK * BLOCK) + 1024);
  head.look();
  float *query = arena.take<float>(rows * width), *output = arena.take<float>(rows * width);
  float *value = arena.take<float>(BLOCK * width), *turned = arena.take<float>(BLOCK * width);
  float* tile = arena.take<float>(BLOCK * BLOCK);
  float *total = head.row(p.total), *logs = head.row(p.logs);
  pack(p.query.at(head.b, head.h) + first * p.query.row, p.query.row, nullptr, rows, p.depth, width, p.scale, query);
  memset(output, 0, (size_t)(rows * width) * 4);
  if (STATISTICS) memset(total + first, 0, (size_t)rows * 4), memset(logs + first, 0, (size_t)rows * 4);
  for (int64_t j0 = 0; j0 < head.seen; j0 += BLOCK) {
    const int64_t n = head.seen - j0 < BLOCK ? head.seen - j0 : BLOCK;
    if (head.limits[last - 1] <= j0) break;
    pack(p.key.at(head.b, head.h), p.key.row, head.slots + j0, n, p.depth, width, 1.0f, value);
    transpose(value, n, width, turned);
    pack(p.value.at(head.b, head.h), p.value.row, head.slots + j0, n, p.depth, width, 1.0f, value);
    for (int64_t i0 = first; i0 < last; i0 += BLOCK) {
      const int64_t m = last - i0 < BLOCK ? last - i0 : BLOCK;
      if (head.limits[i0 + m - 1] <= j0) continue;
      Weights<STATISTICS> weights{head, i0, j0, tile, head.limits[i0] < j0 + n, p.dropout.threshold != 0, total, logs};
      scores(m, whole(n), p.depth, query + (i0 - first) * width, width, turned, weights);
      if (!weights.found) continue;
      accumulate<false>(m, tile, value, output + (i0 - first) * width, width,
                        [&](int64_t m0, int64_t strip, int64_t& from, int64_t& to) {
                          const int64_t limit = head.limits[i0 + m0 + strip - 1] - j0;
                          from = 0;
                          to = !weights.filled[m0] ? 0 : limit < n ? limit : n;
                        });
    }
  }
  for (int64_t i = 0; i < rows; i++)
    memcpy(p.output.at(head.b, head.h) + (first + i) * p.output.row, output + i * width, (size_t)p.depth * 4);
}

template <bool STATISTICS>
void backward(const Problem& p, int64_t unit) {
  Head head(p, unit / p.parts);
  const int64_t part = unit % p.parts, width = head.width, rows = p.rows;
  arena.reserve(Head::bytes(p) + 4 * (3 * rows * width + 6 * BLOCK * width + 2 * BLOCK * BLOCK) + 2048);
  head.look();
  float *query = arena.take<float>(rows * width), *output = arena.take<float>(rows * width);
  float* query_grad = arena.take<float>(rows * width);
  float *key = arena.take<float>(BLOCK * width), *key_turned = arena.take<float>(BLOCK * width);
  float *value = arena.take<float>(BLOCK * width), *value_turned = arena.take<float>(BLOCK * width);
  float *key_grad = arena.take<float>(BLOCK * width), *value_grad = arena.take<float>(BLOCK * width);
  float *tile = arena.take<float>(BLOCK * BLOCK), *slopes = arena.take<float>(BLOCK * BLOCK);
  const float *total = head.row(p.total), *logs = head.row(p.logs);
  const bool drop = p.dropout.threshold != 0;
  pack(p.query.at(head.b, head.h), p.query.row, nullptr, rows, p.depth, width, p.scale, query);
  pack(p.output.at(head.b, head.h), p.output.row, nullptr, rows, p.depth, width, 1.0f, output);
  memset(query_grad, 0, (size_t)(rows * width) * 4);
  float *key_out = p.key_grad.at(head.b, head.h), *value_out = p.value_grad.at(head.b, head.h);
  const int64_t blocks = (head.seen + BLOCK - 1) / BLOCK, end = blocks * (part + 1) / p.parts;
  for (int64_t block = blocks * part / p.parts; block < end; block++) {
    const int64_t j0 = block * BLOCK, n = head.seen - j0 < BLOCK ? head.seen - j0 : BLOCK;
    if (head.limits[rows - 1] <= j0) break;
    pack(p.key.at(head.b, head.h), p.key.row, head.slots + j0, n, p.depth, width, 1.0f, key);
    pack(p.value.at(head.b, head.h), p.value.row, head.slots + j0, n, p.depth, width, 1.0f, value);
    transpose(key, n, width, key_turned);
    transpose(value, n, width, value_turned);
    memset(key_grad, 0, (size_t)(n * width) * 4);
    memset(value_grad, 0, (size_t)(n * width) * 4);
    for (int64_t i0 = 0; i0 < rows; i0 += BLOCK) {
      const int64_t m = rows - i0 < BLOCK ? rows - i0 : BLOCK;
      if (head.limits[i0 + m - 1] <= j0) continue;
      const float *queries = query + i0 * width, *outputs = output + i0 * width;
      Weights<false> weights{head, i0, j0, tile, head.limits[i0] < j0 + n, false, nullptr, nullptr};
      scores(m, whole(n), p.depth, queries, width, key_turned, weights);
      if (!weights.found) continue;
      scores(m, whole(n), p.depth, outputs, width, value_turned,
             Slopes<STATISTICS>{head, i0, j0, tile, slopes, weights.filled, total, logs, drop});
      const auto below = [&](int64_t n0, int64_t, int64_t& from, int64_t& to) {  // the rows that see slot j0 + n0
        from = 0;
        if (weights.diagonal)
          while (from < m && head.limits[i0 + from] <= j0 + n0) from++;
        to = m;
      };
      accumulate<true>(n, tile, outputs, value_grad, width, below);
      accumulate<true>(n, slopes, queries, key_grad, width, below);
      accumulate<false>(m, slopes, key, query_grad + i0 * width, width,
                        [&](int64_t m0, int64_t strip, int64_t& from, int64_t& to) {
                          const int64_t limit = head.limits[i0 + m0 + strip - 1] - j0;
                          from = 0;
                          to = !weights.filled[m0] ? 0 : limit < n ? limit : n;
                        });
    }
    for (int64_t j = 0; j < n; j++) {
      memcpy(key_out + head.slots[j0 + j] * p.key_grad.row, key_grad + j * width, (size_t)p.depth * 4);
      memcpy(value_out + head.slots[j0 + j] * p.value_grad.row, value_grad + j * width, (size_t)p.depth * 4);
    }
  }
  float* out = p.query_grad.at(head.b, head.h) + part * p.query_grad_part;
  for (int64_t i = 0; i < rows; i++)
    for (int64_t d = 0; d < p.depth; d++) out[i * p.query_grad.row + d] = query_grad[i * width + d] * p.scale;
}

Strided strided(const int64_t* v) { return {(float*)v[0], v[1], v[2], v[3]}; }

}  // namespace

// numbers: see cpu.py, which packs them in this order.
extern "C" void relu_attention(const int64_t* v, float scale, uint32_t threshold, float kept) {
  Problem p{};
  const bool back = v[0];
  p.batch = v[1], p.heads = v[2], p.rows = v[3], p.slots = v[4], p.depth = v[5];
  p.causal = v[6], p.threads = v[7], p.parts = v[8];
  p.dropout = {threshold, kept, (uint64_t)v[9]};
  p.visible = (const uint8_t*)v[10], p.total = (float*)v[11], p.logs = (float*)v[12];
  p.query = strided(v + 13), p.key = strided(v + 17), p.value = strided(v + 21), p.output = strided(v + 25);
  if (back) {
    p.query_grad = strided(v + 29), p.key_grad = strided(v + 33), p.value_grad = strided(v + 37);
    p.query_grad_part = v[41];
  }
  p.scale = scale;
  void (*run)(const Problem&, int64_t) =
      back ? (p.total ? backward<true> : backward<false>) : (p.total ? forward<true> : forward<false>);
  const int64_t units = p.batch * p.heads * p.parts;
#pragma omp parallel for schedule(dynamic) num_threads((int)p.threads) if (p.threads > 1 && units > 1)
  for (int64_t unit = 0; unit < units; unit++) run(p, unit);
}
