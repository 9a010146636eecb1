// Attention where each query sees one run of keys, forward and backward, in float32: sliding windows, blocks, clusters.
//
// Queries are taken in blocks. Their keys are laid out once a block, column by column, so that sixteen scores are one
// product; scores never leave the cache. Backward makes them again from what they summed to (FlashAttention, Dao et al.
// 2022). Blocks that share keys never run at the same time, so that sums come in one order, whatever the threads are.
//
// Shapes   q (B, H, N, D), k and v (B, H, M, D), out (B, H, N, D), lse (B, H, N), all dense; D a multiple of 16

#include <vector>

#include <omp.h>

#include "softmax.h"

extern "C" {

// Mirrored field by field in range_attention.py.
struct Ranged {
  const float *q, *k, *v;
  float *out, *lse;
  const float *told;     // backward: gradients of out
  float *dq, *dk, *dv;   // backward; dk and dv come as zeros
  const int32_t *first, *last;  // query i sees keys first[i] to last[i]; none where last < first
  const int64_t *order;  // (B, H, N), N = M: list place i is row order[i] of all tensors but first and last; or null
  int64_t batch, heads, queries, keys, width;
  int64_t ranges_batch, ranges_head;  // between batches, and heads, of first and last; 0: shared
  float scale;
  int32_t threads;
};

}  // extern "C"

namespace {

constexpr int64_t LANES = 16, PAIR = 2 * LANES, ROWS = 8, BLOCK = 64;
using Vec = float __attribute__((vector_size(64), aligned(4), may_alias));

inline Vec get(const float *from) { return *reinterpret_cast<const Vec *>(from); }
inline void put(float *to, Vec value) { *reinterpret_cast<Vec *>(to) = value; }

struct Span {
  int64_t from, to;  // keys from, up to but without to
  bool empty() const { return to <= from; }
};

// One head of one batch.
struct Head {
  const Ranged &c;
  const float *q, *k, *v, *told;
  float *out, *lse, *dq, *dk, *dv;
  const int32_t *first, *last;
  const int64_t *order;

  Head(const Ranged &call, int64_t number) : c(call) {
    const int64_t b = number / c.heads, h = number % c.heads;
    const int64_t asked = number * c.queries * c.width, held = number * c.keys * c.width;
    q = c.q + asked, k = c.k + held, v = c.v + held;
    out = c.out + asked, lse = c.lse + number * c.queries;
    told = c.told ? c.told + asked : nullptr;
    dq = c.dq ? c.dq + asked : nullptr, dk = c.dk ? c.dk + held : nullptr, dv = c.dv ? c.dv + held : nullptr;
    first = c.first + b * c.ranges_batch + h * c.ranges_head;
    last = c.last + b * c.ranges_batch + h * c.ranges_head;
    order = c.order ? c.order + number * c.queries : nullptr;
  }

  int64_t at(int64_t place) const { return order ? order[place] : place; }

  Span seen(int64_t begin, int64_t end) const {  // by list places begin to end
    Span span{c.keys, 0};
    for (int64_t i = begin; i < end; ++i)
      if (first[i] <= last[i]) {
        span.from = std::min<int64_t>(span.from, first[i]);
        span.to = std::max<int64_t>(span.to, last[i] + 1);
      }
    return span;
  }
};

struct Room {  // of one thread
  std::vector<float> keys, values, scores, slopes, asked, arrived, made;
  int64_t line = 0;  // between two columns of a layout, and two rows of scores

  void fit(int64_t width, int64_t seen, bool backward) {
    line = (seen + 2 * PAIR) / LANES * LANES;
    line += line / LANES % 2 ? 0 : LANES;  // an even number of cache lines apart, columns would share a few sets
    keys.resize(width * line);
    scores.resize(ROWS * line);
    for (auto *part : {&asked, &made}) part->resize(ROWS * width);
    if (!backward) return;
    values.resize(width * line), slopes.resize(ROWS * line), arrived.resize(ROWS * width);
  }
};

// Rows of `from` at the places of a span, as columns; what lies behind the last is zero for two pairs.
void lay(const Head &head, const float *from, Span span, float *to, int64_t line) {
  const int64_t width = head.c.width, count = span.to - span.from;
  for (int64_t d = 0; d < width; ++d) std::fill(to + d * line + count, to + d * line + std::min(line, count + PAIR), 0.0f);
  for (int64_t j = 0; j < count; ++j) {
    const float *row = from + head.at(span.from + j) * width;
    for (int64_t d = 0; d < width; ++d) to[d * line + j] = row[d];
  }
}

void copy_rows(const Head &head, const float *from, int64_t begin, int64_t count, float *to) {
  const int64_t width = head.c.width;
  for (int64_t r = 0; r < ROWS; ++r) {
    if (r < count)
      std::memcpy(to + r * width, from + head.at(begin + r) * width, width * sizeof(float));
    else
      std::memset(to + r * width, 0, width * sizeof(float));
  }
}

// out[r][j] = rows[r] . column j, for columns `from` to `to`; up to a pair more is written.
void products(const float *rows, const float *columns, int64_t line, int64_t width, int64_t from, int64_t to, float *out) {
  for (int64_t j = from; j < to; j += PAIR) {
    Vec a[ROWS], b[ROWS];
    for (int64_t r = 0; r < ROWS; ++r) a[r] = b[r] = Vec{};
    for (int64_t d = 0; d < width; ++d) {
      const Vec x = get(columns + d * line + j), y = get(columns + d * line + j + LANES);
#pragma GCC unroll 8
      for (int64_t r = 0; r < ROWS; ++r) {
        const float one = rows[r * width + d];
        a[r] += x * one;
        b[r] += y * one;
      }
    }
    for (int64_t r = 0; r < ROWS; ++r) put(out + r * line + j, a[r]), put(out + r * line + j + LANES, b[r]);
  }
}

// sums[r] += weights[r][j] * row j of `from`, for keys `low` to `high` of a span.
template <int64_t VECTORS>
void sum_part(const Head &head, const float *weights, int64_t line, const float *from, Span span, int64_t low, int64_t high,
              int64_t column, float *sums) {
  const int64_t width = head.c.width;
  Vec a[ROWS][VECTORS];
  for (int64_t r = 0; r < ROWS; ++r)
    for (int64_t n = 0; n < VECTORS; ++n) a[r][n] = Vec{};
  for (int64_t j = low; j < high; ++j) {
    const float *row = from + head.at(span.from + j) * width + column;
    Vec x[VECTORS];
    for (int64_t n = 0; n < VECTORS; ++n) x[n] = get(row + n * LANES);
#pragma GCC unroll 8
    for (int64_t r = 0; r < ROWS; ++r) {
      const float weight = weights[r * line + j];
      for (int64_t n = 0; n < VECTORS; ++n) a[r][n] += x[n] * weight;
    }
  }
  for (int64_t r = 0; r < ROWS; ++r)
    for (int64_t n = 0; n < VECTORS; ++n) put(sums + r * width + column + n * LANES, a[r][n]);
}

void sum_rows(const Head &head, const float *weights, int64_t line, const float *from, Span span, int64_t low, int64_t high,
              float *sums) {
  int64_t column = 0;
  for (; column + PAIR <= head.c.width; column += PAIR)
    sum_part<2>(head, weights, line, from, span, low, high, column, sums);
  if (column < head.c.width) sum_part<1>(head, weights, line, from, span, low, high, column, sums);
}

// Row j of `to` += weights[r][j] * rows[r], for keys `low` to `high` of a span.
template <int64_t VECTORS>
void spread_part(const Head &head, const float *weights, int64_t line, const float *rows, Span span, int64_t low,
                 int64_t high, int64_t column, float *to) {
  const int64_t width = head.c.width;
  Vec x[ROWS][VECTORS];
  for (int64_t r = 0; r < ROWS; ++r)
    for (int64_t n = 0; n < VECTORS; ++n) x[r][n] = get(rows + r * width + column + n * LANES);
  for (int64_t j = low; j < high; ++j) {
    float *row = to + head.at(span.from + j) * width + column;
    Vec a[VECTORS];
    for (int64_t n = 0; n < VECTORS; ++n) a[n] = get(row + n * LANES);
#pragma GCC unroll 8
    for (int64_t r = 0; r < ROWS; ++r) {
      const float weight = weights[r * line + j];
      for (int64_t n = 0; n < VECTORS; ++n) a[n] += x[r][n] * weight;
    }
    for (int64_t n = 0; n < VECTORS; ++n) put(row + n * LANES, a[n]);
  }
}

void spread_rows(const Head &head, const float *weights, int64_t line, const float *rows, Span span, int64_t low,
                 int64_t high, float *to) {
  int64_t column = 0;
  for (; column + PAIR <= head.c.width; column += PAIR)
    spread_part<2>(head, weights, line, rows, span, low, high, column, to);
  if (column < head.c.width) spread_part<1>(head, weights, line, rows, span, low, high, column, to);
}

// The keys of one query within those, `low` to `high`, of its eight; the rest of its row of scores becomes 0.
inline Span within(const Head &head, int64_t place, Span span, int64_t low, int64_t high, float *row) {
  const Span own{head.first[place] - span.from, head.last[place] + 1 - span.from};
  if (own.empty()) {
    std::fill(row + low, row + high, 0.0f);
    return own;
  }
  std::fill(row + low, row + own.from, 0.0f);
  std::fill(row + own.to, row + high, 0.0f);
  return own;
}

void forward(const Head &head, int64_t begin, int64_t end, Room &room) {
  const Ranged &c = head.c;
  const Span span = head.seen(begin, end);
  const float scale = c.scale * LOG2_E;
  if (!span.empty()) {
    room.fit(c.width, span.to - span.from, false);
    lay(head, head.k, span, room.keys.data(), room.line);
  }
  for (int64_t i = begin; i < end; i += ROWS) {
    const int64_t count = std::min(ROWS, end - i);
    const Span eight = span.empty() ? span : head.seen(i, i + count);
    if (eight.empty()) {
      for (int64_t r = 0; r < count; ++r) {
        std::memset(head.out + head.at(i + r) * c.width, 0, c.width * sizeof(float));
        head.lse[i + r] = NOTHING;
      }
      continue;
    }
    const int64_t low = eight.from - span.from, high = eight.to - span.from;
    copy_rows(head, head.q, i, count, room.asked.data());
    products(room.asked.data(), room.keys.data(), room.line, c.width, low, high, room.scores.data());
    float shares[ROWS] = {};
    for (int64_t r = 0; r < ROWS; ++r) {
      float *row = room.scores.data() + r * room.line;
      if (r >= count) {
        std::fill(row + low, row + high, 0.0f);
        continue;
      }
      const Span own = within(head, i + r, span, low, high, row);
      if (own.empty()) {
        head.lse[i + r] = NOTHING;
        continue;
      }
      const float most = c.scale >= 0 ? greatest(row + own.from, own.to - own.from)
                                      : *std::min_element(row + own.from, row + own.to);
      float total = 0.0f;
      for (int64_t j = own.from; j < own.to; ++j) {
        row[j] = exp2_of((row[j] - most) * scale);
        total += row[j];
      }
      shares[r] = 1.0f / total;
      head.lse[i + r] = most * c.scale + std::log(total);
    }
    sum_rows(head, room.scores.data(), room.line, head.v, span, low, high, room.made.data());
    for (int64_t r = 0; r < count; ++r) {
      float *to = head.out + head.at(i + r) * c.width;
      for (int64_t d = 0; d < c.width; ++d) to[d] = room.made[r * c.width + d] * shares[r];
    }
  }
}

void backward(const Head &head, int64_t begin, int64_t end, Room &room) {
  const Ranged &c = head.c;
  const Span span = head.seen(begin, end);
  if (span.empty()) return;
  room.fit(c.width, span.to - span.from, true);
  lay(head, head.k, span, room.keys.data(), room.line);
  lay(head, head.v, span, room.values.data(), room.line);
  const float scale = c.scale * LOG2_E;
  for (int64_t i = begin; i < end; i += ROWS) {
    const int64_t count = std::min(ROWS, end - i);
    const Span eight = head.seen(i, i + count);
    if (eight.empty()) continue;
    const int64_t low = eight.from - span.from, high = eight.to - span.from;
    copy_rows(head, head.q, i, count, room.asked.data());
    copy_rows(head, head.told, i, count, room.arrived.data());
    products(room.asked.data(), room.keys.data(), room.line, c.width, low, high, room.scores.data());
    products(room.arrived.data(), room.values.data(), room.line, c.width, low, high, room.slopes.data());
    for (int64_t r = 0; r < ROWS; ++r) {
      float *row = room.scores.data() + r * room.line, *slope = room.slopes.data() + r * room.line;
      if (r >= count) {
        std::fill(row + low, row + high, 0.0f);
        std::fill(slope + low, slope + high, 0.0f);
        continue;
      }
      within(head, i + r, span, low, high, slope);
      const Span own = within(head, i + r, span, low, high, row);
      const float *output = head.out + head.at(i + r) * c.width, *arrived = room.arrived.data() + r * c.width;
      float delta = 0.0f;
      for (int64_t d = 0; d < c.width; ++d) delta += output[d] * arrived[d];
      const float sum = own.empty() ? 0.0f : head.lse[i + r] * LOG2_E;
      for (int64_t j = own.from; j < own.to; ++j) {
        row[j] = exp2_of(std::min(row[j] * scale - sum, 0.0f));
        slope[j] = row[j] * (slope[j] - delta) * c.scale;
      }
    }
    spread_rows(head, room.scores.data(), room.line, room.arrived.data(), span, low, high, head.dv);
    spread_rows(head, room.slopes.data(), room.line, room.asked.data(), span, low, high, head.dk);
    sum_rows(head, room.slopes.data(), room.line, head.k, span, low, high, room.made.data());
    for (int64_t r = 0; r < count; ++r)
      std::memcpy(head.dq + head.at(i + r) * c.width, room.made.data() + r * c.width, c.width * sizeof(float));
  }
}

// Queries of a task of the backward: so many that no task's keys are also those of the task after the next.
int64_t task_of(const Ranged &c) {
  int64_t size = 4 * BLOCK;
  for (; size < c.queries; size *= 2) {
    bool apart = true;
    for (int64_t n = 0; n < c.batch * c.heads && apart; ++n) {
      const Head head(c, n);
      int64_t before[2] = {0, 0};  // where the keys of the last two tasks end
      for (int64_t begin = 0; begin < c.queries && apart; begin += size) {
        const Span span = head.seen(begin, std::min(c.queries, begin + size));
        apart = before[0] <= span.from;
        before[0] = std::max(before[0], before[1]);
        before[1] = std::max(before[1], span.to);
      }
    }
    if (apart) break;
  }
  return size;
}

template <typename Work>
void over_blocks(const Ranged &c, int64_t task, int64_t start, int64_t step, Work work) {
  const int64_t heads = c.batch * c.heads, tasks = (c.queries + task - 1) / task, own = (tasks - start + step - 1) / step;
  if (own <= 0) return;
#pragma omp parallel num_threads(c.threads)
  {
    Room room;
#pragma omp for schedule(dynamic)
    for (int64_t n = 0; n < heads * own; ++n) {
      const Head head(c, n / own);
      const int64_t begin = (start + n % own * step) * task, end = std::min(c.queries, begin + task);
      for (int64_t i = begin; i < end; i += BLOCK) work(head, i, std::min(end, i + BLOCK), room);
    }
  }
}

}  // namespace

extern "C" void foveal_range_attention(const Ranged *call) { over_blocks(*call, BLOCK, 0, 1, forward); }

extern "C" void foveal_range_attention_backward(const Ranged *call) {
  const int64_t task = task_of(*call);
  over_blocks(*call, task, 0, 2, backward);
  over_blocks(*call, task, 1, 2, backward);
}
