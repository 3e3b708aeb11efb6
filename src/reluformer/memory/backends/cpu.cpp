// Attention with weights f(score), f of functors.hpp, on a CPU in fp32, forward and backward, without the Q x K scores:
// see cpu.py for what it computes.
//
// A unit of work is a part of one head. Its keys are read in blocks of BLOCK visible slots, packed and transposed, and
// its rows in blocks of BLOCK; the weights of one pair of blocks are a tile that stays in cache. Every product of two
// matrices is `product` of cpu.hpp: M rows by N vectors of accumulators in registers. Hidden slots are left out while
// packing, so that a row sees the packed slots before its limit and no other code handles masks.
//
// Compiled by build.py with -O3 -march=native -fopenmp.

#include "cpu.hpp"
#include "functors.hpp"

namespace {

struct Problem {
  int64_t batch, heads, rows, slots, depth, causal, threads, parts;
  Strided query, key, value, output;   // output: of the forward pass, or its gradient
  const uint8_t* visible;              // [B, K], or none
  float *total, *logs;                 // [B, H, Q], or none: the row statistics, or their gradients
  Strided factor, shift;               // of each row, [B, H, Q, 1], or none
  Strided query_grad, key_grad, value_grad;
  int64_t query_grad_part;             // floats between the parts' shares of query_grad
  float scale;
  Dropout dropout;
};

// The data of a unit of work: rows first to last of one head (forward), or its blocks of slots (backward).
struct Head {
  const Problem& p;
  int64_t b, h, width, seen = 0;
  int32_t *slots = nullptr, *limits;

  Head(const Problem& p, int64_t unit) : p(p), b(unit / p.heads), h(unit % p.heads), width(whole(p.depth)) {}
  static int64_t bytes(const Problem& p) { return 4 * (whole(p.slots + BLOCK) + whole(p.rows)) + 128; }

  // Lists the visible slots and counts those that each row sees.
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
  // The factor of the scores of row i.
  float factor(int64_t i) const { return p.scale * (p.factor.data ? p.factor.at(b, h)[i * p.factor.row] : 1.0f); }
  // The shift of the scores of row i.
  float shift(int64_t i) const { return p.shift.at(b, h)[i * p.shift.row]; }
  // Packs the queries of n rows, multiplied by their factors.
  void queries(int64_t first, int64_t n, float* to) const {
    pack(p.query.at(b, h) + first * p.query.row, p.query.row, nullptr, n, p.depth, width, to,
         [&](int64_t i) { return factor(first + i); });
  }
  // For each strip of m rows, the slots of the tile's n that it sees; none if it has no positive weight.
  template <class W>
  Terms seen_by(const W& weights, int64_t m, int64_t n) const {
    Terms terms;
    for (int64_t m0 = 0, height = strip(m); m0 < m; m0 += height) {
      const int64_t last = m0 + height < m ? m0 + height : m, limit = limits[weights.i0 + last - 1] - weights.j0;
      terms.from[m0] = 0;
      terms.to[m0] = (int16_t)(!weights.filled[m0] ? 0 : limit < n ? limit : n);
    }
    return terms;
  }
  // For each strip of n slots, the rows of the tile's m that see it.
  template <class W>
  Terms seeing(const W& weights, int64_t m, int64_t n) const {
    Terms terms;
    int64_t from = 0;
    for (int64_t n0 = 0, height = strip(n); n0 < n; n0 += height) {
      while (weights.diagonal && from < m && limits[weights.i0 + from] <= weights.j0 + n0) from++;
      terms.from[n0] = (int16_t)from;
      terms.to[n0] = (int16_t)m;
    }
    return terms;
  }
  int64_t id() const { return b * p.heads + h; }
  float* row(float* statistics) const { return statistics ? statistics + id() * p.rows : nullptr; }
};

// Turns a tile's scores into weights, hides slots beyond a row's limit and accumulates the row statistics.
template <class F, bool STATISTICS>
struct Weights {
  const Head& head;
  int64_t i0, j0;
  float* tile;
  bool diagonal, drop;
  float *total, *logs;
  bool found = false;
  uint8_t filled[BLOCK] = {};  // whether the strip with this first row has a positive weight

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
      const Vector shift = F::SHIFTED ? fill(head.shift(i)) : Vector{};
      Vector s{}, l{};
      for (int n = 0; n < N; n++) {
        Vector x = F::weight(F::SHIFTED ? c[m][n] + shift : c[m][n]);
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

// Turns the gradient of a tile's weights into that of its scores, and applies dropout to the weights.
template <class F, bool STATISTICS>
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
        if (STATISTICS) g += logs[i] == 0 ? fill(total[i]) : total[i] + logs[i] * (logarithm(x) + 1.0f);
        store(slopes + at, F::slope(x, g));
      }
    }
  }
};

// The forward pass of a few rows, as in decoding, where packing would cost more than the products: reads each visible
// key once, in place, and only the values with a positive weight.
constexpr int FEW = 3;

template <class F, bool STATISTICS>
void forward_few(const Problem& p, int64_t unit) {
  Head head(p, unit);
  const int64_t width = p.depth, rows = p.rows;
  arena.reserve(4 * 2 * rows * width + 1024);
  float *query = arena.take<float>(rows * width), *output = arena.take<float>(rows * width);
  float total[FEW] = {}, logs[FEW] = {};
  head.queries(0, rows, query);
  memset(output, 0, (size_t)(rows * width) * 4);
  const float *key = p.key.at(head.b, head.h), *value = p.value.at(head.b, head.h);
  for (int64_t j = 0; j < p.slots; j++, key += p.key.row, value += p.value.row) {
    if (p.visible && !p.visible[head.b * p.slots + j]) continue;
    for (int64_t i = p.causal ? (j - p.slots + rows > 0 ? j - p.slots + rows : 0) : 0; i < rows; i++) {
      Vector product{};
      for (int64_t d = 0; d < width; d += LANES) product += load(query + i * width + d) * load(key + d);
      const float s = F::weight(fill(F::SHIFTED ? sum(product) + head.shift(i) : sum(product)))[0];
      if (s == 0) continue;
      if (STATISTICS) total[i] += s, logs[i] += s * logarithm(fill(s))[0];
      float* out = output + i * width;
      for (int64_t d = 0; d < width; d += LANES) store(out + d, load(out + d) + s * load(value + d));
    }
  }
  for (int64_t i = 0; i < rows; i++) {
    memcpy(p.output.at(head.b, head.h) + i * p.output.row, output + i * width, (size_t)width * 4);
    if (STATISTICS) head.row(p.total)[i] = total[i], head.row(p.logs)[i] = logs[i];
  }
}

// Whether a row must not see some of a tile's n slots. Scores beyond the last slot are 0 plus the shift.
template <class F>
bool partly_hidden(int64_t limit, int64_t j0, int64_t n) { return limit < j0 + (F::SHIFTED ? whole(n) : n); }

template <class F, bool STATISTICS>
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
  head.queries(first, rows, query);
  memset(output, 0, (size_t)(rows * width) * 4);
  if (STATISTICS) memset(total + first, 0, (size_t)rows * 4), memset(logs + first, 0, (size_t)rows * 4);
  for (int64_t j0 = 0; j0 < head.seen; j0 += BLOCK) {
    const int64_t n = head.seen - j0 < BLOCK ? head.seen - j0 : BLOCK;
    if (head.limits[last - 1] <= j0) break;
    pack(p.key.at(head.b, head.h), p.key.row, head.slots + j0, n, p.depth, width, value);
    transpose(value, n, width, turned);
    pack(p.value.at(head.b, head.h), p.value.row, head.slots + j0, n, p.depth, width, value);
    for (int64_t i0 = first; i0 < last; i0 += BLOCK) {
      const int64_t m = last - i0 < BLOCK ? last - i0 : BLOCK;
      if (head.limits[i0 + m - 1] <= j0) continue;
      const bool diagonal = partly_hidden<F>(head.limits[i0], j0, n);
      Weights<F, STATISTICS> weights{head, i0, j0, tile, diagonal, p.dropout.threshold != 0, total, logs};
      scores(m, whole(n), p.depth, query + (i0 - first) * width, width, turned, weights);
      if (!weights.found) continue;
      accumulate<false>(m, tile, value, output + (i0 - first) * width, width, head.seen_by(weights, m, n));
    }
  }
  for (int64_t i = 0; i < rows; i++)
    copy(output + i * width, p.depth, 1.0f, p.output.at(head.b, head.h) + (first + i) * p.output.row);
}

template <class F, bool STATISTICS>
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
  head.queries(0, rows, query);
  pack(p.output.at(head.b, head.h), p.output.row, nullptr, rows, p.depth, width, output);
  memset(query_grad, 0, (size_t)(rows * width) * 4);
  float *key_out = p.key_grad.at(head.b, head.h), *value_out = p.value_grad.at(head.b, head.h);
  for (int64_t j = 0; head.seen < p.slots && part == 0 && j < p.slots; j++)
    if (!p.visible[head.b * p.slots + j]) {  // a hidden slot has no gradient
      memset(key_out + j * p.key_grad.row, 0, (size_t)p.depth * 4);
      memset(value_out + j * p.value_grad.row, 0, (size_t)p.depth * 4);
    }
  const int64_t blocks = (head.seen + BLOCK - 1) / BLOCK, end = blocks * (part + 1) / p.parts;
  for (int64_t block = blocks * part / p.parts; block < end; block++) {
    const int64_t j0 = block * BLOCK, n = head.seen - j0 < BLOCK ? head.seen - j0 : BLOCK;
    if (head.limits[rows - 1] <= j0) break;
    pack(p.key.at(head.b, head.h), p.key.row, head.slots + j0, n, p.depth, width, key);
    pack(p.value.at(head.b, head.h), p.value.row, head.slots + j0, n, p.depth, width, value);
    transpose(key, n, width, key_turned);
    transpose(value, n, width, value_turned);
    memset(key_grad, 0, (size_t)(n * width) * 4);
    memset(value_grad, 0, (size_t)(n * width) * 4);
    for (int64_t i0 = 0; i0 < rows; i0 += BLOCK) {
      const int64_t m = rows - i0 < BLOCK ? rows - i0 : BLOCK;
      if (head.limits[i0 + m - 1] <= j0) continue;
      const float *queries = query + i0 * width, *outputs = output + i0 * width;
      const bool diagonal = partly_hidden<F>(head.limits[i0], j0, n);
      Weights<F, false> weights{head, i0, j0, tile, diagonal, false, nullptr, nullptr};
      scores(m, whole(n), p.depth, queries, width, key_turned, weights);
      if (!weights.found) continue;
      scores(m, whole(n), p.depth, outputs, width, value_turned,
             Slopes<F, STATISTICS>{head, i0, j0, tile, slopes, weights.filled, total, logs, drop});
      const Terms seeing = head.seeing(weights, m, n);
      accumulate<true>(n, tile, outputs, value_grad, width, seeing);
      accumulate<true>(n, slopes, queries, key_grad, width, seeing);
      accumulate<false>(m, slopes, key, query_grad + i0 * width, width, head.seen_by(weights, m, n));
    }
    for (int64_t j = 0; j < n; j++) {
      copy(key_grad + j * width, p.depth, 1.0f, key_out + head.slots[j0 + j] * p.key_grad.row);
      copy(value_grad + j * width, p.depth, 1.0f, value_out + head.slots[j0 + j] * p.value_grad.row);
    }
  }
  float* out = p.query_grad.at(head.b, head.h) + part * p.query_grad_part;
  for (int64_t i = 0; i < rows; i++) copy(query_grad + i * width, p.depth, head.factor(i), out + i * p.query_grad.row);
}

Strided strided(const int64_t* v) { return {(float*)v[0], v[1], v[2], v[3]}; }

using Run = void (*)(const Problem&, int64_t);
template <class F, bool STATISTICS>
Run choose(bool back, bool few) {
  return back ? backward<F, STATISTICS> : few ? forward_few<F, STATISTICS> : forward<F, STATISTICS>;
}

}  // namespace

// numbers: see cpu.py, which packs them in this order. function: FUNCTORS of __init__.py; statistics are of ReLU alone.
extern "C" void relu_attention(const int64_t* v, float scale, uint32_t threshold, float dropout_scale) {
  Problem p{};
  const bool back = v[0];
  p.batch = v[1], p.heads = v[2], p.rows = v[3], p.slots = v[4], p.depth = v[5];
  p.causal = v[6], p.threads = v[7], p.parts = v[8];
  p.dropout = {threshold, dropout_scale, (uint64_t)v[9]};
  p.visible = (const uint8_t*)v[10], p.total = (float*)v[11], p.logs = (float*)v[12];
  p.factor = strided(v + 13);
  p.shift = strided(v + 17);
  const int64_t function = v[21];
  p.query = strided(v + 22), p.key = strided(v + 26), p.value = strided(v + 30), p.output = strided(v + 34);
  if (back) {
    p.query_grad = strided(v + 38), p.key_grad = strided(v + 42), p.value_grad = strided(v + 46);
    p.query_grad_part = v[50];
  }
  p.scale = scale;
  const bool few = p.rows <= FEW && p.depth % LANES == 0 && !threshold && p.parts == 1;
  const Run run = function == 2   ? choose<Sigmoid, false>(back, few)
                  : function == 1 ? choose<SquaredReLU, false>(back, few)
                  : p.shift.data  ? choose<ShiftedReLU, false>(back, few)
                  : p.total       ? choose<ReLU, true>(back, few)
                                  : choose<ReLU, false>(back, few);
  const int64_t units = p.batch * p.heads * p.parts;
#pragma omp parallel for schedule(dynamic) num_threads((int)p.threads) if (p.threads > 1 && units > 1)
  for (int64_t unit = 0; unit < units; unit++) run(p, unit);
}
