/* The loops that numpy cannot do fast, compiled where a compiler is available.

   core/kernel.py calls these functions. Each names its twin in Python, which gives the same bits
   and is used when this file was not compiled. The functions keep no state between calls.
   Compile with -ffp-contract=off and without -ffast-math: contraction and fast math change bits. */

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 1
#error "this target evaluates doubles with excess precision; use the Python twins instead"
#endif

enum {
  MOST_POINTS = 2048,           /* in a row; an index fits into the bits of INDEX */
  INDEX = MOST_POINTS - 1,
  SAMPLE = 64,                  /* slopes sampled to estimate the median */
  APPROACHES = 2,               /* steps towards the median before it is bracketed */
  BRACKETS = 4                  /* brackets tried, each wider, before giving up */
};

/* Natural logarithms of n prices. Twin: in kernel.logs. */
void logs(const double *prices, int64_t n, double *out) {
  for (int64_t i = 0; i < n; i++) out[i] = log(prices[i]);
}

/* v = lambda * v + (1 - lambda) * square for each of the n squares of a row, from v = starts[row].
   Twin: kernel._ewma. */
void ewma(const double *squares, int64_t rows, int64_t n, double lambda, const double *starts,
          double *out) {
  for (int64_t row = 0; row < rows; row++, squares += n) {
    double v = starts[row];
    for (int64_t i = 0; i < n; i++) v = lambda * v + (1.0 - lambda) * squares[i];
    out[row] = v;
  }
}

/* The median of all pairwise slopes, without calculating most of them.

   The slope between two points is below m exactly when y - m * t puts the later point below the
   earlier one. So the order of the points by y - m * t, seen as a permutation of time, has one
   inversion for each slope below m; and the pairs that change places between the orders at `low`
   and at `high` are those with slopes between the two. A sample of slopes gives a first guess, its
   inversions tell how far off that is, and only the slopes of the few pairs that change places
   around the median are calculated. Rounding can put a pair on the wrong side of a bound only
   within a known error of that bound, so a median that lies within this error is rejected.

   Dillencourt, Mount & Netanyahu, "A randomized algorithm for slope selection", International
   Journal of Computational Geometry & Applications 2(1), 1992; Matousek, "Randomized optimal
   algorithm for slope selection", Information Processing Letters 39(4), 1991. */

/* An integer that sorts as z does. */
static uint64_t sortable(double z) {
  uint64_t bits;
  z += 0.0; /* -0.0 sorts as 0.0 */
  memcpy(&bits, &z, sizeof bits);
  return bits ^ ((uint64_t)((int64_t)bits >> 63) | 0x8000000000000000u);
}

static double unsorted(uint64_t key) {
  double z;
  key ^= key >> 63 ? 0x8000000000000000u : ~(uint64_t)0;
  memcpy(&z, &key, sizeof z);
  return z;
}

/* The sort key of point t at slope m, with t itself in the lowest bits. */
static uint64_t point(const double *y, int64_t t, double m) {
  return (sortable(y[t] - m * (double)t) & ~(uint64_t)INDEX) | (uint64_t)t;
}

/* Merge-sort n keys; returns the buffer that holds the result, `keys` or `spare`. `inversions`
   becomes the number of pairs whose later key was strictly below the earlier. There are no
   branches on the data, because a processor could not predict them. */
static uint64_t *merge_sort(uint64_t *keys, uint64_t *spare, int64_t n, int64_t *inversions) {
  int64_t counted = 0, fours = n - n % 4;
  for (int64_t i = 0; i < fours; i += 4) {
    uint64_t a = keys[i], b = keys[i + 1], c = keys[i + 2], d = keys[i + 3];
    counted += (a > b) + (a > c) + (a > d) + (b > c) + (b > d) + (c > d);
    uint64_t ab = a < b ? a : b, ba = a < b ? b : a, cd = c < d ? c : d, dc = c < d ? d : c;
    uint64_t low = ab < cd ? cd : ab, high = ba < dc ? ba : dc;
    keys[i] = ab < cd ? ab : cd;
    keys[i + 1] = low < high ? low : high;
    keys[i + 2] = low < high ? high : low;
    keys[i + 3] = ba < dc ? dc : ba;
  }
  for (int64_t i = fours + 1; i < n; i++) {
    uint64_t key = keys[i];
    int64_t j = i;
    for (; j > fours && keys[j - 1] > key; j--) keys[j] = keys[j - 1];
    keys[j] = key;
    counted += i - j;
  }
  for (int64_t width = 4; width < n; width *= 2) {
    for (int64_t start = 0; start < n; start += 2 * width) {
      int64_t middle = start + width < n ? start + width : n;
      int64_t end = start + 2 * width < n ? start + 2 * width : n;
      const uint64_t *left = keys + start, *left_end = keys + middle;
      const uint64_t *right = left_end, *right_end = keys + end;
      uint64_t *out = spare + start;
      while (left < left_end && right < right_end) {
        uint64_t from_left = *left, from_right = *right;
        int64_t is_right = from_right < from_left;
        *out++ = is_right ? from_right : from_left;
        counted += -is_right & (left_end - left);
        right += is_right;
        left += 1 - is_right;
      }
      memcpy(out, left, (size_t)(left_end - left) * sizeof *out);
      memcpy(out + (left_end - left), right, (size_t)(right_end - right) * sizeof *out);
    }
    uint64_t *sorted = spare;
    spare = keys;
    keys = sorted;
  }
  *inversions = counted;
  return keys;
}

/* Update `order` from another slope to slope m; returns how many pairs changed places. */
static int64_t turn(uint64_t *order, const double *y, int64_t n, double m) {
  int64_t changed = 0;
  for (int64_t i = 0; i < n; i++) {
    uint64_t key = point(y, (int64_t)(order[i] & INDEX), m);
    int64_t j = i;
    for (; j > 0 && order[j - 1] > key; j--) order[j] = order[j - 1];
    order[j] = key;
    changed += i - j;
  }
  return changed;
}

/* As `turn`, and collects the slopes of those pairs; -1 if there are more than `room`. */
static int64_t turn_collecting(uint64_t *order, const double *y, int64_t n, double m,
                               const double *values, double *slopes, int64_t room) {
  int64_t changed = 0;
  for (int64_t i = 0; i < n; i++) {
    int64_t t = (int64_t)(order[i] & INDEX), j = i;
    uint64_t key = point(y, t, m);
    for (; j > 0 && order[j - 1] > key; j--) {
      int64_t other = (int64_t)(order[j - 1] & INDEX);
      order[j] = order[j - 1];
      if (changed == room) return -1;
      slopes[changed++] = (values[other] - values[t]) / (double)(other - t) + 0.0;
    }
    order[j] = key;
  }
  return changed;
}

/* The k-th smallest of n values; none of the values after it ends up below it. Hoare, "Algorithm
   65: find", Communications of the ACM 4(7), 1961. */
static double selected(double *values, int64_t n, int64_t k) {
  int64_t left = 0, right = n - 1;
  while (left < right) {
    double pivot = values[(left + right) / 2];
    int64_t i = left, j = right;
    do {
      while (values[i] < pivot) i++;
      while (pivot < values[j]) j--;
      if (i <= j) {
        double swapped = values[i];
        values[i++] = values[j];
        values[j--] = swapped;
      }
    } while (i <= j);
    if (j < k) left = i;
    if (k < i) right = j;
  }
  return values[k];
}

/* A sorted sample of slopes: every row of n points uses the same pairs. */
static void take_sample(const double *y, int64_t n, double *sample) {
  uint64_t keys[SAMPLE], spare[SAMPLE], random = 88172645463325252u;
  for (int64_t i = 0; i < SAMPLE; i++) {
    /* Marsaglia, "Xorshift RNGs", Journal of Statistical Software 8(14), 2003. */
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    int64_t a = (int64_t)(((random >> 32) * (uint64_t)n) >> 32);
    int64_t b = a + 1 + (int64_t)(((random & 0xffffffffu) * (uint64_t)(n - 1)) >> 32);
    if (b >= n) b -= n;
    keys[i] = sortable((y[b] - y[a]) / (double)(b - a));
  }
  int64_t unused;
  uint64_t *sorted = merge_sort(keys, spare, SAMPLE, &unused);
  for (int64_t i = 0; i < SAMPLE; i++) sample[i] = unsorted(sorted[i]);
}

static double at(const double *sample, double position) {
  double inside = fmin(fmax(position, 0.0), SAMPLE - 1.001);
  int64_t i = (int64_t)inside;
  return sample[i] + (inside - (double)i) * (sample[i + 1] - sample[i]);
}

/* How far a slope can be from m and still be counted on the wrong side of it. Two errors, each
   doubled: the rounding of y - m * t, and the low bits of it that the index replaces. `spread` is
   the largest |y - guess * t|, `largest` the largest |y|. */
static double rounding(int64_t n, double largest, double spread, double guess, double m) {
  double residual = spread + (double)n * fabs(m - guess), terms = largest + (double)n * fabs(m);
  return 4.0 * INDEX * DBL_EPSILON * residual + 8.0 * DBL_EPSILON * terms + DBL_MIN;
}

/* Whether so many slopes are exactly 0 that the median is 0 too, as in flat markets. */
static int is_zero(const double *values, int64_t n, int64_t first, int64_t second) {
  uint64_t keys[MOST_POINTS], spare[MOST_POINTS];
  int64_t falling, rising;
  for (int64_t i = 0; i < n; i++) keys[i] = sortable(values[i]);
  merge_sort(keys, spare, n, &falling);
  for (int64_t i = 0; i < n; i++) keys[i] = sortable(-values[i]);
  merge_sort(keys, spare, n, &rising);
  return falling <= first && second < n * (n - 1) / 2 - rising;
}

/* The median slope of one row, or nan where it is not proven. */
static double median_slope(const double *values, int64_t n, double *slopes, int64_t room) {
  int64_t pairs = n * (n - 1) / 2, first = (pairs - 1) / 2, second = pairs / 2, below;
  double y[MOST_POINTS], sample[SAMPLE], largest = 0.0, spread = 0.0;
  uint64_t keys[MOST_POINTS], spare[MOST_POINTS];

  take_sample(values, n, sample);
  double position = (SAMPLE - 1) / 2.0, guess = at(sample, position), m = guess;
  if (m == 0.0 && is_zero(values, n, first, second)) return 0.0;

  for (int64_t t = 0; t < n; t++) {
    y[t] = values[t] - values[0]; /* the index in the lowest bits costs small numbers least */
    keys[t] = point(y, t, m);
    largest = fmax(largest, fabs(y[t]));
    spread = fmax(spread, fabs(y[t] - m * (double)t));
  }
  uint64_t *order = merge_sort(keys, spare, n, &below);

  double per_sample = (double)pairs / SAMPLE;
  double density = 2.0 * per_sample / (at(sample, position + 1.0) - at(sample, position - 1.0));
  double error = rounding(n, largest, spread, guess, m);
  for (int step = 0; step < APPROACHES; step++) {
    double off = (double)(first - below);
    double next = step ? m + off / density : at(sample, position + off / per_sample);
    error = fmax(error, rounding(n, largest, spread, guess, next));
    if (!(fabs(next - m) > 2.0 * error)) break;
    int64_t changed = turn(order, y, n, next);
    if (changed > 0) density = (double)changed / fabs(next - m);
    below += next > m ? changed : -changed;
    m = next;
  }

  double off = (double)(first - below);
  double reach = 0.08 * fabs(off) + 2.0 * sqrt(fabs(off)) + 12.0;
  for (int bracket = 0; bracket < BRACKETS; bracket++, reach *= 4.0) {
    double low = m + (off - reach) / density, high = m + (off + reach) / density;
    if (bracket >= BRACKETS / 2) { /* near a gap or many equal slopes, density is meaningless */
      double half = SAMPLE / 10.0 * (double)(bracket - 1), middle = (SAMPLE - 1) / 2.0;
      low = at(sample, middle - half);
      high = at(sample, middle + half);
    }
    error = fmax(rounding(n, largest, spread, guess, m),
                 fmax(rounding(n, largest, spread, guess, low),
                      rounding(n, largest, spread, guess, high)));
    low -= 4.0 * error;
    high += 4.0 * error;
    /* Closer to m, some pairs may change places the other way. This also catches nan. */
    if (!(fabs(low - m) > 2.0 * error && high < DBL_MAX && low > -DBL_MAX)) return NAN;
    int64_t changed = turn(order, y, n, low);
    below += low > m ? changed : -changed;
    int64_t found = turn_collecting(order, y, n, high, values, slopes, room);
    if (found < 0) return NAN;
    if (below <= first && second < below + found) {
      double lower = selected(slopes, found, first - below), upper = lower;
      if (second > first) {
        upper = slopes[second - below];
        for (int64_t i = second - below; i < found; i++) upper = fmin(upper, slopes[i]);
      }
      if (low + error < lower && upper < high - error)
        return second > first ? (lower + upper) / 2.0 : lower;
    }
    m = high;
    below += found;
    off = (double)(first - below);
  }
  return NAN;
}

/* The median of the slopes between all pairs of the n points of each row, or nan where it is not
   proven to be the right double. Values are finite; rows start `stride` values apart. If memory
   runs out, `out` is left unchanged. Twin: theil_sen.median_of_all_slopes. */
void median_slopes(const double *values, int64_t rows, int64_t n, int64_t stride, double *out) {
  int64_t pairs = n * (n - 1) / 2, room = pairs < 64 * n ? pairs : 64 * n;
  double *slopes = malloc(sizeof(double) * (size_t)room);
  if (slopes == NULL) return;
  for (int64_t row = 0; row < rows; row++)
    out[row] = n > MOST_POINTS ? NAN : median_slope(values + row * stride, n, slopes, room);
  free(slopes);
}
