/* lanes.h for two widths: 8 integers at once everywhere, 16 where the processor has AVX2.

   The build needs no option for AVX2. The same file runs on processors with it and without. */

#include "vectors.h"

#include <string.h>

#define UNROLLED _Pragma("GCC unroll 4")

typedef int16_t lanes_of_8 __attribute__((vector_size(16)));
typedef double doubles_of_8 __attribute__((vector_size(16)));

#if defined(__SSE2__)
#include <immintrin.h>

static inline lanes_of_8 pack_of_8(const doubles_of_8 z[4]) {
  __m128d most = _mm_set1_pd(LARGEST), least = _mm_set1_pd(-LARGEST);
  __m128i twos[4];
  UNROLLED for (int v = 0; v < 4; v++)
    twos[v] = _mm_cvttpd_epi32(_mm_max_pd(_mm_min_pd((__m128d)z[v], most), least));
  return (lanes_of_8)_mm_packs_epi32(_mm_unpacklo_epi64(twos[0], twos[1]),
                                     _mm_unpacklo_epi64(twos[2], twos[3]));
}

static inline uint32_t bits_of_8(lanes_of_8 is) {
  return (uint32_t)_mm_movemask_epi8((__m128i)is) & 0x5555u;
}
#else
static inline lanes_of_8 pack_of_8(const doubles_of_8 z[4]) {
  lanes_of_8 packed;
  for (int k = 0; k < 8; k++) {
    double value = z[k / 2][k % 2];
    value = value < LARGEST ? value : LARGEST;
    packed[k] = (int16_t)(int32_t)(value > -LARGEST ? value : -LARGEST);
  }
  return packed;
}

static inline uint32_t bits_of_8(lanes_of_8 is) {
  uint32_t bits = 0;
  for (int k = 0; k < 8; k++) bits |= ((uint32_t)is[k] & 1u) << 2 * k;
  return bits;
}
#endif

#define LANES 8
#define WIDE(f) f##_of_8
#define TARGET
#define LEAVE()
#include "lanes.h"
#undef LANES
#undef WIDE
#undef TARGET
#undef LEAVE

static const struct vectors of_8 = {
    8, integers_of_8, below_of_8, between_of_8, falling_of_8, undecided_of_8, all_slopes_of_8};

#if defined(__x86_64__)
#define TARGET __attribute__((target("avx2")))

typedef int16_t lanes_of_16 __attribute__((vector_size(32)));
typedef double doubles_of_16 __attribute__((vector_size(32)));

TARGET static inline lanes_of_16 pack_of_16(const doubles_of_16 z[4]) {
  __m256d most = _mm256_set1_pd(LARGEST), least = _mm256_set1_pd(-LARGEST);
  __m128i fours[4];
  UNROLLED for (int v = 0; v < 4; v++)
    fours[v] = _mm256_cvttpd_epi32(_mm256_max_pd(_mm256_min_pd((__m256d)z[v], most), least));
  return (lanes_of_16)_mm256_setr_m128i(_mm_packs_epi32(fours[0], fours[1]),
                                        _mm_packs_epi32(fours[2], fours[3]));
}

TARGET static inline uint32_t bits_of_16(lanes_of_16 is) {
  return (uint32_t)_mm256_movemask_epi8((__m256i)is) & 0x55555555u;
}

#define LANES 16
#define WIDE(f) f##_of_16
#define LEAVE() _mm256_zeroupper() /* gcc 12 omits it, and SSE code after it becomes slow */
#include "lanes.h"
#undef LANES
#undef WIDE
#undef TARGET
#undef LEAVE

static const struct vectors of_16 = {
    16,            integers_of_16,  below_of_16,     between_of_16,
    falling_of_16, undecided_of_16, all_slopes_of_16};

static const struct vectors *widest(void) {
  return __builtin_cpu_supports("avx2") ? &of_16 : &of_8;
}
#else
static const struct vectors *widest(void) { return &of_8; }
#endif

static int64_t most_lanes = 16;

const struct vectors *vectors_in_use(void) { return most_lanes < 16 ? &of_8 : widest(); }

/* For tests and benchmarks: use at most so many lanes. Returns how many are in use. */
__attribute__((visibility("default"))) int64_t use_lanes(int64_t most) {
  most_lanes = most;
  return vectors_in_use()->lanes;
}
