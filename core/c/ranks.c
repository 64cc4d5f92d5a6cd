/* The k-th smallest of many numbers, by counting.

   The numbers become 16-bit integers in the same order. The processor counts 8 or 16 at a time how
   many integers are below a bound. The bound is bisected until few numbers are left between two
   bounds, and only those are sorted. */

#include "ranks.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum {
  FEW = 4,     /* numbers should be left between the bounds */
  SOME = 32,   /* numbers are sorted at once */
  MANY = 1024, /* numbers are worth a sample ... */
  SAMPLE = 64  /* ... of this size */
};

/* A grid from centre - reach to centre + reach. If that is no usable distance, all numbers become
   the same integer. */
static struct grid reaching(double centre, double reach) {
  struct grid grid = {0.0, 0.0};
  if (reach > 1e-280 && reach < 1e280) grid = (struct grid){centre, LARGEST / reach};
  return grid;
}

/* A grid for all numbers, except those that are much farther from the centre than most. */
struct grid grid_of(const double *x, int64_t n) {
  double sums[4] = {0.0}, distances[4] = {0.0}, largest[4] = {0.0};
  for (int64_t i = 0; i + 4 <= n; i += 4)
    for (int k = 0; k < 4; k++) sums[k] += x[i + k];
  double centre = (sums[0] + sums[1] + sums[2] + sums[3]) / (double)n;
  for (int64_t i = 0; i + 4 <= n; i += 4)
    for (int k = 0; k < 4; k++) {
      double distance = fabs(x[i + k] - centre);
      distances[k] += distance;
      largest[k] = distance > largest[k] ? distance : largest[k];
    }
  double total = distances[0] + distances[1] + distances[2] + distances[3];
  double most = fmax(fmax(largest[0], largest[1]), fmax(largest[2], largest[3]));
  return reaching(centre, fmin(1.1 * most, 16.0 * total / (double)n));
}

static void sort(double *x, int64_t n) {
  for (int64_t i = 1; i < n; i++) {
    double value = x[i];
    int64_t j = i;
    for (; j > 0 && x[j - 1] > value; j--) x[j] = x[j - 1];
    x[j] = value;
  }
}

/* A grid for the numbers near rank k, from a sample. */
static struct grid grid_around(const double *x, int64_t n, int64_t k) {
  double sample[SAMPLE];
  for (int64_t i = 0; i < SAMPLE; i++) sample[i] = x[i * (n / SAMPLE)];
  sort(sample, SAMPLE);
  int64_t at = k * SAMPLE / n, low = at - SAMPLE / 8, high = at + SAMPLE / 8;
  double centre = sample[at], down = centre - sample[low < 0 ? 0 : low];
  double up = sample[high < SAMPLE ? high : SAMPLE - 1] - centre;
  return reaching(centre, fmax(up, down) + 64.0 * DBL_EPSILON * fabs(centre));
}

/* Hoare, "Algorithm 65: find", Communications of the ACM 4(7), 1961. */
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

/* Ranks k and k + 1 of few numbers. */
static struct two of_some(double *x, int64_t n, int64_t k) {
  sort(x, n);
  return (struct two){x[k], x[k + 1 < n ? k + 1 : k]};
}

/* The same for numbers that the integers could not separate. */
static struct two of_many(double *x, int64_t n, int64_t k) {
  struct two found = {selected(x, n, k), x[k]};
  if (k + 1 < n) found.upper = x[k + 1];
  for (int64_t i = k + 2; i < n; i++) found.upper = x[i] < found.upper ? x[i] : found.upper;
  return found;
}

/* The largest number whose integer is below the bound, and the smallest of the others. */
static struct two beside(const double *x, const int16_t *on_grid, int64_t n, int bound) {
  struct two found = {-INFINITY, INFINITY};
  for (int64_t i = 0; i < n; i++) {
    if (on_grid[i] < bound && x[i] > found.lower) found.lower = x[i];
    if (on_grid[i] >= bound && x[i] < found.upper) found.upper = x[i];
  }
  return found;
}

static int are_equal(const double *x, int64_t n) {
  for (int64_t i = 1; i < n; i++)
    if (x[i] != x[0]) return 0;
  return 1;
}

/* The numbers of rank k and k + 1 among n numbers x; the smallest has rank 0. If k is the last
   rank, both are that number. `on_grid` are the integers of x. */
struct two neighbours_on(const double *x, const int16_t *on_grid, int64_t n, int64_t k,
                         const struct spare *spare) {
  int64_t next = k + 1 < n ? k + 1 : k, below = 0, through = n;
  int low = -LARGEST, high = BEYOND;
  while (through - below > FEW && high - low > 1) {
    int bound = low + (high - low) / 2;
    int64_t found = spare->vectors->below(on_grid, n, bound);
    if (k < found && found <= next) { /* the bound is between the two */
      if (through - below > SOME) return beside(x, on_grid, n, bound);
      break;
    }
    if (found <= k) low = bound, below = found;
    else high = bound, through = found;
  }
  int64_t left = spare->vectors->between(on_grid, n, low, high, spare->places);
  double *numbers = spare->numbers;
  for (int64_t i = 0; i < left; i++) numbers[i] = x[spare->places[i]];
  k -= below;
  if (left <= SOME) return of_some(numbers, left, k);
  if (are_equal(numbers, left)) return (struct two){numbers[0], numbers[0]};
  if (left > n / 2) return of_many(numbers, left, k);
  struct spare rest = *spare;
  rest.numbers += left;
  return neighbours(numbers, left, k, &rest);
}

struct two neighbours(const double *x, int64_t n, int64_t k, const struct spare *spare) {
  struct grid grid = n < MANY ? grid_of(x, n) : grid_around(x, n, k);
  if (grid.per_unit == 0.0) {
    memcpy(spare->numbers, x, (size_t)n * sizeof *x);
    return n <= SOME ? of_some(spare->numbers, n, k) : of_many(spare->numbers, n, k);
  }
  spare->vectors->integers(x, n, 0.0, &grid, spare->integers);
  return neighbours_on(x, spare->integers, n, k, spare);
}

/* The two middle numbers; one number twice if n is odd. */
struct two middle(const double *x, const int16_t *on_grid, int64_t n, const struct spare *spare) {
  int64_t k = (n - 1) / 2;
  struct two two = on_grid == NULL ? neighbours(x, n, k, spare)
                                   : neighbours_on(x, on_grid, n, k, spare);
  if (n % 2 == 1) two.upper = two.lower;
  return two;
}
