/* The median of the slopes between all pairs of points, without calculating most of them.

   Choose a trial slope m and look at the residuals y[t] - m * t. The slope between two points is
   below m exactly if the pair falls: if the later residual is below the earlier one. So the number
   of falling pairs is the rank of m among all slopes.

   For example the points 0, 3, 1, 5, and m = 1: the residuals are 0, 2, -1, 2. Two pairs fall, those
   of -1 with 0 and with 2, so two of the six slopes are below 1: those of rank 0 and 1. The median is
   the mean of those of rank 2 and 3, so it is not below 1.

   To count falling pairs fast, residuals become 16-bit integers. The row of integers is compared
   with itself, shifted by one point, by two points, and so on: 8 or 16 pairs with each instruction.

     1. A coarse count, over the means of 32 blocks, finds a trial slope whose rank is about right.
     2. Counts over all points correct it, until two slopes bracket the median and few others.
     3. The slopes in the bracket, some 30 of thousands, are calculated. The number of slopes below
        the bracket is known, so the rank of the median among these few is known too.

   Two effects of rounding:
     - Residuals that are close to each other can become equal integers. The slope of such a pair
       counts as being in the bracket. This costs time, but changes no result.
     - A residual is rounded itself. So a pair can be counted on the wrong side of a bound if its
       slope is closer to the bound than a known error. If the median is not farther inside the
       bracket than that, the result is not used. If no bracket works, all slopes are calculated.

   Counting inversions to find the rank of a slope is the idea of Dillencourt, Mount & Netanyahu,
   "A randomized algorithm for slope selection", International Journal of Computational Geometry &
   Applications 2(1), 1992; they count with a merge sort. */

#include "slopes.h"
#include "ranks.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
  BLOCKS = 32,       /* in the coarse count; shorter rows than two points each have few slopes */
  COARSE_STEPS = 12, /* at most */
  BRACKETS = 10,     /* tried at most */
  MOST_SLOPES = 2048 /* in a bracket, and between 2 * BLOCKS points */
};

struct work {
  struct side low, high;
  double y[MOST_POINTS], slopes[MOST_SLOPES], numbers[2 * MOST_SLOPES];
  struct pair pairs[MOST_SLOPES + MOST_POINTS];
  int16_t integers[MOST_SLOPES + ROOM];
  int32_t places[MOST_SLOPES];
  struct spare spare;
  double *all; /* space for all slopes of a row that goes the long way, once there was one */
  int64_t all_n;
};

struct work *new_work(void) {
  struct work *work = malloc(sizeof *work);
  if (work == NULL) return NULL;
  work->spare = (struct spare){vectors_in_use(), work->integers, work->places, work->numbers};
  work->all = NULL;
  work->all_n = 0;
  return work;
}

void free_work(struct work *work) {
  if (work != NULL) free(work->all);
  free(work);
}

static int64_t pairs_of(int64_t n) { return n * (n - 1) / 2; }

/* The median of `slopes` numbers, of which two neighbours in rank are known. */
static double median_of_two(struct two two, int64_t slopes) {
  return slopes % 2 == 0 ? (two.lower + two.upper) / 2.0 : two.lower;
}

/* The median of all slopes, each of them calculated. */
static double median_of_all(const double *values, int64_t n, double *slopes,
                            const struct spare *spare) {
  int64_t pairs = pairs_of(n);
  spare->vectors->all_slopes(values, n, slopes);
  return median_of_two(middle(slopes, NULL, pairs, spare), pairs) + 0.0;
}

/* Space for many slopes. It is kept for the next row, since a system hands out so much memory
   page by page, which takes longer than the calculation. Returns NULL if there is none. */
static double *space_for(int64_t pairs, struct work *work) {
  if (pairs > work->all_n) {
    free(work->all);
    work->all = malloc((size_t)pairs * (3 * sizeof(double) + sizeof(int32_t) + sizeof(int16_t)) +
                       ROOM * sizeof(int16_t));
    work->all_n = work->all == NULL ? 0 : pairs;
  }
  return work->all;
}

/* The same for rows with many slopes. */
static enum slope the_long_way(const double *values, int64_t n, struct work *work, double *out) {
  int64_t pairs = pairs_of(n);
  double *space = space_for(pairs, work);
  if (space == NULL) return NO_SLOPE;
  struct spare spare = {work->spare.vectors, NULL, (int32_t *)(space + 3 * pairs), space + pairs};
  spare.integers = (int16_t *)(spare.places + pairs);
  *out = median_of_all(values, n, space, &spare);
  return CALCULATED;
}

/* A trial slope, and what counting has told about it and about earlier ones. */
struct trial {
  const struct vectors *vectors;
  const double *y;
  double *residuals; /* space for them */
  int64_t n, wanted; /* wanted: rank of the median */
  struct grid grid;
  double grid_m;      /* the slope whose residuals the grid fits */
  double m, density;  /* density: slopes per unit of slope, near m */
  int64_t below;      /* slopes that are certainly below m */
  double least, most; /* slopes tried that were below and above the median, as far as counts tell */
};

static void fit_grid(struct trial *trial, double m) {
  for (int32_t t = 0; t < trial->n; t++) trial->residuals[t] = trial->y[t] - m * (double)t;
  trial->grid = grid_of(trial->residuals, trial->n);
  trial->grid_m = m;
}

/* Count for slope m. With slack 0: slopes certainly below m. With slack 1: all that are not
   certainly above it. */
static int64_t counted(struct trial *trial, double m, int slack, struct side *side) {
  if (fabs(m - trial->grid_m) * (double)trial->n * trial->grid.per_unit > LARGEST)
    fit_grid(trial, m);
  trial->vectors->integers(trial->y, trial->n, m, &trial->grid, side->integers);
  return trial->vectors->falling(trial->n, slack, side);
}

static void learn(struct trial *trial, double m, int64_t below) {
  double density = (double)(below - trial->below) / (m - trial->m);
  if (density > 0.0 && density < DBL_MAX) trial->density = density;
  else trial->density /= 2.0;
  trial->m = m;
  trial->below = below;
  if (below <= trial->wanted) trial->least = m;
  else trial->most = m;
}

/* The slope that is so many ranks from m. The density tells little beside a gap, or beside many
   equal slopes. So where it leads past a slope tried before, the search bisects. */
static double away(const struct trial *trial, double ranks) {
  double m = trial->m + ranks / trial->density;
  int is_past = trial->m < m ? m >= trial->most : m <= trial->least && trial->m >= trial->most;
  return is_past ? (trial->least + trial->most) / 2.0 : m;
}

static struct trial first_trial(const double *y, int64_t n, double m, double density,
                                struct work *work) {
  struct trial trial = {.vectors = work->spare.vectors, .y = y, .n = n,
                        .residuals = work->numbers, .wanted = (pairs_of(n) - 1) / 2,
                        .m = m, .density = density, .least = -INFINITY, .most = INFINITY};
  fit_grid(&trial, m);
  if (!(density > 0.0 && density < DBL_MAX))
    trial.density = (double)(pairs_of(n) * n) * trial.grid.per_unit / LARGEST;
  density = trial.density;
  learn(&trial, m, counted(&trial, m, 0, &work->low));
  trial.density = density;
  return trial;
}

static void take_means(const double *y, int64_t width, double means[BLOCKS]) {
  for (int64_t block = 0; block < BLOCKS; block++) {
    double total = 0.0;
    for (int64_t t = block * width; t < (block + 1) * width; t++) total += y[t];
    means[block] = total / (double)width;
  }
}

/* Slopes over three quarters of the blocks, sorted. */
static void take_long_slopes(const double means[BLOCKS], double slopes[BLOCKS / 4]) {
  for (int i = 0; i < BLOCKS / 4; i++) {
    double slope = (means[i + BLOCKS * 3 / 4] - means[i]) / (BLOCKS * 3 / 4);
    int j = i;
    for (; j > 0 && slopes[j - 1] > slope; j--) slopes[j] = slopes[j - 1];
    slopes[j] = slope;
  }
}

/* The coarse count: a trial slope for the means of blocks. */
static struct trial coarse_trial(const double means[BLOCKS], struct work *work) {
  double slopes[BLOCKS / 4];
  int64_t pairs = pairs_of(BLOCKS), near = pairs / 100;
  take_long_slopes(means, slopes);
  double density = (double)pairs / 4.0 / (slopes[BLOCKS * 3 / 16] - slopes[BLOCKS / 16]);
  struct trial trial = first_trial(means, BLOCKS, slopes[BLOCKS / 8], density, work);
  for (int step = 1; step < COARSE_STEPS && llabs(trial.wanted - trial.below) > near; step++) {
    double m = step % 3 > 0 ? away(&trial, (double)(trial.wanted - trial.below))
                            : (trial.least + trial.most) / 2.0;
    if (!(fabs(m) < DBL_MAX)) break;
    learn(&trial, m, counted(&trial, m, 0, &work->low));
  }
  return trial;
}

/* A trial slope of about the right rank. */
static struct trial good_trial(struct work *work, int64_t n) {
  double means[BLOCKS];
  int64_t width = n / BLOCKS;
  take_means(work->y, width, means);
  struct trial coarse = coarse_trial(means, work);
  double m = coarse.m + (double)(coarse.wanted - coarse.below) / coarse.density;
  double density = coarse.density * (double)(width * pairs_of(n)) / (double)pairs_of(BLOCKS);
  return first_trial(work->y, n, m / (double)width, density, work);
}

/* Two slopes, and the known error of counting for them. */
struct bracket {
  double low, high, error;
  int64_t below, through; /* slopes certainly below `low`, slopes not certainly above `high` */
};

/* A pair counted on one side of m has a slope at most this far on the other side. This is four
   times the rounding of two residuals and of the slope itself. */
static double rounding(double largest, int64_t n, double m) {
  return 8.0 * DBL_EPSILON * (largest + (double)n * fabs(m)) + DBL_MIN;
}

/* Find slopes a few ranks below and above the median. Returns whether both counts confirm it.
   `width` is 1.0, or more for a wider bracket. `patience` is 1.0, or more if earlier attempts came
   no nearer to the median. */
static int is_bracketed(struct trial *trial, double largest, double width, double patience,
                        struct work *work, struct bracket *bracket) {
  int64_t n = trial->n;
  double ties = (double)(n * n) / 65536.0; /* of integers, typically */
  double off = (double)(trial->wanted - trial->below);
  double low = away(trial, off - width * (0.08 * fabs(off) + 8.0 + ties));
  bracket->error = rounding(largest, n, low);
  low -= 4.0 * bracket->error;
  if (!(fabs(low) < DBL_MAX)) return 0;
  bracket->below = counted(trial, low, 0, &work->low);
  learn(trial, low, bracket->below);
  off = (double)(trial->wanted - bracket->below);
  if (off < 0.0 || off > patience * (24.0 + (double)n / 16.0 + 4.0 * ties)) return 0;

  double high = low + (off + width * (0.1 * off + 6.0 + ties)) / trial->density;
  bracket->error = fmax(bracket->error, rounding(largest, n, high));
  high += 4.0 * bracket->error;
  if (!(fabs(high) < DBL_MAX)) return 0;
  bracket->low = low;
  bracket->high = high;
  bracket->through = counted(trial, high, 1, &work->high);
  return bracket->through > pairs_of(n) / 2;
}

/* Select the median from the slopes in the bracket. Returns whether it is proven. */
static int is_selected(const double *values, int64_t n, const struct bracket *bracket,
                       struct work *work, double *out) {
  int64_t pairs = pairs_of(n), many = bracket->through - bracket->below;
  const struct pair *pair = work->pairs;
  if (many > MOST_SLOPES ||
      work->spare.vectors->undecided(&work->low, &work->high, n, many, work->pairs) != many)
    return 0;
  for (int64_t i = 0; i < many; i++, pair++)
    work->slopes[i] = (values[pair->later] - values[pair->earlier]) /
                      (double)(pair->later - pair->earlier) + 0.0;
  int64_t first = (pairs - 1) / 2 - bracket->below;
  struct two two = neighbours(work->slopes, many, first, &work->spare);
  if (pairs % 2 == 1) two.upper = two.lower;
  *out = median_of_two(two, pairs);
  return bracket->low + bracket->error < two.lower && two.upper < bracket->high - bracket->error;
}

static double largest_of(const double *y, int64_t n) {
  double largest[4] = {0.0};
  for (int64_t t = 0; t < n; t += 4)
    for (int k = 0; k < 4; k++) {
      double size = fabs(y[t + k < n ? t + k : 0]);
      largest[k] = size > largest[k] ? size : largest[k];
    }
  return fmax(fmax(largest[0], largest[1]), fmax(largest[2], largest[3]));
}

/* Find the median slope by counting. Returns whether it is proven. */
static int is_proven(const double *values, int64_t n, struct work *work, double *out) {
  double largest = largest_of(work->y, n), width = 1.0, patience = 1.0;
  struct trial trial = good_trial(work, n);
  for (int i = 0; i < BRACKETS; i++) {
    struct bracket bracket = {0.0, 0.0, 0.0, 0, 0};
    int is_near = is_bracketed(&trial, largest, width, patience, work, &bracket);
    if (is_near && is_selected(values, n, &bracket, work, out)) return 1;
    if (bracket.through > 0) width *= 2.0;
    patience *= 1.5;
  }
  return 0;
}

/* Whether equal integers of the low side stand for equal values. The integers are those of y, the
   distances from the first value: far from it, these can be equal where the values are not. */
static int are_apart(const double *values, int64_t n, struct work *work) {
  const int16_t *integers = work->low.integers;
  int16_t owners[2 * MOST_POINTS];
  uint32_t slots = 64;
  while (slots < 2 * n) slots *= 2;
  for (uint32_t slot = 0; slot < slots; slot++) owners[slot] = -1;
  for (int64_t t = 0; t < n; t++) {
    uint32_t slot = (uint16_t)((uint16_t)integers[t] * 40503u) / (65536u / slots);
    while (owners[slot] >= 0 && integers[owners[slot]] != integers[t]) slot = (slot + 1) % slots;
    if (owners[slot] < 0) owners[slot] = (int16_t)t;
    else if (values[owners[slot]] != values[t]) return 0;
  }
  return 1;
}

/* Whether so many slopes are exactly 0 that the median is, as in flat stretches, and where prices
   have few ticks. */
static int is_zero(const double *values, int64_t n, struct work *work) {
  int64_t pairs = pairs_of(n);
  struct trial flat = {.vectors = work->spare.vectors, .y = work->y, .n = n,
                       .residuals = work->numbers};
  fit_grid(&flat, 0.0);
  return counted(&flat, 0.0, 0, &work->low) <= (pairs - 1) / 2 &&
         counted(&flat, 0.0, 1, &work->low) > pairs / 2 && are_apart(values, n, work);
}

static int64_t equal_neighbours(const double *y, int64_t n) {
  int64_t equal = 0;
  for (int64_t t = 1; t < n; t++) equal += y[t] == y[t - 1];
  return equal;
}

/* The median slope of n points: values[t] at t. */
enum slope median_slope(const double *values, int64_t n, struct work *work, double *out) {
  if (n < 2 * BLOCKS) {
    *out = median_of_all(values, n, work->slopes, &work->spare);
    return COUNTED;
  }
  if (n > MOST_POINTS) return the_long_way(values, n, work, out);
  for (int64_t t = 0; t < n; t++) work->y[t] = values[t] - values[0];
  int is_likely_zero = equal_neighbours(work->y, n) > n / 8;
  if (!(is_likely_zero && is_zero(values, n, work))) {
    if (is_proven(values, n, work, out)) return COUNTED;
    if (is_likely_zero || !is_zero(values, n, work)) return the_long_way(values, n, work, out);
  }
  *out = 0.0;
  return COUNTED;
}
