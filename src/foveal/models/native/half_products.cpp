// x W^T + b in float32 for few tokens, where W is kept in bfloat16: half the memory, and half of what a token must read.
//
// W lies in panels of COLUMNS outputs, x in panels of ROWS tokens, whose sums stay in registers (Goto and van de Geijn,
// 2008); DEPTH of the inner dimension at a time, so that a piece of W stays in the first-level cache while all tokens
// pass it. A vector of W holds two outputs in each lane, j and j + LANES: the lower half becomes a float by a shift,
// the upper by a mask.
//
// Shapes   x (tokens, depth), weight (outputs, depth), out (tokens, outputs) float32; bias (outputs) or null
//          panels (outputs / COLUMNS, rounded up; depth; LANES) of 32 bits

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

#include <omp.h>

namespace {

// As many rows as leave registers for two vectors of W, a number of x and the mask.
#if defined(__AVX512F__)
constexpr int64_t LANES = 16, ROWS = 12;
#elif defined(__AVX2__)
constexpr int64_t LANES = 8, ROWS = 6;
#elif defined(__aarch64__)
constexpr int64_t LANES = 4, ROWS = 12;
#else
constexpr int64_t LANES = 4, ROWS = 6;
#endif
constexpr int64_t COLUMNS = 2 * LANES;
constexpr int64_t DEPTH = 384;

using Floats = float __attribute__((vector_size(4 * LANES)));
using Pairs = uint32_t __attribute__((vector_size(4 * LANES)));

// out (rows, COLUMNS) += x W over `depth`; x (depth, ROWS). `rows` is known to the compiler.
template <int64_t rows>
void product(int64_t depth, const float *x, const uint32_t *panel, float *out, int64_t stride) {
  Floats sums[rows][2];
  for (int64_t i = 0; i < rows; ++i)
    for (int h = 0; h < 2; ++h) std::memcpy(&sums[i][h], out + i * stride + h * LANES, sizeof(Floats));
  for (int64_t k = 0; k < depth; ++k) {
    Pairs pairs;
    std::memcpy(&pairs, panel + k * LANES, sizeof(pairs));
    const Floats low = (Floats)(pairs << 16), high = (Floats)(pairs & 0xffff0000u);
#pragma GCC unroll 16
    for (int64_t i = 0; i < rows; ++i) {
      sums[i][0] += x[k * ROWS + i] * low;
      sums[i][1] += x[k * ROWS + i] * high;
    }
  }
  for (int64_t i = 0; i < rows; ++i)
    for (int h = 0; h < 2; ++h) std::memcpy(out + i * stride + h * LANES, &sums[i][h], sizeof(Floats));
}

template <int64_t rows = ROWS>
void product_of(int64_t count, int64_t depth, const float *x, const uint32_t *panel, float *out, int64_t stride) {
  if (count == rows) return product<rows>(depth, x, panel, out, stride);
  if constexpr (rows > 1) product_of<rows - 1>(count, depth, x, panel, out, stride);
}

struct Call {
  const float *x;  // (tokens / ROWS, depth, ROWS)
  const uint32_t *panels;
  const float *bias;
  float *out;
  int64_t tokens, depth, outputs;
};

// The outputs of panel p.
void outputs(const Call &c, int64_t p) {
  const int64_t column = p * COLUMNS, width = std::min(COLUMNS, c.outputs - column);
  const bool whole = width == COLUMNS;
  alignas(64) float edge[ROWS * COLUMNS];  // of a panel that reaches beyond the outputs
  for (int64_t at = 0; at < c.depth; at += DEPTH)
    for (int64_t first = 0; first < c.tokens; first += ROWS) {
      const int64_t rows = std::min(ROWS, c.tokens - first), stride = whole ? c.outputs : COLUMNS;
      float *to = c.out + first * c.outputs + column, *sums = whole ? to : edge;
      for (int64_t i = 0; i < rows; ++i) {
        float *line = sums + i * stride;
        if (at > 0 && !whole) std::memcpy(line, to + i * c.outputs, 4 * width);
        if (at == 0 && c.bias) std::memcpy(line, c.bias + column, 4 * width);
        if (at == 0 && !c.bias) std::memset(line, 0, 4 * width);
      }
      product_of(rows, std::min(DEPTH, c.depth - at), c.x + first * c.depth + at * ROWS,
                 c.panels + (p * c.depth + at) * LANES, sums, stride);
      for (int64_t i = 0; i < rows && !whole; ++i) std::memcpy(to + i * c.outputs, edge + i * COLUMNS, 4 * width);
    }
}

int64_t up(int64_t number, int64_t multiple) { return (number + multiple - 1) / multiple * multiple; }

struct Free {
  void operator()(float *at) const { ::operator delete[](at, std::align_val_t{64}); }
};

}  // namespace

extern "C" {

// 32-bit numbers that the panels of a weight take.
int64_t half_size(int64_t outputs, int64_t depth) { return up(outputs, COLUMNS) / 2 * depth; }

// Fills the panels; 0 where a number has no bfloat16 that equals it.
int32_t half_pack(const float *weight, int64_t outputs, int64_t depth, uint32_t *panels) {
  uint32_t lost = 0;
  for (int64_t from = 0; from < outputs && !lost; from += COLUMNS, panels += LANES * depth)
    for (int64_t at = 0; at < depth; at += LANES)  // a few lines at a time: they stay in the first-level cache
      for (int64_t j = 0; j < LANES; ++j) {
        const bool has_low = from + j < outputs, has_high = from + j + LANES < outputs;
        const float *low = weight + (from + j) * depth, *high = low + LANES * depth;
        for (int64_t k = at; k < std::min(depth, at + LANES); ++k) {
          uint32_t one = 0, two = 0;
          if (has_low) std::memcpy(&one, low + k, 4);
          if (has_high) std::memcpy(&two, high + k, 4);
          lost |= (one | two) & 0xffffu;
          panels[k * LANES + j] = (one >> 16) | (two & 0xffff0000u);
        }
      }
  return lost == 0;
}

// 0 where there is no memory for the tokens.
int32_t half_product(const float *x, const uint32_t *panels, const float *bias, float *out, int64_t tokens,
                     int64_t depth, int64_t count, int64_t threads) {
  const std::unique_ptr<float, Free> turned(static_cast<float *>(
      ::operator new[](sizeof(float) * up(tokens, ROWS) * depth, std::align_val_t{64}, std::nothrow)));
  if (!turned) return 0;
  for (int64_t i = 0; i < tokens; ++i) {
    float *to = turned.get() + i / ROWS * ROWS * depth + i % ROWS;  // places of tokens that are missing stay unread
    for (int64_t k = 0; k < depth; ++k) to[k * ROWS] = x[i * depth + k];
  }
  const Call call{turned.get(), panels, bias, out, tokens, depth, count};
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t p = 0; p < up(count, COLUMNS) / COLUMNS; ++p) outputs(call, p);
  return 1;
}

}  // extern "C"
