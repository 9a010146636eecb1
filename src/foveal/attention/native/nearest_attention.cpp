// One query of each head over the nearest of the keys that it is pointed to: products with all of these, the greatest
// `count`, their softmax, the sum of their values. Runs of keys lie together in memory, so they are read as they come;
// of the values only those of the nearest are read.
//
// Shapes   query (heads, width), keys and values (groups, keys, width) by strides, output (heads, width of values);
//          starts, lengths (heads, runs): the runs of a head hold `listed` keys in all
// Equal    products: the key that is listed first

#include <numeric>
#include <vector>

#include <omp.h>

#include "softmax.h"

extern "C" {

// Mirrored field by field in nearest_attention.py.
struct Nearest {
  const void *query, *key, *value;
  void *output;
  const int64_t *starts, *lengths;
  int64_t heads, groups, runs, width, value_width;
  int64_t query_head, key_group, key_row, value_group, value_row;  // steps, in numbers
  int64_t keys, listed, count;
  float scale, cap;  // scores become cap * tanh(score / cap); 0: they stay
  int32_t bfloat16, threads;
};

}  // extern "C"

namespace {

template <typename T>
float product(const float *__restrict__ one, const T *__restrict__ other, int64_t width) {
  float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < width; ++i) sum += one[i] * load(other + i);
  return sum;
}

struct Room {
  std::vector<float> query, scores, sums;
  std::vector<int64_t> places;
  std::vector<int32_t> order;
};

// Scores and places of the listed keys; whether all are finite.
template <typename T>
bool looked_at(const Nearest &c, int64_t head, Room &room) {
  const T *query = static_cast<const T *>(c.query) + head * c.query_head;
  const T *keys = static_cast<const T *>(c.key) + head / (c.heads / c.groups) * c.key_group;
  for (int64_t i = 0; i < c.width; ++i) room.query[i] = load(query + i) * c.scale;
  bool finite = true;
  int64_t at = 0;
  for (int64_t run = head * c.runs; run < (head + 1) * c.runs; ++run)
    for (int64_t place = c.starts[run]; place < c.starts[run] + c.lengths[run]; ++place, ++at) {
      const float score = product(room.query.data(), keys + place * c.key_row, c.width);
      room.scores[at] = c.cap > 0.0f ? c.cap * std::tanh(score / c.cap) : score;
      room.places[at] = place;
      finite &= std::isfinite(room.scores[at]);
    }
  return finite;
}

template <typename T>
void attend(const Nearest &c, int64_t head, Room &room) {
  T *output = static_cast<T *>(c.output) + head * c.value_width;
  if (!looked_at<T>(c, head, room)) {  // as dense attention has it
    for (int64_t i = 0; i < c.value_width; ++i) store(output + i, std::numeric_limits<float>::quiet_NaN());
    return;
  }
  const float *scores = room.scores.data();
  std::iota(room.order.begin(), room.order.end(), 0);
  if (c.count < c.listed)
    std::nth_element(room.order.begin(), room.order.begin() + c.count, room.order.end(), [&](int32_t a, int32_t b) {
      return scores[a] > scores[b] || (scores[a] == scores[b] && a < b);
    });
  float most = NOTHING, total = 0.0f;
  for (int64_t n = 0; n < c.count; ++n) most = std::max(most, scores[room.order[n]]);
  const T *values = static_cast<const T *>(c.value) + head / (c.heads / c.groups) * c.value_group;
  float *__restrict__ sums = room.sums.data();
  std::fill(sums, sums + c.value_width, 0.0f);
  for (int64_t n = 0; n < c.count; ++n) {
    const float share = exp2_of((scores[room.order[n]] - most) * LOG2_E);
    const T *__restrict__ value = values + room.places[room.order[n]] * c.value_row;
    total += share;
    for (int64_t i = 0; i < c.value_width; ++i) sums[i] += share * load(value + i);
  }
  for (int64_t i = 0; i < c.value_width; ++i) store(output + i, sums[i] / total);
}

// Whether each head's runs are of keys that there are, and list as many as they are said to.
bool within(const Nearest &c) {
  for (int64_t head = 0; head < c.heads; ++head) {
    int64_t listed = 0;
    for (int64_t run = head * c.runs; run < (head + 1) * c.runs; ++run) {
      const int64_t start = c.starts[run], length = c.lengths[run];
      if (start < 0 || length < 0 || start > c.keys || length > c.keys - start) return false;
      listed += length;
    }
    if (listed != c.listed) return false;
  }
  return true;
}

template <typename T>
int run(const Nearest &c) {
  const Room empty{std::vector<float>(c.width), std::vector<float>(c.listed), std::vector<float>(c.value_width),
                   std::vector<int64_t>(c.listed), std::vector<int32_t>(c.listed)};
  std::vector<Room> rooms(c.threads, empty);
#pragma omp parallel for num_threads(c.threads) schedule(static)
  for (int64_t head = 0; head < c.heads; ++head) attend<T>(c, head, rooms[omp_get_thread_num()]);
  return 0;
}

}  // namespace

// 0: done; 2: runs of other keys; anything else: there was no memory.
extern "C" int foveal_nearest_attention(const Nearest *call) {
  if (!within(*call)) return 2;
  try {
    return call->bfloat16 ? run<Half>(*call) : run<float>(*call);
  } catch (...) {
    return 1;
  }
}
