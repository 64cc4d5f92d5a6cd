/* Functions that compare LANES 16-bit integers with one instruction.

   vectors.c includes this file once for each width, and defines before:
     LANES       how many integers fit into a vector of the processor
     WIDE(f)     the name of f for this width
     TARGET      the attribute that lets a function use the instructions
     LEAVE()     what a function does before it returns, so that the code after it stays fast
     WIDE(lanes), WIDE(doubles)  vectors of integers and of doubles
     WIDE(pack)  four vectors of doubles as integers, cut off at LARGEST and -LARGEST
     WIDE(bits)  two bits for each integer of a comparison; the lower is set where it holds

   Vectors are exactly as wide as the processor's, because compilers turn wider comparisons into
   slow loops. Rows have ROOM integers behind their end, so a vector may reach over it. */

typedef uint16_t WIDE(wrapping) __attribute__((vector_size(2 * LANES)));

TARGET static inline WIDE(lanes) WIDE(load)(const int16_t *from) {
  WIDE(lanes) found;
  memcpy(&found, from, sizeof found);
  return found;
}

/* Sums wrap around: BEYOND + 1 is below every integer. */
TARGET static inline WIDE(lanes) WIDE(plus)(WIDE(lanes) v, int value) {
  return (WIDE(lanes))((WIDE(wrapping))v + (uint16_t)value);
}

TARGET static inline WIDE(lanes) WIDE(all)(int value) {
  return WIDE(plus)((WIDE(lanes)){0}, value);
}

TARGET static inline int64_t WIDE(sum)(const int16_t *counts, int64_t n) {
  int32_t total = 0;
  for (int64_t i = 0; i < n; i++) total += counts[i];
  return total;
}

/* The integers of y[t] - m * t. They keep the order of the numbers, but numbers that are close to
   each other, or far from the centre, can become equal. */
TARGET static void WIDE(integers)(const double *y, int64_t n, double m, const struct grid *grid,
                                  int16_t *out) {
  enum { DOUBLES = LANES / 4 };
  WIDE(doubles) t[4], z[4];
  double last[LANES] = {0.0};
  for (int i = 0; i < LANES; i++) t[i / DOUBLES][i % DOUBLES] = (double)i;
  for (int64_t i = 0; i < n; i += LANES) {
    const double *from = y + i;
    if (n - i < LANES) from = memcpy(last, from, (size_t)(n - i) * sizeof *y);
    UNROLLED for (int v = 0; v < 4; v++) {
      memcpy(&z[v], from + v * DOUBLES, sizeof z[v]);
      z[v] = (z[v] - m * t[v] - grid->centre) * grid->per_unit;
      t[v] += (double)LANES;
    }
    WIDE(lanes) packed = WIDE(pack)(z);
    memcpy(out + i, &packed, sizeof packed);
  }
  for (int64_t i = n; i < n + ROOM; i++) out[i] = BEYOND;
  LEAVE();
}

/* How many of n integers are below the bound. */
TARGET static int64_t WIDE(below)(const int16_t *in, int64_t n, int bound) {
  WIDE(lanes) bounds = WIDE(all)(bound);
  int64_t total = 0, most = (int64_t)INT16_MAX * LANES;
  for (int64_t start = 0; start < n; start += most) {
    int64_t end = n - start < most ? n : start + most;
    WIDE(lanes) found = {0};
    for (int64_t i = start; i < end; i += LANES) found -= WIDE(load)(in + i) < bounds;
    int16_t each[LANES];
    memcpy(each, &found, sizeof found);
    total += WIDE(sum)(each, LANES);
  }
  LEAVE();
  return total;
}

/* The places of those of n integers that are at least `low` and below `high`. Returns how many. */
TARGET static int64_t WIDE(between)(const int16_t *in, int64_t n, int low, int high,
                                    int32_t *places) {
  WIDE(lanes) from = WIDE(all)(low), to = WIDE(all)(high);
  int64_t found = 0;
  for (int64_t i = 0; i < n; i += LANES) {
    WIDE(lanes) those = WIDE(load)(in + i);
    for (uint32_t bits = WIDE(bits)((those >= from) & (those < to)); bits != 0; bits &= bits - 1)
      places[found++] = (int32_t)(i + __builtin_ctz(bits) / 2);
  }
  LEAVE();
  return found;
}

/* Count the falling pairs of the n integers of a side: those whose later integer is below the
   earlier one plus `slack`. side->below becomes the count for each earlier integer. */
TARGET static int64_t WIDE(falling)(int64_t n, int slack, struct side *side) {
  enum { EARLIER = 4 }; /* vectors of earlier integers share each load of later ones */
  const int16_t *in = side->integers;
  for (int64_t t = 0; t < n; t += EARLIER * LANES) {
    WIDE(lanes) earlier[EARLIER], found[EARLIER] = {{0}};
    UNROLLED for (int v = 0; v < EARLIER; v++)
      earlier[v] = WIDE(plus)(WIDE(load)(in + t + v * LANES), slack);
    int64_t later = t + 1;
    UNROLLED for (int started = 1; started < EARLIER; started++)
      for (int k = 0; k < LANES; k++, later++)
        UNROLLED for (int v = 0; v < started; v++) found[v] -= WIDE(load)(in + later) < earlier[v];
    for (; later < n; later++) {
      WIDE(lanes) those = WIDE(load)(in + later);
      UNROLLED for (int v = 0; v < EARLIER; v++) found[v] -= those < earlier[v];
    }
    memcpy(side->below + t, found, sizeof found);
  }
  int64_t total = WIDE(sum)(side->below, n);
  LEAVE();
  return total;
}

/* Which of the integers from place i on do not fall after place t at the low side, but do, with
   slack 1, at the high side. */
TARGET static inline WIDE(lanes) WIDE(is_undecided)(const struct side *low, const struct side *high,
                                                    int64_t t, int64_t i) {
  return (WIDE(load)(low->integers + i) >= WIDE(all)(low->integers[t])) &
         (WIDE(load)(high->integers + i) < WIDE(all)(high->integers[t] + 1));
}

/* The place after t where is_undecided holds, if there is exactly one. Without a branch for each
   vector: no processor could predict it. */
TARGET static inline int16_t WIDE(only_undecided)(const struct side *low, const struct side *high,
                                                  int64_t n, int64_t t) {
  int64_t i = t - t % LANES;
  WIDE(lanes) places = {0};
  for (int k = 0; k < LANES; k++) places[k] = (int16_t)k;
  places = WIDE(plus)(places, (int)i);
  WIDE(lanes) found = places & (places > WIDE(all)((int)t)) & WIDE(is_undecided)(low, high, t, i);
  for (i += LANES; i < n; i += LANES) {
    places = WIDE(plus)(places, LANES);
    found |= places & WIDE(is_undecided)(low, high, t, i);
  }
  uint64_t words[LANES / 4], all = 0;
  memcpy(words, &found, sizeof found);
  for (int word = 0; word < LANES / 4; word++) all |= words[word];
  all |= all >> 32;
  return (int16_t)((all | all >> 16) & 0xffffu);
}

/* The pairs that do not fall at the low side, but do, with slack 1, at the high side. Returns how
   many, and stops soon after `most`; `pairs` needs space for n more. */
TARGET static int64_t WIDE(undecided)(const struct side *low, const struct side *high, int64_t n,
                                      int64_t most, struct pair *pairs) {
  int16_t differing[MOST_POINTS + 1];
  int64_t found = 0, differ = 0;
  for (int64_t t = 0; t < n; t++) {
    differing[differ] = (int16_t)t;
    differ += low->below[t] != high->below[t];
  }
  for (int64_t d = 0; d < differ && found <= most; d++) {
    int16_t t = differing[d];
    if (high->below[t] - low->below[t] == 1) {
      pairs[found++] = (struct pair){t, WIDE(only_undecided)(low, high, n, t)};
      continue;
    }
    for (int64_t i = t + 1; i < n; i += LANES)
      for (uint32_t bits = WIDE(bits)(WIDE(is_undecided)(low, high, t, i)); bits != 0;
           bits &= bits - 1)
        pairs[found++] = (struct pair){t, (int16_t)(i + __builtin_ctz(bits) / 2)};
  }
  LEAVE();
  return found;
}

/* The slopes between all pairs of n numbers. */
TARGET static void WIDE(all_slopes)(const double *y, int64_t n, double *out) {
  for (int64_t lag = 1; lag < n; out += n - lag, lag++)
    for (int64_t t = 0; t < n - lag; t++) out[t] = (y[t + lag] - y[t]) / (double)lag;
  LEAVE();
}
