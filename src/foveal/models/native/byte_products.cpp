// Tokens as bytes, and the sums of products of bytes as floats again: what stands before and behind a product of int8.
//
// Shapes   x (tokens, depth), out (tokens, outputs) float32; bytes (tokens, depth) int8; rows (tokens), columns
//          (outputs), bias (outputs, or null) float32; sums (tokens, outputs) int32, which become floats where they lie

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace {
constexpr float MOST = 127.0f;
}

extern "C" {

// Each row by a scale of its own, so that its largest number is 127; a row that is not finite becomes NaN.
void byte_rows(const float *x, int64_t tokens, int64_t depth, int8_t *bytes, float *rows, int64_t threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t i = 0; i < tokens; ++i) {
    const float *from = x + i * depth;
    int8_t *to = bytes + i * depth;
    uint32_t top = 0;  // of the bits without the sign: the order of floats, and NaN above all
    for (int64_t k = 0; k < depth; ++k) {
      uint32_t bits;
      std::memcpy(&bits, from + k, sizeof(bits));
      top = std::max(top, bits & 0x7fffffffu);
    }
    float largest;
    std::memcpy(&largest, &top, sizeof(largest));
    const bool finite = top < 0x7f800000u;
    rows[i] = finite ? largest / MOST : std::nanf("");
    const float by = finite && largest > 1e-30f ? MOST / largest : 0.0f;
    if (by == 0.0f) {
      std::memset(to, 0, depth);
      continue;
    }
    for (int64_t k = 0; k < depth; ++k) to[k] = (int8_t)(int32_t)std::nearbyint(from[k] * by);
  }
}

// sums -> sums * rows * columns + bias, as floats in the same place.
void byte_sums(int32_t *sums, int64_t tokens, int64_t outputs, const float *rows, const float *columns,
               const float *bias, int64_t threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t i = 0; i < tokens; ++i) {
    int32_t *at = sums + i * outputs;
    const float row = rows[i];
    for (int64_t j = 0; j < outputs; ++j) {
      float made = (float)at[j] * (row * columns[j]);
      if (bias) made += bias[j];
      std::memcpy(at + j, &made, sizeof(made));
    }
  }
}
}
