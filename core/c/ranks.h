/* The numbers of a given rank: ranks.c. */
#ifndef RANKS_H
#define RANKS_H

#include "vectors.h"

/* Space for `neighbours` of n numbers: n + ROOM integers, n places, 2 * n numbers. */
struct spare {
  const struct vectors *vectors;
  int16_t *integers;
  int32_t *places;
  double *numbers;
};

struct two {
  double lower, upper;
};

struct grid grid_of(const double *x, int64_t n);
struct two neighbours(const double *x, int64_t n, int64_t k, const struct spare *spare);
struct two neighbours_on(const double *x, const int16_t *on_grid, int64_t n, int64_t k,
                         const struct spare *spare);
struct two middle(const double *x, const int16_t *on_grid, int64_t n, const struct spare *spare);

#endif
