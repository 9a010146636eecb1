// Block-sparse attention on a CPU: each query block looks at the key blocks that it was given, and at no others.
//
// The two products are oneDNN's batch-reduce matrix products, which PyTorch exports (AMX or AVX-512 where there is one);
// between them runs the softmax that rescales as it goes (Milakov and Gimelshein 2018; FlashAttention, Dao et al. 2022).
// Keys and values are packed once a call, in pairs of two for bfloat16, so that each block is one product; a block that
// is looked at only once just before that, so that what is packed stays in the cache.
//
// Shapes   q (B, H, Q, D), k (B, G, K, D), v (B, G, K, E), out (B, H, Q, E), lse (B, H, Q); H a multiple of G
// Scores   float32, whatever the inputs are; probabilities are rounded to the inputs' type before they meet the values

#include <ATen/native/CPUBlas.h>

#include <atomic>
#include <memory>
#include <new>
#include <vector>

#include <omp.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "softmax.h"

namespace {

constexpr int64_t PANEL = 1024;  // keys between two rescalings: their scores stay in the second-level cache
constexpr int64_t APART = 32;  // between rows of a panel: a power of two apart they would share a cache's few sets
constexpr std::align_val_t LINE{64};
constexpr int64_t HUGE_PAGE = 1 << 21;

struct Strides {
  int64_t batch, head, row;  // in elements; the last dimension is dense
};

}  // namespace

extern "C" {

// Mirrored field by field in kernel.py.
struct Call {
  const void *query, *key, *value;
  void *out;
  float *lse;
  Strides query_strides, key_strides, value_strides, out_strides;
  int64_t batch, heads, groups, queries, keys, width, value_width;
  int64_t query_block, key_block;
  // For query block r of (b, h), l = b * lists_batch + h * lists_head + r: the kept blocks and their rules stand at
  // starts[l] to starts[l + 1] of indices and rules, ascending.
  const int64_t *starts;
  const int32_t *indices, *rules;
  int64_t lists_batch, lists_head;
  int64_t offset;       // of the first query's position over the first key's
  int64_t window;       // 0: none
  const uint8_t *real;  // (B, K), 0 where a key is padding; or null
  const uint8_t *tokens;  // (rules, query_block, key_block), 1 where a query sees a key; or null
  const float *bias;    // by query and key block; or null
  int64_t bias_batch, bias_head, bias_row;
  float scale, cap;  // cap: scores become cap * tanh(score / cap); 0: they stay
  int32_t bfloat16, threads, causal;
};

}  // extern "C"

namespace {

// What a kept block's `rule` says: every token sees every token, the positions' rule holds, or a table of tokens does.
constexpr int32_t WHOLE = 0, BY_POSITION = -1;

template <typename T>
constexpr int64_t PAIR = std::is_same_v<T, at::BFloat16> ? 2 : 1;

inline int64_t up(int64_t number, int64_t multiple) { return (number + multiple - 1) / multiple * multiple; }

inline void store(at::BFloat16 *to, float value) {  // nearest; the values are positive and finite, or no numbers
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  const uint16_t half = static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
  std::memcpy(to, &half, 2);
}

inline void keep(at::BFloat16 *to, float value) {  // the same for any value, without a branch
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  const uint32_t half = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const uint16_t kept = static_cast<uint16_t>(value != value ? 0x7fc0 : half);
  std::memcpy(to, &kept, 2);
}
inline void keep(float *to, float value) { *to = value; }

// Numbers that begin at a cache line; nobody has set them. Many of them lie on large pages, where there are such: the
// first touch of each small one would take longer than what is written there.
template <typename T>
class Line {
 public:
  explicit Line(int64_t count) : at_(static_cast<T *>(::operator new[](count * sizeof(T), LINE))) {
#if defined(__linux__)
    const uintptr_t first = reinterpret_cast<uintptr_t>(at_.get()), end = first + count * sizeof(T);
    const uintptr_t from = up(first, HUGE_PAGE), to = end / HUGE_PAGE * HUGE_PAGE;
    if (to > from) madvise(reinterpret_cast<void *>(from), to - from, MADV_HUGEPAGE);  // a hint: it may be refused
#endif
  }
  T *data() { return at_.get(); }
  const T *data() const { return at_.get(); }
  T &operator[](int64_t place) { return at_.get()[place]; }
  const T &operator[](int64_t place) const { return at_.get()[place]; }

 private:
  struct Free {
    void operator()(T *at) const { ::operator delete[](at, LINE); }
  };
  std::unique_ptr<T, Free> at_;
};

// c (m, n) = or += a (m, k) b (k, n), b in pairs of two for bfloat16.
inline void product(int64_t m, int64_t n, int64_t k, int64_t lda, int64_t ldb, int64_t ldc, bool add,
                    const at::BFloat16 *a, const at::BFloat16 *b, float *c) {
  at::native::cpublas::brgemm(m, n, k, lda, ldb, ldc, add, a, b, c, true);
}
inline void product(int64_t m, int64_t n, int64_t k, int64_t lda, int64_t ldb, int64_t ldc, bool add, const float *a,
                    const float *b, float *c) {
  at::native::cpublas::brgemm(m, n, k, lda, ldb, ldc, add, a, b, c, false);
}

// to[j][n] = from[n][j] for n below `rows`, j below `columns`, in steps of four bytes; lines of `from` lie `apart`
// bytes from each other, lines of `to` `stride` steps.
void turn(const char *from, int64_t apart, int64_t rows, int64_t columns, uint32_t *to, int64_t stride) {
  int64_t n = 0;
#if defined(__AVX512F__)
  for (; n + 16 <= rows; n += 16)
    for (int64_t j = 0; j < columns; j += 16) {
      const __mmask16 mask = columns - j < 16 ? (1u << (columns - j)) - 1 : 0xffff;
      __m512i a[16], b[16];
      for (int64_t i = 0; i < 16; ++i) a[i] = _mm512_maskz_loadu_epi32(mask, from + (n + i) * apart + 4 * j);
      for (int i = 0; i < 16; i += 2) {  // steps of neighbouring lines side by side,
        b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
        b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
      }
      for (int i = 0; i < 16; i += 4)  // then of four,
        for (int h = 0; h < 2; ++h) {
          a[i + 2 * h] = _mm512_unpacklo_epi64(b[i + h], b[i + 2 + h]);
          a[i + 2 * h + 1] = _mm512_unpackhi_epi64(b[i + h], b[i + 2 + h]);
        }
      for (int i = 0; i < 4; ++i) {  // and whole quarters last
        const __m512i lows = _mm512_shuffle_i32x4(a[i], a[4 + i], 0x88);
        const __m512i highs = _mm512_shuffle_i32x4(a[i], a[4 + i], 0xdd);
        const __m512i more = _mm512_shuffle_i32x4(a[8 + i], a[12 + i], 0x88);
        const __m512i most = _mm512_shuffle_i32x4(a[8 + i], a[12 + i], 0xdd);
        b[i] = _mm512_shuffle_i32x4(lows, more, 0x88);
        b[8 + i] = _mm512_shuffle_i32x4(lows, more, 0xdd);
        b[4 + i] = _mm512_shuffle_i32x4(highs, most, 0x88);
        b[12 + i] = _mm512_shuffle_i32x4(highs, most, 0xdd);
      }
      for (int64_t i = 0; i < std::min<int64_t>(16, columns - j); ++i)
        _mm512_storeu_si512(to + (j + i) * stride + n, b[i]);
    }
#endif
  for (int64_t j = 0; j < columns; ++j)
    for (int64_t i = n; i < rows; ++i) std::memcpy(to + j * stride + i, from + i * apart + 4 * j, 4);
}

// The values of two keys side by side; of one where no other follows.
inline void pair_up(const at::BFloat16 *one, const at::BFloat16 *two, int64_t width, at::BFloat16 *to) {
  int64_t d = 0;
#if defined(__AVX512F__) && defined(__AVX512BW__)
  const __m512i first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
  const __m512i last = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
  for (; two && d + 32 <= width; d += 32) {
    const __m512i a = _mm512_loadu_si512(one + d), b = _mm512_loadu_si512(two + d);
    const __m512i lows = _mm512_unpacklo_epi16(a, b), highs = _mm512_unpackhi_epi16(a, b);
    _mm512_storeu_si512(to + 2 * d, _mm512_permutex2var_epi64(lows, first, highs));
    _mm512_storeu_si512(to + 2 * d + 32, _mm512_permutex2var_epi64(lows, last, highs));
  }
#endif
  for (; d < width; ++d) {
    to[2 * d] = one[d];
    if (two) to[2 * d + 1] = two[d];
  }
}

// A block's keys as (depth / PAIR, key_block, PAIR) and values as (key_block / PAIR, value_width, PAIR).
template <typename T>
void pack_block(const Call &c, int64_t head, int64_t block, int64_t depth, T *keys, T *values) {
  constexpr int64_t pair = PAIR<T>;
  const int64_t b = head / c.groups, g = head % c.groups, first = block * c.key_block;
  const int64_t count = std::min(c.key_block, c.keys - first), apart = c.key_strides.row, step = c.value_strides.row;
  const T *k = static_cast<const T *>(c.key) + b * c.key_strides.batch + g * c.key_strides.head + first * apart;
  const T *v = static_cast<const T *>(c.value) + b * c.value_strides.batch + g * c.value_strides.head + first * step;
  if (count < c.key_block || depth > c.width) {
    std::memset(static_cast<void *>(keys), 0, sizeof(T) * depth * c.key_block);
    std::memset(static_cast<void *>(values), 0, sizeof(T) * c.key_block * c.value_width);
  }
  turn(reinterpret_cast<const char *>(k), apart * sizeof(T), count, c.width / pair, reinterpret_cast<uint32_t *>(keys),
       c.key_block);
  if (depth > c.width)
    for (int64_t n = 0; n < count; ++n) keys[(c.width / pair * c.key_block + n) * pair] = k[n * apart + c.width - 1];
  for (int64_t n = 0; n < count; n += pair) {
    const T *one = v + n * step;
    T *to = values + n * c.value_width;
    if constexpr (pair == 2)
      pair_up(one, n + 1 < count ? one + step : nullptr, c.value_width, to);
    else
      std::memcpy(to, one, sizeof(T) * c.value_width);
  }
}

// Packed keys and values of a head, all blocks of them; or none, and each is packed when it is looked at.
template <typename T>
struct Packed {
  const T *keys, *values;
};

inline int64_t blocks_in_panel(const Call &c) { return std::max<int64_t>(1, PANEL / c.key_block); }

template <typename T>
struct Scratch {
  Line<T> query, weights, keys, values;
  Line<float> scores, output;
  std::vector<float> most, total;
  Scratch(const Call &c, int64_t depth, int64_t stride, bool packs)
      : query(c.query_block * depth),
        weights(c.query_block * stride),
        keys(packs ? blocks_in_panel(c) * c.key_block * depth : 0),
        values(packs ? blocks_in_panel(c) * c.key_block * c.value_width : 0),
        scores(c.query_block * stride),
        output(c.query_block * c.value_width),
        most(c.query_block),
        total(c.query_block) {}
};

// Where, in one (b, h, r), the kept blocks stand.
struct Row {
  int64_t b, h, first, count;  // first query, number of queries
  const int32_t *indices, *rules;
  int64_t kept;
};

Row row_of(const Call &c, int64_t b, int64_t h, int64_t r) {
  const int64_t first = r * c.query_block, list = b * c.lists_batch + h * c.lists_head + r, start = c.starts[list];
  return {b,
          h,
          first,
          std::min(c.query_block, c.queries - first),
          c.indices + start,
          c.rules + start,
          c.starts[list + 1] - start};
}

// Scores by the model's cap, and what is added to each.
void adjust(const Call &c, const Row &row, int64_t block, float *scores, int64_t stride) {
  const float *bias = c.bias;
  if (bias) bias += row.b * c.bias_batch + row.h * c.bias_head + row.first * c.bias_row + block;
  const float into = c.scale / c.cap, back = c.cap / c.scale;
  for (int64_t i = 0; i < row.count; ++i) {
    float *line = scores + i * stride;
    if (c.cap > 0.0f)
      for (int64_t n = 0; n < c.key_block; ++n) line[n] = std::tanh(line[n] * into) * back;
    if (bias)
      for (int64_t n = 0; n < c.key_block; ++n) line[n] += bias[i * c.bias_row] / c.scale;
  }
}

// Scores that may not be seen become -inf.
void hide(const Call &c, const Row &row, int64_t block, int32_t rule, float *scores, int64_t stride) {
  const int64_t first = block * c.key_block, inside = std::min(c.key_block, c.keys - first);
  for (int64_t i = 0; i < row.count; ++i) {
    float *line = scores + i * stride;
    int64_t from = 0, to = inside;
    if (rule == BY_POSITION) {
      const int64_t place = row.first + i + c.offset;
      if (c.causal) to = std::min(to, place + 1 - first);
      if (c.window) from = std::max<int64_t>(0, place - c.window + 1 - first);
      to = std::max<int64_t>(to, 0);
      from = std::min(from, to);
      if (c.real)
        for (int64_t n = from; n < to; ++n)
          if (!c.real[row.b * c.keys + first + n]) line[n] = NOTHING;
    } else if (rule > WHOLE) {
      const uint8_t *seen = c.tokens + ((rule - 1) * c.query_block + i) * c.key_block;
      for (int64_t n = 0; n < inside; ++n)
        if (!seen[n]) line[n] = NOTHING;
    }
    std::fill(line, line + from, NOTHING);
    std::fill(line + to, line + c.key_block, NOTHING);
  }
}

#if defined(__AVX512F__) && defined(__AVX512BW__)
// 2^(score * scale - most) of sixteen scores, 0 below 2^-126: the whole part goes to the exponent's bits. What is no
// number stays so, for its lowest bits, which would go there, are 0.
inline __m512 powers(const float *scores, __m512 scale, __m512 most) {
  constexpr int nearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;  // said outright, no compiler takes it for 0
  const __m512 round = _mm512_set1_ps(12582912.0f), x = _mm512_fmsub_ps(_mm512_loadu_ps(scores), scale, most);
  const __mmask16 counts = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-126.0f), _CMP_NLT_UQ);
  const __m512 whole = _mm512_add_round_ps(x, round, nearest);
  const __m512 rest = _mm512_sub_ps(x, _mm512_sub_round_ps(whole, round, nearest));
  __m512 y = _mm512_set1_ps(9.61812910762848e-3f);
  y = _mm512_fmadd_ps(y, rest, _mm512_set1_ps(5.55041086648216e-2f));
  y = _mm512_fmadd_ps(y, rest, _mm512_set1_ps(2.40226506959101e-1f));
  y = _mm512_fmadd_ps(y, rest, _mm512_set1_ps(6.93147180559945e-1f));
  y = _mm512_fmadd_ps(y, rest, _mm512_set1_ps(1.0f));
  const __m512i raised = _mm512_slli_epi32(_mm512_castps_si512(whole), 23);
  return _mm512_castsi512_ps(_mm512_maskz_add_epi32(counts, _mm512_castps_si512(y), raised));
}

inline void store(at::BFloat16 *to, __m512 one, __m512 two) {  // thirty-two of them
#if defined(__AVX512BF16__)
  const __m512bh both = _mm512_cvtne2ps_pbh(two, one);
  std::memcpy(static_cast<void *>(to), &both, 64);
#else
  for (const __m512 part : {one, two}) {
    const __m512i bits = _mm512_castps_si512(part);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i near = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(to), _mm512_cvtepi32_epi16(_mm512_srli_epi32(near, 16)));
    to += 16;
  }
#endif
}
#endif

// Weights 2^(score * scale - most) of a row, and their sum.
template <typename T>
inline float weigh(const float *__restrict__ line, int64_t width, float scale, float most, T *__restrict__ weights) {
  float total = 0.0f;
  int64_t n = 0;
#if defined(__AVX512F__) && defined(__AVX512BW__)
  if constexpr (PAIR<T> == 2) {
    const __m512 by = _mm512_set1_ps(scale), less = _mm512_set1_ps(most);
    __m512 sum = _mm512_setzero_ps(), more = sum;
    for (; n + 32 <= width; n += 32) {
      const __m512 one = powers(line + n, by, less), two = powers(line + n + 16, by, less);
      sum = _mm512_add_ps(sum, one);
      more = _mm512_add_ps(more, two);
      store(weights + n, one, two);
    }
    total = _mm512_reduce_add_ps(_mm512_add_ps(sum, more));
  }
#endif
#pragma omp simd reduction(+ : total)
  for (int64_t i = n; i < width; ++i) {
    const float p = exp2_of<PAIR<T> == 2>(line[i] * scale - most);
    total += p;
    store(weights + i, p);
  }
  return total;
}

// Whether a row's maximum passed over what is no number: where that is all that it holds, beside -inf.
inline bool holds_no_number(const float *line, int64_t width) {
  return std::any_of(line, line + width, [](float score) { return score != score; });
}

// Softmax of a panel's scores, merged with what came before: weights, and running maximum, total and output rescaled.
template <typename T>
void merge(const Call &c, const Row &row, int64_t width, int64_t stride, Scratch<T> &s) {
  const float scale = c.scale * LOG2_E;
  for (int64_t i = 0; i < row.count; ++i) {
    float *__restrict__ line = s.scores.data() + i * stride;
    T *__restrict__ weights = s.weights.data() + i * stride;
    const float greater = greatest(line, width);
    const float most = std::max(s.most[i], greater * scale);
    if (greater != greater || (most == NOTHING && holds_no_number(line, width))) {
      s.total[i] = std::numeric_limits<float>::quiet_NaN();  // and so is the output
      std::memset(static_cast<void *>(weights), 0, sizeof(T) * width);
      continue;
    }
    if (most == NOTHING) {
      std::memset(static_cast<void *>(weights), 0, sizeof(T) * width);
      continue;
    }
    const float total = weigh(line, width, scale, most, weights);
    if (most > s.most[i]) {
      const float shrink = exp2_of(s.most[i] - most);
      s.total[i] *= shrink;
      float *__restrict__ output = s.output.data() + i * c.value_width;
      for (int64_t d = 0; d < c.value_width; ++d) output[d] *= shrink;
      s.most[i] = most;
    }
    s.total[i] += total;
  }
}

template <typename T>
void look(const Call &c, const Row &row, Packed<T> packed, int64_t depth, Scratch<T> &s) {
  const T *q = static_cast<const T *>(c.query) + row.b * c.query_strides.batch + row.h * c.query_strides.head;
  for (int64_t i = 0; i < row.count; ++i) {
    std::memcpy(static_cast<void *>(s.query.data() + i * depth), q + (row.first + i) * c.query_strides.row,
                sizeof(T) * c.width);
    std::fill(s.query.data() + i * depth + c.width, s.query.data() + (i + 1) * depth, T(0.0f));
  }
  std::fill(s.output.data(), s.output.data() + c.query_block * c.value_width, 0.0f);
  std::fill(s.total.begin(), s.total.end(), 0.0f);
  std::fill(s.most.begin(), s.most.end(), NOTHING);
  const int64_t in_panel = blocks_in_panel(c), stride = in_panel * c.key_block + APART;
  const int64_t key_size = depth * c.key_block, value_size = c.value_width * c.key_block;
  const int64_t head = row.b * c.groups + row.h / (c.heads / c.groups);
  for (int64_t start = 0; start < row.kept; start += in_panel) {
    const int64_t count = std::min(in_panel, row.kept - start);
    const int32_t *blocks = row.indices + start, *rules = row.rules + start;
    for (int64_t j = 0; j < count; ++j) {
      float *scores = s.scores.data() + j * c.key_block;
      T *own = s.keys.data() + j * key_size;
      if (!packed.keys) pack_block<T>(c, head, blocks[j], depth, own, s.values.data() + j * value_size);
      product(row.count, c.key_block, depth, depth, c.key_block, stride, false, s.query.data(),
              packed.keys ? packed.keys + blocks[j] * key_size : own, scores);
      if (c.bias || c.cap > 0.0f) adjust(c, row, blocks[j], scores, stride);
      const bool beyond = (blocks[j] + 1) * c.key_block > c.keys;
      if (rules[j] != WHOLE || beyond) hide(c, row, blocks[j], rules[j], scores, stride);
    }
    merge(c, row, count * c.key_block, stride, s);
    for (int64_t j = 0, end; j < count; j = end) {  // neighbours' values stand one behind the other: one product
      for (end = j + 1; end < count && (!packed.values || blocks[end] == blocks[end - 1] + 1);) ++end;
      product(row.count, c.value_width, (end - j) * c.key_block, stride, c.value_width, c.value_width, true,
              s.weights.data() + j * c.key_block,
              packed.values ? packed.values + blocks[j] * value_size : s.values.data() + j * value_size,
              s.output.data());
    }
  }
}

template <typename T>
void finish(const Call &c, const Row &row, const Scratch<T> &s) {
  T *out = static_cast<T *>(c.out) + row.b * c.out_strides.batch + row.h * c.out_strides.head;
  float *lse = c.lse + (row.b * c.heads + row.h) * c.queries;
  for (int64_t i = 0; i < row.count; ++i) {
    const float total = s.total[i], share = total == 0.0f ? 0.0f : 1.0f / total;
    T *__restrict__ line = out + (row.first + i) * c.out_strides.row;
    const float *__restrict__ output = s.output.data() + i * c.value_width;
#pragma omp simd
    for (int64_t d = 0; d < c.value_width; ++d) keep(line + d, output[d] * share);
    lse[row.first + i] = total == 0.0f ? NOTHING : (s.most[i] + std::log2(total)) * LN_2;
  }
}

template <typename T>
int run(const Call &c) {
  const int64_t depth = up(c.width, PAIR<T>), blocks = up(c.keys, c.key_block) / c.key_block;
  const int64_t rows = up(c.queries, c.query_block) / c.query_block, heads = c.batch * c.groups;
  const int64_t key_size = depth * c.key_block, value_size = c.value_width * c.key_block;
  const int64_t shared = c.heads / c.groups, tasks = heads * shared * rows;
  const bool once = shared * rows == 1;  // each block is looked at once at most
  const int64_t held = once ? 0 : heads * blocks;
  Line<T> keys(held * key_size), values(held * value_size);
  const int64_t stride = blocks_in_panel(c) * c.key_block + APART;
  std::vector<Scratch<T>> scratch;
  for (int thread = 0; thread < c.threads; ++thread) scratch.emplace_back(c, depth, stride, once);
  std::atomic<int> failed{0};
#pragma omp parallel num_threads(c.threads)
  {
#pragma omp for schedule(static)
    for (int64_t n = 0; n < held; ++n)
      pack_block<T>(c, n / blocks, n % blocks, depth, keys.data() + n * key_size, values.data() + n * value_size);
#pragma omp for schedule(dynamic, 1)
    for (int64_t task = 0; task < tasks; ++task) {
      if (failed.load(std::memory_order_relaxed)) continue;
      // The heads of one group go together (their keys are the same), the last rows first (they are the longest).
      const int64_t head = task / (shared * rows), within = task % (shared * rows);
      const int64_t h = head % c.groups * shared + within % shared, r = rows - 1 - within / shared;
      const Row row = row_of(c, head / c.groups, h, r);
      Scratch<T> &mine = scratch[omp_get_thread_num()];
      try {
        const int64_t first = head * blocks;
        const Packed<T> all{keys.data() + first * key_size, values.data() + first * value_size};
        look<T>(c, row, once ? Packed<T>{} : all, depth, mine);
        finish<T>(c, row, mine);
      } catch (...) {
        failed = 1;
      }
    }
    at::native::cpublas::brgemm_release(PAIR<T> == 2);
  }
  return failed.load();
}

}  // namespace

// 0: done. Anything else: the products of this machine do not do what is asked here.
extern "C" int foveal_block_attention(const Call *call) {
  try {
    return call->bfloat16 ? run<at::BFloat16>(*call) : run<float>(*call);
  } catch (...) {
    return 1;
  }
}
