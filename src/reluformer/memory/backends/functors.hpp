// f of a read: `weight` is f(scores), `slope` the gradient of scores given that of their weights s. A slope may depend
// on s alone, as scores are not stored; weights of 0 have slope 0 and are skipped. SHIFTED: adds b_i to scores first.
#pragma once

#include "vector.hpp"

namespace {

struct ReLU {
  static constexpr bool SHIFTED = false;
  static Vector weight(Vector x) { return x < 0.0f ? Vector{} : x; }  // NaN stays
  static Vector slope(Vector s, Vector g) { return s > 0.0f ? g : Vector{}; }
};

struct ShiftedReLU : ReLU {
  static constexpr bool SHIFTED = true;
};

struct SquaredReLU {
  static constexpr bool SHIFTED = true;
  static Vector weight(Vector x) { x = ReLU::weight(x); return x * x; }
  static Vector slope(Vector s, Vector g) { return 2.0f * root(s) * g; }  // of x^2, 2x
};

struct Sigmoid {
  static constexpr bool SHIFTED = true;
  static Vector weight(Vector x) {
    const Vector z = exponential(x < 0.0f ? x : -x), p = 1.0f / (1.0f + z);
    return x < 0.0f ? z * p : p;
  }
  static Vector slope(Vector s, Vector g) { return s * (1.0f - s) * g; }
};

}  // namespace
