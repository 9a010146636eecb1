// What one decoding step adds to its window: the values of the keys that were found, and what is expected of the rest.
// memory_parts.py says the same in PyTorch, and says why.
//
// Shapes   queries (groups, asked, width): the heads of a group and their queries; outputs (groups, asked, value width)
//          and log-sum-exps (groups, asked), float32

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <omp.h>

#include "softmax.h"

extern "C" {

// Mirrored field by field in memory_native.py.
struct FoundKeys {
  const int64_t *ids;     // (groups, asked, k), -1 where there were fewer
  const float *products;  // likewise, not scaled
  const void *base, *more;  // values in two parts: id < base_count is of the first
  float *output, *sums;
  int64_t groups, asked, k, width;
  int64_t base_count, base_group, base_row, more_group, more_row;  // steps, in numbers
  int64_t more_count;
  float scale, cap;  // scores become cap * tanh(score / cap); 0: they stay
  int32_t bfloat16, threads;
};

struct Clusters {
  const float *queries, *lowest;  // (groups, asked, width), not scaled; (groups, asked), scaled
  const float *counts, *keys, *covariance, *values, *cross;
  float *output, *sums;
  int64_t groups, asked, clusters, width, value_width;
  float scale;
  int32_t threads;
};

}  // extern "C"

namespace {

constexpr int64_t AHEAD = 8;  // rows that are asked for before they are needed

// The greater of two; what is no number stays so, where std::max would pass it over.
template <typename T>
T greater(T most, T other) {
  return most >= other ? most : std::isnan(most) ? most : other;
}

template <typename T>
const T *row_of(const FoundKeys &c, int64_t group, int64_t id) {
  return id < c.base_count ? static_cast<const T *>(c.base) + group * c.base_group + id * c.base_row
                           : static_cast<const T *>(c.more) + group * c.more_group + (id - c.base_count) * c.more_row;
}

template <typename T>
void fetch(const T *row, int64_t width) {
  const char *start = reinterpret_cast<const char *>(row);
  for (int64_t at = 0; at < width * static_cast<int64_t>(sizeof(T)); at += 64) __builtin_prefetch(start + at);
}

template <typename T>
void read_one(const FoundKeys &c, int64_t at, std::vector<float> &scores) {
  const int64_t group = at / c.asked;
  const int64_t *ids = c.ids + at * c.k;
  float *__restrict__ output = c.output + at * c.width;
  float most = NOTHING, total = 0.0f;
  for (int64_t n = 0; n < c.k; ++n) {
    const float score = c.products[at * c.k + n] * c.scale;
    scores[n] = ids[n] < 0 ? NOTHING : c.cap > 0.0f ? c.cap * std::tanh(score / c.cap) : score;
    most = greater(most, scores[n]);
  }
  std::fill(output, output + c.width, 0.0f);
  c.sums[at] = NOTHING;
  if (most == NOTHING) return;
  for (int64_t n = 0; n < std::min(AHEAD, c.k); ++n)
    if (ids[n] >= 0) fetch(row_of<T>(c, group, ids[n]), c.width);
  for (int64_t n = 0; n < c.k; ++n) {
    if (n + AHEAD < c.k && ids[n + AHEAD] >= 0) fetch(row_of<T>(c, group, ids[n + AHEAD]), c.width);
    if (ids[n] < 0) continue;
    const float share = exp2_of((scores[n] - most) * LOG2_E);
    const T *__restrict__ row = row_of<T>(c, group, ids[n]);
    total += share;
    for (int64_t i = 0; i < c.width; ++i) output[i] += share * load(row + i);
  }
  for (int64_t i = 0; i < c.width; ++i) output[i] /= total;
  c.sums[at] = most + std::log(total);
}

template <typename T>
int read_all(const FoundKeys &c) {
  const int64_t most = c.base_count + c.more_count;
  for (int64_t n = 0; n < c.groups * c.asked * c.k; ++n)
    if (c.ids[n] >= most) return 2;
  std::vector<std::vector<float>> scores(c.threads, std::vector<float>(c.k));
#pragma omp parallel for num_threads(c.threads) schedule(static)
  for (int64_t at = 0; at < c.groups * c.asked; ++at) read_one<T>(c, at, scores[omp_get_thread_num()]);
  return 0;
}

// The logarithm of the share of a normal distribution below x.
double log_below(double x) {
  if (x > 0.0) return std::log1p(-0.5 * std::erfc(x * M_SQRT1_2));
  if (x > -30.0) return std::log(0.5 * std::erfc(-x * M_SQRT1_2));
  const double square = x * x;
  const double tail = std::log1p(-1.0 / square + 3.0 / (square * square));
  return -0.5 * square - std::log(-x) - 0.5 * std::log(2.0 * M_PI) + tail;
}

// The sum of the rows of a matrix, each by a number of the vector, in a width that the compiler knows.
template <int width>
void add_rows(const float *__restrict__ vector, const float *__restrict__ matrix, int64_t rows,
              float *__restrict__ sum) {
  float held[width] = {};  // in registers
  for (int64_t i = 0; i < rows; ++i)
    for (int j = 0; j < width; ++j) held[j] += vector[i] * matrix[i * width + j];
  std::copy(held, held + width, sum);
}

void add_rows(const float *__restrict__ vector, const float *__restrict__ matrix, int64_t rows, int64_t width,
              float *__restrict__ sum) {
  if (width == 64) return add_rows<64>(vector, matrix, rows, sum);
  if (width == 128) return add_rows<128>(vector, matrix, rows, sum);
  std::fill(sum, sum + width, 0.0f);
  for (int64_t i = 0; i < rows; ++i) {
    const float by = vector[i];
    const float *__restrict__ row = matrix + i * width;
    for (int64_t j = 0; j < width; ++j) sum[j] += by * row[j];
  }
}

float dot(const float *__restrict__ one, const float *__restrict__ other, int64_t width) {
  float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < width; ++i) sum += one[i] * other[i];
  return sum;
}

// What a query expects of one cluster: the logarithm of its mass, and how far values go along with scores.
struct Expected {
  double mass, along;
};

Expected expected(double count, double mean, double variance, double lowest) {
  const double deviation = std::sqrt(variance), above = (lowest - mean - variance) / deviation;
  if (count <= 0.0 || above == -std::numeric_limits<double>::infinity()) return {NOTHING, 0.0};
  const double below = log_below(above);
  const double cut = above < -30.0 ? -above : std::exp(-0.5 * above * above - 0.5 * std::log(2.0 * M_PI) - below);
  return {std::log(count) + mean + 0.5 * variance + below, (variance - deviation * cut) / variance};
}

void expect_of_group(const Clusters &c, int64_t group) {
  const int64_t width = c.width, values = c.value_width;
  std::vector<float> asked(c.asked * width), along(std::max(width, values));
  std::vector<Expected> found(c.asked * c.clusters);
  for (size_t i = 0; i < asked.size(); ++i) asked[i] = c.queries[group * c.asked * width + i] * c.scale;
  for (int64_t s = 0; s < c.clusters; ++s) {
    const int64_t cluster = group * c.clusters + s;
    for (int64_t n = 0; n < c.asked; ++n) {
      const float *query = asked.data() + n * width;
      add_rows(query, c.covariance + cluster * width * width, width, width, along.data());
      const double variance = std::max(dot(along.data(), query, width), 1e-9f);
      const double mean = dot(query, c.keys + cluster * width, width);
      found[n * c.clusters + s] = expected(c.counts[cluster], mean, variance, c.lowest[group * c.asked + n]);
    }
  }
  std::vector<double> total(c.asked);
  for (int64_t n = 0; n < c.asked; ++n) {
    double most = NOTHING, sum = 0.0;
    for (int64_t s = 0; s < c.clusters; ++s) most = greater(most, found[n * c.clusters + s].mass);
    for (int64_t s = 0; s < c.clusters && most != NOTHING; ++s) sum += std::exp(found[n * c.clusters + s].mass - most);
    total[n] = most == NOTHING ? NOTHING : most + std::log(sum);
    c.sums[group * c.asked + n] = total[n];
  }
  std::fill(c.output + group * c.asked * values, c.output + (group + 1) * c.asked * values, 0.0f);
  for (int64_t s = 0; s < c.clusters; ++s) {
    const int64_t cluster = group * c.clusters + s;
    for (int64_t n = 0; n < c.asked; ++n) {
      const Expected &one = found[n * c.clusters + s];
      const double share = one.mass == NOTHING ? 0.0 : std::exp(one.mass - total[n]);
      if (share < 1e-9) continue;  // less than float32 tells
      add_rows(asked.data() + n * width, c.cross + cluster * width * values, width, values, along.data());
      float *__restrict__ output = c.output + (group * c.asked + n) * values;
      const float *value = c.values + cluster * values;
      for (int64_t i = 0; i < values; ++i) output[i] += share * (value[i] + one.along * along[i]);
    }
  }
}

}  // namespace

extern "C" {

// 0: done; 2: an id of no value; anything else: there was no memory.
int foveal_read_found(const FoundKeys *call) {
  try {
    return call->bfloat16 ? read_all<Half>(*call) : read_all<float>(*call);
  } catch (...) {
    return 1;
  }
}

// 0: done; anything else: there was no memory.
int foveal_expect_rest(const Clusters *call) {
  std::vector<char> failed(call->groups, 0);
#pragma omp parallel for num_threads(call->threads) schedule(static)
  for (int64_t group = 0; group < call->groups; ++group) {
    try {
      expect_of_group(*call, group);
    } catch (...) {
      failed[group] = 1;
    }
  }
  return std::any_of(failed.begin(), failed.end(), [](char one) { return one; });
}

}  // extern "C"
