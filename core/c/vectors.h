/* Numbers as 16-bit integers, and functions that compare many such integers at once.

   The functions exist for two widths of vectors; `vectors_in_use` chooses when the program runs.
   Which integers stand for which numbers changes no result, only the speed. */
#ifndef VECTORS_H
#define VECTORS_H

#include <stdint.h>

enum {
  LARGEST = 32766,    /* the largest integer that stands for a number; -LARGEST is the smallest */
  BEYOND = INT16_MAX, /* fills the space behind the last integer of a row ... */
  ROOM = 64,          /* ... which is so long */
  MOST_POINTS = 2048  /* in a row for `falling` and `undecided` */
};

/* Which numbers become which integers: (number - centre) * per_unit, cut off at LARGEST. */
struct grid {
  double centre, per_unit;
};

/* A row as integers, and for each of them the number of later ones that are below it. */
struct side {
  int16_t integers[MOST_POINTS + ROOM], below[MOST_POINTS + ROOM];
};

/* Two places in a row. */
struct pair {
  int16_t earlier, later;
};

/* What lanes.h defines, for one width. */
struct vectors {
  int64_t lanes;
  void (*integers)(const double *y, int64_t n, double m, const struct grid *grid, int16_t *out);
  int64_t (*below)(const int16_t *in, int64_t n, int bound);
  int64_t (*between)(const int16_t *in, int64_t n, int low, int high, int32_t *places);
  int64_t (*falling)(int64_t n, int slack, struct side *side);
  int64_t (*undecided)(const struct side *low, const struct side *high, int64_t n, int64_t most,
                       struct pair *pairs);
  void (*all_slopes)(const double *y, int64_t n, double *out);
};

const struct vectors *vectors_in_use(void);

#endif
