// What softmaxes in C++ share. models/compiled.py puts it in the place of its #include.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace {

constexpr float NOTHING = -std::numeric_limits<float>::infinity();
constexpr float LOG2_E = 1.44269504088896340736f;
constexpr float LN_2 = 0.69314718055994530942f;

struct Half {  // a bfloat16
  uint16_t bits;
};

inline float load(const float *from) { return *from; }
inline float load(const Half *from) {
  const uint32_t wide = static_cast<uint32_t>(from->bits) << 16;
  float value;
  std::memcpy(&value, &wide, 4);
  return value;
}
inline void store(float *to, float value) { *to = value; }
inline void store(Half *to, float value) {  // nearest; no value is a NaN that was not one before
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  to->bits = static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// 2^x for x <= 0, without a branch; 0 below 2^-126. Relative error 1e-7; 4e-6 if `coarse`, where bfloat16 follows.
template <bool coarse = false>
inline float exp2_of(float x) {
  const float held = x < -126.0f ? -126.0f : x;
  const float whole = std::nearbyint(held);
  const float rest = held - whole;
  float y;
  if constexpr (coarse) {
    y = 9.61812910762848e-3f;
  } else {
    y = 1.54035303933816e-4f;
    y = y * rest + 1.33335581464284e-3f;
    y = y * rest + 9.61812910762848e-3f;
  }
  y = y * rest + 5.55041086648216e-2f;
  y = y * rest + 2.40226506959101e-1f;
  y = y * rest + 6.93147180559945e-1f;
  y = y * rest + 1.0f;
  int32_t bits;
  std::memcpy(&bits, &y, 4);
  bits += static_cast<int32_t>(whole) << 23;
  std::memcpy(&y, &bits, 4);
  return x < -126.0f ? 0.0f : y;
}

// The greatest of a row's scores, lane by lane: no compiler reorders a maximum that may meet NaN, and GCC's reduction
// takes ten times as long as the softmax.
inline float greatest(const float *__restrict__ line, int64_t width) {
  int64_t n = 0;
#if defined(__AVX512F__)
  __m512 one = _mm512_set1_ps(NOTHING), two = one, three = one, four = one;
  for (; n + 64 <= width; n += 64) {
    one = _mm512_max_ps(one, _mm512_loadu_ps(line + n));
    two = _mm512_max_ps(two, _mm512_loadu_ps(line + n + 16));
    three = _mm512_max_ps(three, _mm512_loadu_ps(line + n + 32));
    four = _mm512_max_ps(four, _mm512_loadu_ps(line + n + 48));
  }
  float most = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_max_ps(one, two), _mm512_max_ps(three, four)));
#else
  constexpr int64_t lanes = 32;
  float each[lanes];
  std::fill(each, each + lanes, NOTHING);
  for (; n + lanes <= width; n += lanes)
    for (int64_t lane = 0; lane < lanes; ++lane) each[lane] = line[n + lane] > each[lane] ? line[n + lane] : each[lane];
  float most = *std::max_element(each, each + lanes);
#endif
  for (; n < width; ++n) most = std::max(most, line[n]);
  return most;
}

}  // namespace
