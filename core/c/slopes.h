/* The median of the slopes between all pairs of points: slopes.c. */
#ifndef SLOPES_H
#define SLOPES_H

#include <stdint.h>

/* How a slope was found: fast, or by calculating all slopes of many points, or not at all because
   there is no memory for them. */
enum slope { COUNTED, CALCULATED, NO_SLOPE };

struct work;
struct work *new_work(void);
void free_work(struct work *work);
enum slope median_slope(const double *values, int64_t n, struct work *work, double *out);

#endif
