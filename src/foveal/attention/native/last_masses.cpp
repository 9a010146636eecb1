// What the last queries look at, added up twice: by key (columns) and by distance (slashes), without their weights.
//
// A row is one query's scores over all keys, the last `rows` of a text in order. It is read once from its scores and
// lives in the second-level cache while its softmax is taken and added to both sums.
//
// Shapes   scores (heads, rows, keys) float32 or bfloat16; columns, slashes (heads, keys) float32, means over the rows
// Source   arXiv 2502.20766, section 3.1; MInference's estimate of vertical and slash lines is the same

#include <vector>

#include <omp.h>

#include "softmax.h"

extern "C" {

// Mirrored field by field in estimates.py.
struct Masses {
  const void *scores;
  float *columns, *slashes;
  int64_t heads, rows, keys;
  float cap;  // scores become cap * tanh(score / cap); 0: they stay
  int32_t bfloat16, threads;
};

}  // extern "C"

namespace {

// The scores of a row in `line`, and the greatest of them.
template <typename T>
float read(const T *__restrict__ scores, int64_t count, float cap, float *__restrict__ line) {
  if (cap > 0.0f) {
    for (int64_t j = 0; j < count; ++j) line[j] = std::tanh(load(scores + j) / cap) * cap;
  } else {
    for (int64_t j = 0; j < count; ++j) line[j] = load(scores + j);
  }
  return greatest(line, count);
}

template <typename T>
void add_up(const Masses &c, int64_t head, float *line) {
  float *__restrict__ columns = c.columns + head * c.keys;
  float *backward = c.slashes + head * c.keys;  // place keys - 1 - distance until all rows are in it
  std::fill(columns, columns + c.keys, 0.0f);
  std::fill(backward, backward + c.keys, 0.0f);
  for (int64_t row = 0; row < c.rows; ++row) {
    const T *scores = static_cast<const T *>(c.scores) + (head * c.rows + row) * c.keys;
    const int64_t count = c.keys - c.rows + row + 1;  // the keys that this row may see
    const float most = read(scores, count, c.cap, line) * LOG2_E;
    float total = 0.0f;
#pragma omp simd reduction(+ : total)
    for (int64_t j = 0; j < count; ++j) {
      line[j] = exp2_of(line[j] * LOG2_E - most);
      total += line[j];
    }
    const float share = 1.0f / (total * c.rows);
    float *__restrict__ moved = backward + (c.rows - 1 - row);
    const float *__restrict__ told = line;
    for (int64_t j = 0; j < count; ++j) {
      columns[j] += told[j] * share;
      moved[j] += told[j] * share;
    }
  }
  std::reverse(backward, backward + c.keys);
}

template <typename T>
int run(const Masses &c) {
  std::vector<std::vector<float>> lines(c.threads, std::vector<float>(c.keys));
#pragma omp parallel for num_threads(c.threads) schedule(dynamic, 1)
  for (int64_t head = 0; head < c.heads; ++head) add_up<T>(c, head, lines[omp_get_thread_num()].data());
  return 0;
}

}  // namespace

// 0: done; anything else: there was no memory.
extern "C" int foveal_last_masses(const Masses *call) {
  try {
    return call->bfloat16 ? run<Half>(*call) : run<float>(*call);
  } catch (...) {
    return 1;
  }
}
