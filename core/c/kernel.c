/* The market state of many windows in one call.

   core/kernel.py calls this code if it could be compiled. core/by_numpy.py is its twin in Python:
   it is used otherwise, and gives the same bits. For that

     - sums are added in the same order as numpy's: see `sum`,
     - logarithms and exponentials are the C library's, like those of Python's math module,
     - the code is compiled with -ffp-contract=off and without -ffast-math.

   `state_rows`, near the end, is the way of a window from prices to a row. The search for the slopes
   is in slopes.c, quantiles and medians are in ranks.c.

   Nothing is kept between two calls. */

#include "ranks.h"
#include "slopes.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#if FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 1
#error "doubles would be calculated with extra bits; the twin in Python is correct here"
#endif

#define EXPORTED __attribute__((visibility("default")))

enum {
  TOGETHER = 4, /* rows whose moving averages are calculated side by side */
  START = 10    /* returns whose variance starts the moving average */
};

/* What a call returns. */
enum outcome { DONE, NO_MEMORY, BAD_PRICE };

/* The parameters: `Parameters` in core/kernel.py. */
struct theta {
  int64_t prices; /* used of each window: the last ones */
  double eps;
  int64_t vol_window;
  double winsor_q_low, winsor_q_high, ewma_lambda, sigma_floor;
  double spike_proxy_cap, spike_center, spike_scale, mad_to_sigma, logistic_bound;
  int64_t trends; /* 0 if mu is already in the rows */
  const int64_t *trend_windows;
  const double *trend_shares;
  int64_t regime_window, vr_k;
  double softmax_temp, a1, a2, a3, b1, b2, b3, c1, c2, c3;
};

/* The state of a window: `NAMES` in core/kernel.py. */
struct row {
  double sigma, mu, ts, p_trend, p_mr, p_chop, dp, vr, spike_proxy;
};

/* Space for the calculation of a row. */
struct space {
  double *log_prices, *returns, *clipped, *deviations, *squares[TOGETHER];
  int16_t *integers;
  struct spare spare;
  struct work *slopes;
  void *all;
};

/* The sum of n numbers in numpy's order: up to 128 numbers in eight partial sums, more of them as
   two halves. The first half is rounded down to a multiple of eight. */
static double sum(const double *x, int64_t n) {
  if (n > 128) {
    int64_t half = n / 2 - n / 2 % 8;
    return sum(x, half) + sum(x + half, n - half);
  }
  double total = 0.0;
  int64_t eights = n - n % 8;
  if (eights > 0) {
    double part[8];
    memcpy(part, x, sizeof part);
    for (int64_t i = 8; i < eights; i += 8)
      for (int k = 0; k < 8; k++) part[k] += x[i + k];
    total = ((part[0] + part[1]) + (part[2] + part[3])) +
            ((part[4] + part[5]) + (part[6] + part[7]));
  }
  for (int64_t i = eights; i < n; i++) total += x[i];
  return total;
}

/* The population variance; `squares` is space for n numbers. */
static double variance(const double *x, int64_t n, double *squares) {
  double mean = sum(x, n) / (double)n;
  for (int64_t i = 0; i < n; i++) squares[i] = (x[i] - mean) * (x[i] - mean);
  return sum(squares, n) / (double)n;
}

/* Natural logarithms of n prices. */
EXPORTED void logs(const double *prices, int64_t n, double *out) {
  for (int64_t i = 0; i < n; i++) out[i] = log(prices[i]);
}

/* Twin: volatility._quantile. */
static double quantile(const double *x, int64_t n, double q, const struct space *space) {
  double position = q * (double)(n - 1), below = floor(position), part = position - below;
  struct two two = neighbours_on(x, space->integers, n, (int64_t)below, &space->spare);
  if (part == 0.0) two.upper = two.lower;
  double step = two.upper - two.lower;
  return part < 0.5 ? two.lower + step * part : two.upper - step * (1.0 - part);
}

static double clip(double x, double low, double high) {
  double raised = x > low ? x : low;
  return raised < high ? raised : high;
}

/* The scaled median absolute deviation of the winsorised returns x. What `ewma` needs becomes
   `squares` and `start`. Twins: volatility.winsorised, volatility.mad_sigma. */
static double robust_sigma(const double *x, const struct theta *theta, struct space *space,
                           double *squares, double *start) {
  int64_t n = theta->vol_window;
  struct grid grid = grid_of(x, n);
  space->spare.vectors->integers(x, n, 0.0, &grid, space->integers);
  double low = quantile(x, n, theta->winsor_q_low, space);
  double high = quantile(x, n, theta->winsor_q_high, space);
  struct two two = middle(x, space->integers, n, &space->spare);
  double median = (clip(two.lower, low, high) + clip(two.upper, low, high)) / 2.0;
  for (int64_t i = 0; i < n; i++) {
    double clipped = clip(x[i], low, high);
    space->clipped[i] = clipped;
    squares[i] = clipped * clipped;
    space->deviations[i] = fabs(clipped - median);
  }
  *start = variance(space->clipped, n < START ? n : START, space->clipped + n);
  two = middle(space->deviations, NULL, n, &space->spare);
  return theta->mad_to_sigma * ((two.lower + two.upper) / 2.0);
}

/* v = lambda * v + (1 - lambda) * square for the n squares of each row. The rows are side by side
   because each step waits for the one before it. Twin: volatility._ewma. */
static void ewma(double *const squares[TOGETHER], int64_t n, double lambda, double v[TOGETHER]) {
  double v0 = v[0], v1 = v[1], v2 = v[2], v3 = v[3];
  for (int64_t i = 0; i < n; i++) {
    v0 = lambda * v0 + (1.0 - lambda) * squares[0][i];
    v1 = lambda * v1 + (1.0 - lambda) * squares[1][i];
    v2 = lambda * v2 + (1.0 - lambda) * squares[2][i];
    v3 = lambda * v3 + (1.0 - lambda) * squares[3][i];
  }
  v[0] = v0, v[1] = v1, v[2] = v2, v[3] = v3;
}

/* Twin: trend.trend. */
static int trend(const double *end, const struct theta *theta, struct work *work, double *mu) {
  *mu = 0.0;
  for (int64_t i = 0; i < theta->trends; i++) {
    double slope;
    int64_t n = theta->trend_windows[i];
    if (median_slope(end - n, n, work, &slope) == NO_SLOPE) return 0;
    *mu += theta->trend_shares[i] * slope;
  }
  return 1;
}

/* Twin: dependence.direction_persistence. `signs` is space for n numbers. */
static double direction_persistence(const double *x, int64_t n, double *signs) {
  for (int64_t i = 0; i < n; i++) signs[i] = (x[i] > 0.0 ? 1.0 : 0.0) - (x[i] < 0.0 ? 1.0 : 0.0);
  int64_t equal = 0;
  for (int64_t i = 1; i < n; i++) equal += signs[i] == signs[i - 1];
  return (double)equal / (double)(n - 1);
}

/* Twin: dependence.variance_ratio. */
static double variance_ratio(const double *x, int64_t n, const struct theta *theta, double *sums,
                             double *spare) {
  int64_t k = theta->vr_k, sums_n = n - k + 1;
  if (sums_n < 2) return 1.0; /* one sum has no variance to compare */
  memcpy(sums, x, (size_t)sums_n * sizeof *x);
  for (int64_t lag = 1; lag < k; lag++)
    for (int64_t i = 0; i < sums_n; i++) sums[i] += x[i + lag];
  return variance(sums, sums_n, spare) / ((double)k * variance(x, n, spare) + theta->eps);
}

/* sigma from its two estimates. Twin: volatility.volatility. */
static void blend(struct row *row, double fast, double robust, const struct theta *theta) {
  row->spike_proxy = clip(robust / (fast + theta->eps), 0.0, theta->spike_proxy_cap);
  double z = (row->spike_proxy - theta->spike_center) / theta->spike_scale;
  double weight = 1.0 / (1.0 + exp(-clip(z, -theta->logistic_bound, theta->logistic_bound)));
  double blended = (1.0 - weight) * fast + weight * robust;
  row->sigma = blended > theta->sigma_floor ? blended : theta->sigma_floor;
}

/* Twins: regime.regime_scores, regime.softmax. */
static void regime_probabilities(struct row *row, const struct theta *theta) {
  double ts = row->ts, dp = row->dp, off_walk = fabs(row->vr - 1.0);
  double trend = theta->a1 * ts + theta->a2 * dp - theta->a3 * off_walk;
  double mr = theta->b1 * off_walk - theta->b2 * ts - theta->b3 * fabs(dp);
  double chop = theta->c1 * (1.0 - fabs(dp)) + theta->c2 * (1.0 - (ts < 1.0 ? ts : 1.0)) -
                theta->c3 * off_walk;
  double largest = trend > mr ? trend : mr;
  double temp = theta->softmax_temp, top = (largest > chop ? largest : chop) / temp;
  trend = exp(trend / temp - top);
  mr = exp(mr / temp - top);
  chop = exp(chop / temp - top);
  double total = trend + mr + chop;
  row->p_trend = trend / total;
  row->p_mr = mr / total;
  row->p_chop = chop / total;
}

/* Whether n prices are finite and > 0. */
static int are_prices(const double *x, int64_t n) {
  int64_t good = 0;
  for (int64_t i = 0; i < n; i++) good += (x[i] > 0.0) & (x[i] <= DBL_MAX);
  return good == n;
}

/* The logarithms of a window. Often the window before it is the same, one close earlier. */
static void take_logs(const double *prices, const double *before, const struct theta *theta,
                      double *out) {
  int64_t n = theta->prices, known = 0;
  if (before != NULL && memcmp(prices, before + 1, (size_t)(n - 1) * sizeof *prices) == 0) {
    memmove(out, out + 1, (size_t)(n - 1) * sizeof *out);
    known = n - 1;
  }
  for (int64_t i = known; i < n; i++) out[i] = log(prices[i] + theta->eps);
}

static void free_space(struct space *space) {
  free_work(space->slopes);
  free(space->all);
}

/* Returns 0 if there is no memory. */
static int make_space(struct space *space, int64_t prices) {
  size_t n = (size_t)prices + START;
  double *doubles = malloc(n * ((6 + TOGETHER) * sizeof(double) + sizeof(int32_t)) +
                           2 * (n + ROOM) * sizeof(int16_t));
  space->all = doubles;
  space->slopes = new_work();
  if (doubles == NULL || space->slopes == NULL) return 0;
  space->log_prices = doubles;
  space->returns = doubles + n;
  space->clipped = doubles + 2 * n;
  space->deviations = doubles + 3 * n;
  for (int i = 0; i < TOGETHER; i++) space->squares[i] = doubles + (4 + i) * n;
  space->spare.numbers = doubles + (4 + TOGETHER) * n;
  space->spare.places = (int32_t *)(doubles + (6 + TOGETHER) * n);
  space->spare.integers = (int16_t *)(space->spare.places + n);
  space->integers = space->spare.integers + n + ROOM;
  space->spare.vectors = vectors_in_use();
  return 1;
}

/* The rest. `fast` is from the moving average. */
static void end_row(struct row *row, double robust, double fast, const struct theta *theta) {
  blend(row, fast, robust, theta);
  row->ts = fabs(row->mu) / (row->sigma + theta->eps);
  regime_probabilities(row, theta);
}

/* Everything that does not need the moving average. Returns 0 if there is no memory. */
static int begin_row(struct row *row, const struct theta *theta, struct space *space, int i,
                     double *robust, double *start) {
  const double *end = space->returns + theta->prices - 1;
  for (int64_t t = 1; t < theta->prices; t++)
    space->returns[t - 1] = space->log_prices[t] - space->log_prices[t - 1];
  const double *regime_returns = end - theta->regime_window;
  *robust = robust_sigma(end - theta->vol_window, theta, space, space->squares[i], start);
  row->dp = direction_persistence(regime_returns, theta->regime_window, space->clipped);
  row->vr = variance_ratio(regime_returns, theta->regime_window, theta, space->clipped,
                           space->deviations);
  if (theta->trends == 0) return 1;
  return trend(space->log_prices + theta->prices, theta, space->slopes, &row->mu);
}

/* The states of windows of n closes each. */
EXPORTED enum outcome state_rows(const double *windows, int64_t rows, int64_t n,
                                 const struct theta *theta, struct row *out) {
  struct space space;
  enum outcome outcome = make_space(&space, theta->prices) ? DONE : NO_MEMORY;
  const double *before = NULL;
  for (int64_t first = 0; first < rows && outcome == DONE; first += TOGETHER) {
    int together = rows - first < TOGETHER ? (int)(rows - first) : TOGETHER;
    double robust[TOGETHER], v[TOGETHER] = {0.0}, *squares[TOGETHER];
    for (int i = 0; i < TOGETHER; i++) squares[i] = space.squares[i < together ? i : 0];
    for (int i = 0; i < together && outcome == DONE; i++) {
      const double *window = windows + (first + i) * n, *prices = window + n - theta->prices;
      if (!are_prices(window, n)) outcome = BAD_PRICE;
      take_logs(prices, before, theta, space.log_prices);
      before = prices;
      if (!begin_row(out + first + i, theta, &space, i, robust + i, v + i)) outcome = NO_MEMORY;
    }
    ewma(squares, theta->vol_window, theta->ewma_lambda, v);
    for (int i = 0; i < together && outcome == DONE; i++)
      end_row(out + first + i, robust[i], sqrt(v[i]), theta);
  }
  free_space(&space);
  return outcome;
}

/* Tells core/kernel.py whether it has the same parameters. */
EXPORTED int64_t size_of_theta(void) { return (int64_t)sizeof(struct theta); }

/* The median slope of each row of n points. Rows start `stride` points apart. Returns for how many
   rows all slopes were calculated, or -1 if there is no memory. */
EXPORTED int64_t median_slopes(const double *values, int64_t rows, int64_t n, int64_t stride,
                               double *out) {
  struct work *work = new_work();
  int64_t calculated = work != NULL ? 0 : -1;
  for (int64_t row = 0; row < rows && calculated >= 0; row++) {
    enum slope slope = median_slope(values + row * stride, n, work, out + row);
    if (slope == CALCULATED) calculated++;
    if (slope == NO_SLOPE) calculated = -1;
  }
  free_work(work);
  return calculated;
}
