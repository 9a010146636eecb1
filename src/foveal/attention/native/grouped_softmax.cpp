// The grouped softmax of landmark attention over rows of scores, and its backward, each in place and in one pass.
//
// A row is one query's scores over `width` keys, whole blocks; the last key of a block is its landmark. What a row
// becomes: the weight of each ordinary key, and in a landmark's place the weight that its block was given (0 for the
// query's own). Scores float32 or bfloat16; all sums in float32.
//
// Source   arXiv 2305.16300, section 3; the backward is derived in landmark_weights.py

#include <vector>

#include <omp.h>

#include "softmax.h"

extern "C" {

// Mirrored field by field in landmark_weights.py.
struct Grouped {
  void *scores;        // (rows, width); forward: scores in, weights out; backward: weights
  void *told;          // (rows, width); backward: gradients of the weights in, of the scores out
  float *sums;         // (rows); forward: log-sum-exp out; backward: sum of weight times gradient in
  int64_t rows, queries, width, block, lead, first;  // row r is the query at position first + r % queries
  float scale;
  int32_t bfloat16, threads;
};

}  // extern "C"

namespace {

// What keys `from` to `end` of a block sum to: they become 2^(x - their largest); `most` is that, the sum is given.
inline float exponents(float *line, int64_t from, int64_t end, float *most) {
  float top = NOTHING;
  for (int64_t j = from; j < end; ++j) top = std::max(top, line[j]);
  *most = top;
  if (!(top > NOTHING)) {
    for (int64_t j = from; j < end; ++j) line[j] = 0.0f;
    return 0.0f;
  }
  float total = 0.0f;
  for (int64_t j = from; j < end; ++j) {
    line[j] = exp2_of(line[j] - top);
    total += line[j];
  }
  return total;
}

template <typename T>
void weigh(const Grouped &c, int64_t row, float *line, float *gates, float *within) {
  T *s = static_cast<T *>(c.scores) + row * c.width;
  const int64_t place = c.first + row % c.queries, own = place / c.block, mark = c.block - 1;
  const int64_t seen = (own + 1) * c.block;
  const float scale = c.scale * LOG2_E;
  for (int64_t j = 0; j < seen; ++j) line[j] = load(s + j) * scale;
  float top = NOTHING;
  for (int64_t n = 0; n <= own; ++n) {
    float *part = line + n * c.block;
    const int64_t from = n == 0 ? c.lead : 0, end = n < own ? mark : std::min(place % c.block + 1, mark);
    const float opened = part[mark];
    float most;
    const float total = exponents(part, from, end, &most);
    gates[n] = n < own ? opened : total > 0.0f ? most + std::log2(total) : NOTHING;
    within[n] = total > 0.0f ? 1.0f / total : 0.0f;
    top = std::max(top, gates[n]);
  }
  float total = 0.0f;
  for (int64_t n = 0; n <= own; ++n) total += top > NOTHING ? exp2_of(gates[n] - top) : 0.0f;
  c.sums[row] = total > 0.0f ? (top + std::log2(total)) * LN_2 : NOTHING;
  for (int64_t n = 0; n <= own; ++n) {
    const float gate = total > 0.0f ? exp2_of(gates[n] - top) / total : 0.0f, share = gate * within[n];
    const float *part = line + n * c.block;
    T *to = s + n * c.block;
    const int64_t from = n == 0 ? c.lead : 0, end = n < own ? mark : std::min(place % c.block + 1, mark);
    for (int64_t j = 0; j < from; ++j) store(to + j, 0.0f);
    for (int64_t j = from; j < end; ++j) store(to + j, part[j] * share);
    for (int64_t j = std::max(from, end); j < mark; ++j) store(to + j, 0.0f);
    store(to + mark, n < own ? gate : 0.0f);
  }
  std::memset(static_cast<void *>(s + seen), 0, sizeof(T) * (c.width - seen));
}

template <typename T>
void turn(const Grouped &c, int64_t row) {
  const T *w = static_cast<const T *>(c.scores) + row * c.width;
  T *d = static_cast<T *>(c.told) + row * c.width;
  const int64_t place = c.first + row % c.queries, own = place / c.block, mark = c.block - 1;
  const float delta = c.sums[row];
  for (int64_t n = 0; n <= own; ++n) {
    const T *weight = w + n * c.block;
    T *told = d + n * c.block;
    float spread = 0.0f, total = 0.0f;
    for (int64_t j = 0; j < mark; ++j) {
      spread += load(weight + j) * load(told + j);
      total += load(weight + j);
    }
    const float centre = n == own ? delta : total > 0.0f ? spread / total : 0.0f;
    for (int64_t j = 0; j < mark; ++j) store(told + j, load(weight + j) * (load(told + j) - centre) * c.scale);
    store(told + mark, n < own ? (spread - load(weight + mark) * delta) * c.scale : 0.0f);
  }
  const int64_t seen = (own + 1) * c.block;
  std::memset(static_cast<void *>(d + seen), 0, sizeof(T) * (c.width - seen));
}

template <typename T>
void forward(const Grouped &c) {
  const int64_t blocks = c.width / c.block;
  std::vector<std::vector<float>> rooms(c.threads, std::vector<float>(c.width + 2 * blocks));
#pragma omp parallel for schedule(dynamic, 32) num_threads(c.threads)
  for (int64_t row = 0; row < c.rows; ++row) {
    float *line = rooms[omp_get_thread_num()].data(), *gates = line + c.width;
    weigh<T>(c, row, line, gates, gates + blocks);
  }
}

template <typename T>
void backward(const Grouped &c) {
#pragma omp parallel for schedule(dynamic, 32) num_threads(c.threads)
  for (int64_t row = 0; row < c.rows; ++row) turn<T>(c, row);
}

}  // namespace

// 0: done; anything else: there was no memory.
extern "C" int foveal_grouped_softmax(const Grouped *call) {
  try {
    call->bfloat16 ? forward<Half>(*call) : forward<float>(*call);
    return 0;
  } catch (...) {
    return 1;
  }
}

extern "C" int foveal_grouped_softmax_backward(const Grouped *call) {
  call->bfloat16 ? backward<Half>(*call) : backward<float>(*call);
  return 0;
}
